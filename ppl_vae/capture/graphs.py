"""Graphs of tensor functions: traced on fake tensors, compiled once, on an accelerator replayed as one launch.

Random numbers are drawn in the graph from torch's own generator, so it sees the noise of the function itself. A program
whose operations depend on values, or on symbols that stand for them, has no such graph.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from .. import randomness
from .products import onednn_is_faster, through_onednn

_SYMBOLS = (torch.SymInt, torch.SymFloat, torch.SymBool)  # what stands for a value that is not known yet


class NotCapturable(Exception):
    """Why an objective cannot be captured, in words that follow "steps run eagerly, since ..."."""


def make_graph(function: Callable[..., list[Tensor]], inputs: list[Tensor]) -> Any:
    """The function as a graph of ATen operations, for inputs like these.

    Raises:
        NotCapturable: it cannot run without values, or takes a number from them.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    try:
        graph = make_fx(function, tracing_mode="fake", _allow_non_fake_inputs=True)(*inputs)
    except Exception as error:  # whatever a program raises when its tensors have no values
        raise NotCapturable(f"the program cannot run on tensors without values ({_brief(error)})") from error
    for node in graph.graph.nodes:
        outputs = node.meta.get("val", ())
        for out in outputs if isinstance(outputs, tuple | list) else (outputs,):
            if isinstance(out, _SYMBOLS) or isinstance(out, Tensor) and any(isinstance(n, _SYMBOLS) for n in out.shape):
                raise NotCapturable(f"the program takes a number or a shape from a tensor's values ({node.target})")
    return graph


def compile_graph(graph: Any, inputs: list[Tensor], expected: Tensor) -> Any:
    """The graph through inductor, with the random numbers of eager steps and so their loss.

    Raises:
        NotCapturable: it does not compile, or its first output is not ``expected``.
    """
    if onednn_is_faster():
        through_onednn(graph)
    compiled = torch.compile(graph, fullgraph=True, dynamic=False, options={"fallback_random": True})
    try:
        with torch.random.fork_rng(devices=cuda_devices(inputs)):
            found = compiled(*inputs)[0]
    except Exception as error:  # no compiler, or an operation that it does not know
        raise NotCapturable(f"the graph does not compile ({_brief(error)})") from error
    if not close(found, expected, within=0.02):
        raise NotCapturable(
            f"the compiled graph gives {found.mean().item():.6g} where the program gives {expected.mean().item():.6g}"
        )
    return compiled


def compiled_function(function: Callable[..., list[Tensor]], inputs: tuple[Tensor, ...]) -> Callable[..., list[Tensor]]:
    """A function of tensors, whose first result says whether all is well, as a compiled graph for inputs like these.

    Raises:
        NotCapturable: it has no graph, or the graph does not compile.
    """
    with aside(inputs[0].device), torch.no_grad(), quietly():
        with torch.random.fork_rng(devices=cuda_devices([*inputs])):
            expected = function(*inputs)[0]
        return compile_graph(make_graph(function, [*inputs]), [*inputs], expected)


class CudaGraph:
    """A function of CUDA tensors as one launch: the first ``fixed`` inputs stay in place, the others are copied."""

    def __init__(self, run: Callable[..., list[Tensor]], inputs: list[Tensor], fixed: int) -> None:
        self.fixed = fixed
        self.inputs = [*inputs[:fixed], *(tensor.clone() for tensor in inputs[fixed:])]
        self.graph = torch.cuda.CUDAGraph()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.random.fork_rng(devices=cuda_devices(inputs)):
            with torch.cuda.stream(side):
                for _ in range(3):
                    run(*self.inputs)
            torch.cuda.current_stream().wait_stream(side)
            with torch.cuda.graph(self.graph):
                self.outputs = run(*self.inputs)

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """The function's outputs, which the next call overwrites."""
        for held, new in zip(self.inputs[self.fixed :], inputs[self.fixed :], strict=True):
            held.copy_(new)
        self.graph.replay()
        return self.outputs


@contextmanager
def aside(device: torch.device) -> Iterator[None]:
    """The generators as they were on leaving."""
    states = randomness.capture(device)
    try:
        yield
    finally:
        randomness.restore(states, device)


@contextmanager
def quietly() -> Iterator[None]:
    """Suppress the compiler's log messages."""
    logger = logging.getLogger("torch.utils.cpp_extension")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def cuda_devices(tensors: list[Tensor]) -> list[torch.device]:
    """Devices whose generators ``fork_rng`` has to keep besides the CPU's."""
    return list({tensor.device for tensor in tensors if tensor.is_cuda})


def close(a: Tensor, b: Tensor, within: float = 1e-3) -> bool:
    """Whether tensors are equal to ``within`` of themselves or of the largest entry."""
    a, b = a.double(), b.double()
    reach = within * b.nan_to_num(0.0, 0.0, 0.0).abs().amax().item() if b.numel() else 0.0
    return a.shape == b.shape and torch.allclose(a, b, rtol=within, atol=reach + 1e-9, equal_nan=True)


def _brief(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:120]}" if lines else type(error).__name__
