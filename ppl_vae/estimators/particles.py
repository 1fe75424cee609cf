"""Room for particles: how many plates a pair of programs nests, and whether it runs with particles in front of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from ..trials import trial
from .site import Program, frames_of
from .tracing import sites

BATCHED = (nn.BatchNorm1d, nn.InstanceNorm1d)  # layers that take (B, C, L) too, so that (K, B, C) is misread


def find_nesting(model: Program, guide: Program, args: tuple[Any, ...], num_particles: int, **how: Any) -> int:
    """Plates inside one another, from one run of the programs; a second one tries them with particles.

    Both leave nothing behind.

    Args:
        model: Pyro model.
        guide: Pyro guide.
        args: the batch.
        num_particles: K to try, where it is above 1.
        how: further arguments of ``sites``.

    Raises:
        ValueError: programs that fail with particles in front of their plates.
    """
    with trial(*args):
        found = sites(model, guide, args, 1, **how)
        every = (*found.model.values(), *found.guide.values())
        nesting = max((-frame.dim for site in every for frame in frames_of(site).values()), default=0)
        if num_particles > 1:
            try_particles(model, guide, args, num_particles, nesting, found.size, **how)
    return nesting


def try_particles(
    model: Program,
    guide: Program,
    args: tuple[Any, ...],
    num_particles: int,
    nesting: int,
    size: int,
    instead: str = "num_particles=1",
    **how: Any,
) -> None:
    """ValueError if programs that run with one particle do not run with ``num_particles``, or misread them.

    Args:
        model: Pyro model.
        guide: Pyro guide.
        args: the batch.
        num_particles: K.
        nesting: plates inside one another.
        size: B, the data in the batch.
        instead: what else to use.
        how: further arguments of ``sites``.
    """
    what = f"{num_particles} particles come in front of the batch"
    try:
        with _watching(num_particles, size):
            sites(model, guide, args, num_particles, nesting, **how)
    except _Misread as error:
        raise ValueError(f"{what}, and {error}; use {instead}, or ppl_vae.networks, which fold them") from None
    except Exception as error:
        if type(error) is ValueError and "Shape mismatch inside plate" not in str(error):
            raise
        said = str(error).strip().split("\n")[0]
        raise ValueError(
            f"{what}, and the programs, which run without, fail with them ({type(error).__name__}: {said}); let them "
            f"take leading dimensions, as ppl_vae.networks do, or use {instead}"
        ) from error


class _Misread(Exception):
    """A layer took particles for something else."""


@contextmanager
def _watching(num_particles: int, size: int) -> Iterator[None]:
    """Raise ``_Misread`` where a layer of ``BATCHED`` is given (K, B, C)."""

    def look(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if isinstance(module, BATCHED) and inputs and isinstance(inputs[0], Tensor) and inputs[0].dim() == 3:
            if inputs[0].shape[:2] == (num_particles, size):
                name = type(module).__name__
                raise _Misread(f"{name} takes the batch in {tuple(inputs[0].shape)} for its channels")

    hook = register_module_forward_pre_hook(look)
    try:
        yield
    finally:
        hook.remove()
