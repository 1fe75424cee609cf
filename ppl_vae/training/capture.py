"""Captured steps: loss and gradients of one batch as a single graph, compiled once and replayed.

    (parameters, buffers, batch, share)  ->  (losses, terms, gradients of share * loss, changed buffers)

``make_fx`` runs the objective once on fake tensors, backward pass included, so that the graph holds what the Pyro
program, its estimator and autograd do to tensors and nothing of the Python around it. Everything that changes from
step to step is an input: parameters, buffers (a scheduled beta or temperature is one) and the batch; random numbers are
drawn in the graph from torch's own generator, so a captured run sees the noise of an eager one. A graph fits batches
of one shape and one set of players that move, each of whom differentiates a loss over parameters of its own. A program
whose operations depend on values, or change from call to call, has no such graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ..capture.graphs import CudaGraph, NotCapturable, aside, close, compile_graph, cuda_devices, make_graph, quietly
from ..objectives import Loss
from .players import loss_of

Batch = tuple[Tensor, ...]
Movers = Mapping[str, Sequence[nn.Parameter]]


class Captured:
    """A captured step of ``objective`` for batches like ``batch``, in training mode.

    Calling it gives the ``Loss`` of a batch and adds the gradients of ``share`` times its value to the parameters, as
    the objective and ``backward`` would.

    Args:
        objective: module whose ``forward(*batch)`` gives a ``Loss``.
        batch: tensors of the shapes and dtypes to capture for; their values are used for one check.
        context: what a step runs in, such as reduced precision.
        compiled: whether to compile the graph; uncompiled, it gives the bits of an eager step.
        movers: the parameters of each player that moves, by name; None for one player "" with all of them.

    Raises:
        NotCapturable: the program has no graph, or one that does not do what the program does.

    Example:
        >>> from ppl_vae import Reconstruction, models, networks
        >>> ae = models.Autoencoder(networks.MLP(6, [8]), networks.MLP(2, [8]), 2, 6)
        >>> step = Captured(Reconstruction(ae), (torch.rand(5, 6),), compiled=False)
        >>> step((torch.rand(5, 6),)).value.shape, next(ae.parameters()).grad.shape
        (torch.Size([]), torch.Size([8, 6]))
    """

    def __init__(
        self,
        objective: nn.Module,
        batch: Batch,
        context: Callable[[], AbstractContextManager[Any]] = nullcontext,
        compiled: bool = True,
        movers: Movers | None = None,
    ) -> None:
        self.shapes = shapes(batch)
        step = _Step(objective, context, movers)
        self.parameters, self.buffers = step.trained, step.buffers
        self.held = [*(tensor.detach() for tensor in step.tensors)]
        self.share = torch.ones((), device=batch[0].device)
        inputs = [*self.held, self.share, *(tensor.contiguous() for tensor in batch)]
        with aside(batch[0].device), torch.no_grad(), quietly():
            graph, expected = _checked_graph(step, inputs)
            self.run: Any = compile_graph(graph, inputs, expected) if compiled else graph
            if compiled and batch[0].is_cuda:
                self.run = CudaGraph(self.run, inputs, fixed=len(self.held))
        self.step = step

    def __call__(self, batch: Batch, share: float = 1.0) -> Loss:
        """Loss of a batch; the gradients of ``share`` times its value are added to the parameters'."""
        before = [p.grad for p in self.parameters]
        if self.share.is_cuda:  # where the last replay's gradients lie, the next one's will
            before = [None if grad is None else grad.clone() for grad in before]
        with torch.no_grad():
            value, *rest = self.run(*self.held, self.share.fill_(share), *(t.contiguous() for t in batch))
            others = {name: rest.pop(0) for name in self.step.others}
            terms = {name: rest.pop(0) for name in self.step.names}
            if value.is_cuda:
                value, others, terms = value.clone(), _cloned(others), _cloned(terms)
            for i in self.step.changed or ():
                self.buffers[i].copy_(rest.pop(0))
            for i in self.step.reached:
                grad, old = rest.pop(0), before[i]
                self.parameters[i].grad = grad if old is None else old.add_(grad)
        return Loss(value, terms, others)


def _cloned(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in tensors.items()}


class _Step:
    """Loss and gradients as a function of tensors alone: nothing outside them is changed.

    Attributes:
        tensors: the inputs before share and batch: the movers' parameters, all others, buffers.
        others: the names of the other players' losses.
        names: the loss's terms.
        changed: which buffers a step changes, found by the first call, which needs tensors with values.
        reached: which of the movers' parameters have a gradient.
        aliased: which gradients share storage with others or are laid out unlike their parameter, as after a sum; they
            are copied, as ``backward`` does. Found like ``changed``.
    """

    def __init__(
        self, objective: nn.Module, context: Callable[[], AbstractContextManager[Any]], movers: Movers | None = None
    ) -> None:
        self.objective, self.context = objective, context
        self.movers = movers or {"": [p for p in objective.parameters() if p.requires_grad]}
        self.trained = [p for parameters in self.movers.values() for p in parameters]
        self.buffers = list(objective.buffers())
        moving = {id(p) for p in self.trained}
        frozen = [p for p in objective.parameters() if id(p) not in moving]
        self.tensors: list[Tensor] = [*self.trained, *frozen, *self.buffers]
        self.others: list[str] = []
        self.names: list[str] = []
        self.changed: list[int] | None = None
        self.reached: list[int] = []
        self.aliased: list[int] | None = None

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """Losses, terms, changed buffers and gradients, from tensors in the order (*tensors, share, *batch)."""
        held, share, batch = inputs[: len(self.tensors)], inputs[len(self.tensors)], inputs[len(self.tensors) + 1 :]
        leaves = [tensor.detach().requires_grad_() for tensor in held[: len(self.trained)]]
        frozen = list(held[len(leaves) : len(held) - len(self.buffers)])
        originals = held[len(held) - len(self.buffers) :]
        copies = [tensor.clone() for tensor in originals]
        versions = [tensor._version for tensor in copies]
        with torch.enable_grad():
            with _standing_in(self.objective, self.tensors, [*leaves, *frozen, *copies]) as now, self.context():
                loss = self.objective(*batch)
                after = now()[len(held) - len(copies) :]
            gradients = self._gradients(loss, leaves, share)
        self.others, self.names = list(loss.others), list(loss.terms)
        if self.changed is None:
            # By value too: batch normalisation changes its buffers behind autograd's back.
            here = zip(after, copies, versions, originals, strict=True)
            self.changed = [
                i
                for i, (new, old, version, value) in enumerate(here)
                if new is not old or new._version != version or not torch.equal(new, value)
            ]
        self.reached = [i for i, gradient in enumerate(gradients) if gradient is not None]
        if self.aliased is None:
            self.aliased = _aliased(gradients, leaves)
        reached = [
            torch.empty_like(leaves[i]).copy_(gradients[i]) if i in self.aliased else gradients[i] for i in self.reached
        ]
        reported = [term.detach() for term in (loss.value, *loss.others.values(), *loss.terms.values())]
        return [*reported, *(after[i] for i in self.changed), *reached]

    def _gradients(self, loss: Loss, leaves: list[Tensor], share: Tensor) -> list[Any]:
        """Gradients of share times each mover's loss over its own parameters, in one list; None for those without."""
        found: list[Any] = []
        for index, (name, parameters) in enumerate(self.movers.items()):
            own = leaves[len(found) : len(found) + len(parameters)]
            more = index < len(self.movers) - 1
            found += torch.autograd.grad(loss_of(loss, name) * share, own, allow_unused=True, retain_graph=more)
        return found


def _aliased(gradients: Sequence[Tensor | None], leaves: list[Tensor]) -> list[int]:
    out: list[int] = []
    seen: set[int] = set()
    for i, (gradient, leaf) in enumerate(zip(gradients, leaves, strict=True)):
        if gradient is not None:
            address = gradient.untyped_storage().data_ptr()
            if address in seen or gradient.stride() != leaf.stride():
                out.append(i)
            seen.add(address)
    return out


def gradient_step(objective: nn.Module, batch: Batch) -> None:
    """One step's loss and gradients without side effects on parameters, buffers and generators."""
    step = _Step(objective, nullcontext)
    with aside(batch[0].device):
        step(*(tensor.detach() for tensor in step.tensors), torch.ones((), device=batch[0].device), *batch)


@contextmanager
def _standing_in(module: nn.Module, tensors: list[Tensor], others: list[Tensor]) -> Iterator[Callable[[], list[Any]]]:
    """The module with ``others`` in the place of its parameters and buffers ``tensors``; gives what is there now."""
    places: list[tuple[dict[str, Any], str, int]] = []
    number = {id(tensor): i for i, tensor in enumerate(tensors)}
    for part in module.modules():
        for holder in (part._parameters, part._buffers):
            places += [(holder, name, number[id(value)]) for name, value in holder.items() if value is not None]
    for holder, name, i in places:
        holder[name] = others[i]
    first = {i: (holder, name) for holder, name, i in reversed(places)}
    try:
        yield lambda: [first[i][0][first[i][1]] for i in range(len(tensors))]
    finally:
        for holder, name, i in places:
            holder[name] = tensors[i]


def _checked_graph(step: _Step, inputs: list[Tensor]) -> tuple[Any, Tensor]:
    """The step's graph, once it has done what the step does, and the loss that both gave."""
    with torch.random.fork_rng(devices=cuda_devices(inputs)):
        expected = step(*inputs)
    graph = make_graph(step, inputs)
    with torch.random.fork_rng(devices=cuda_devices(inputs)):
        found = graph(*inputs)
    if len(found) != len(expected) or not all(map(close, found, expected)):
        raise NotCapturable(
            "the program does not do the same at every call: it may count its calls, or draw from the generators of "
            "Python or numpy"
        )
    return graph, expected[0]


def shapes(batch: Batch) -> list[Any]:
    """Key of batches that can use the same capture."""
    return [(tensor.shape, tensor.dtype) for tensor in batch]
