"""Your own Pyro model and guide as one ``nn.Module`` that owns their parameters.

``pyro.param`` and ``pyro.module`` sites are read from the program's own parameter store, so two programs with the same
site names do not interfere and Pyro's global store does not change.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoGuide
from pyro.params.param_store import StateDict
from torch import nn

from ..parts import Recorded
from ..trials import trial
from .protocols import Pair


class Program(Recorded, nn.Module, Pair):
    """A Pyro model and guide with the interface of the package's models.

    Both are called with the batch, (x,) or (x, y), without y if they take only one argument; a guide of ``*args``, such
    as Pyro's autoguides, gets the model's arguments. ``prepare``, which ``fit`` calls with the first batch, finds their
    parameters. Latent sites outside the data plate are global: each datum gets 1/N of their KL. If batches are drawn
    from N data, write ``pyro.plate("data", N, subsample_size=len(x))``.

    The data plate is the one called ``data``, else the outermost plate that all observed sites share; a program without
    plates has one datum. ``poutine.scale`` and ``poutine.mask``, factors, auxiliary sites and plates without a size
    work as in Pyro. A program that needs all data at once, or has parameters for each datum, is trained on all data in
    one batch, in their order.

    Args:
        model: Pyro program with a data plate, or a ``PyroModule``.
        guide: Pyro program over the model's latent sites, such as one of ``pyro.infer.autoguide``.

    Attributes:
        prepared: whether the parameters have been found.

    Raises:
        TypeError: an argument that is not callable.

    Example:
        >>> import pyro.distributions as dist
        >>> def model(x):
        ...     scale = pyro.param("scale", torch.tensor(1.0), constraint=dist.constraints.positive)
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, scale), obs=x)
        >>> def guide(x):
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("z", dist.Normal(x / 2, 0.7))
        >>> program = Program(model, guide)
        >>> program.prepare(torch.zeros(3))
        >>> [name for name, _ in program.named_parameters()]
        ['sites.scale']
    """

    support = None
    condition = None  # a program's label may be one of its latent sites

    def __init__(self, model: Callable[..., Any], guide: Callable[..., Any]) -> None:
        super().__init__()
        for name, fn in (("model", model), ("guide", guide)):
            if not callable(fn):
                raise TypeError(f"{name} must be a Pyro program, a callable of the batch, not {fn!r}")
            inner = poutine.unwrap(fn)  # the program inside its handlers
            owner = inner if isinstance(inner, nn.Module) else getattr(inner, "__self__", None)
            if isinstance(owner, nn.Module):
                self.add_module(f"{name}_module", owner)
        # In a tuple, so that a module given as a program is not registered a second time.
        self._programs = (model, guide)
        self._store: dict[str, Any] = {"params": {}, "constraints": {}}
        self.sites = nn.ParameterDict()
        self.prepared = False

    def model(self, *batch: Any) -> Any:
        """The model on a batch."""
        return self._run(self._programs[0], batch)

    def guide(self, *batch: Any) -> Any:
        """The guide on a batch."""
        return self._run(self._programs[1], batch)

    def prepare(self, *batch: Any) -> None:
        """Find the parameters by running guide and model once; random states and buffers are restored."""
        with trial(*batch):
            trace = pyro.poutine.trace(self.guide).get_trace(*batch)
            pyro.poutine.replay(self.model, trace=trace)(*batch)
        self.prepared = True

    def __deepcopy__(self, memo: dict[int, Any]) -> Program:
        # Copying one of Pyro's autoguides removes the model from both the original and the copy.
        guides = {part: part._model for part in self.modules() if isinstance(part, AutoGuide)}
        clone = type(self).__new__(type(self))
        memo[id(self)] = clone
        try:
            clone.__dict__.update(copy.deepcopy(self.__dict__, memo))
        finally:
            for part, model in guides.items():
                part._model = model
                if id(part) in memo:
                    memo[id(part)]._model = copy.deepcopy(model, memo)
        return clone

    def _run(self, fn: Callable[..., Any], batch: tuple[Any, ...]) -> Any:
        store = pyro.get_param_store()
        with store.scope(state=self._current()) as state:
            out = fn(*batch[: _arity(fn, _arity(self._programs[0]))])
        self._adopt(state)
        return out

    def _current(self) -> StateDict:
        params = {name: self.sites[_key(name)] for name in self._store["params"]}
        return {"params": params, "constraints": dict(self._store["constraints"])}

    def _adopt(self, state: StateDict) -> None:
        """Create parameters of sites that are new."""
        for name, value in state["params"].items():
            if name not in self._store["params"]:
                if self.prepared and self.training and torch.is_grad_enabled():
                    raise ValueError(
                        f"parameter {name} first appeared after training began, so it would not be trained; use all "
                        "parameters of model and guide on every batch"
                    )
                self.sites[_key(name)] = value if isinstance(value, nn.Parameter) else nn.Parameter(value.detach())
                self._store["params"][name] = None
                self._store["constraints"][name] = state["constraints"][name]


def _key(site: str) -> str:
    return site.replace(".", "/")


def _arity(fn: Callable[..., Any], default: int | None = None) -> int | None:
    """Number of arguments that a program takes; ``default`` if it takes any number."""
    target = poutine.unwrap(fn)
    target = target.forward if isinstance(target, nn.Module) else target
    kinds = [p.kind for p in inspect.signature(target).parameters.values()]
    if any(kind is inspect.Parameter.VAR_POSITIONAL for kind in kinds):
        return default
    return sum(kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD) for kind in kinds)
