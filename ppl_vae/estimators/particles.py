"""How many plates a model and guide nest, and whether they run with a particle plate to the left of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from ..trials import trial
from .site import Program, frames_of
from .tracing import sites

BATCHED = (nn.BatchNorm1d, nn.InstanceNorm1d)  # layers that read (K, B, C) as (B, C, L)


def find_nesting(model: Program, guide: Program, args: tuple[Any, ...], num_particles: int, **how: Any) -> int:
    """Number of nested plates, from one trial run of the programs; a second trial run checks them with particles.

    Args:
        model: Pyro model.
        guide: Pyro guide.
        args: the batch.
        num_particles: K to try, if above 1.
        how: further arguments of ``sites``.

    Raises:
        ValueError: programs that fail with a particle plate to the left of theirs.
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
    """ValueError if programs that run with one particle fail with ``num_particles``, or misread their dimension.

    Args:
        model: Pyro model.
        guide: Pyro guide.
        args: the batch.
        num_particles: K.
        nesting: number of nested plates.
        size: B.
        instead: what to use instead, for the message.
        how: further arguments of ``sites``.
    """
    what = f"{num_particles} particles come in front of the batch"
    try:
        with _watching(num_particles, size):
            sites(model, guide, args, num_particles, nesting, **how)
    except _Misread as error:
        said = f"{what}, and {error}; use {instead}, or ppl_vae.networks, which fold them into the batch"
        raise ValueError(said) from None
    except Exception as error:
        if type(error) is ValueError and "Shape mismatch inside plate" not in str(error):
            raise
        said = str(error).strip().split("\n")[0]
        raise ValueError(
            f"{what}; the programs run without them and fail with them ({type(error).__name__}: {said}); let them "
            f"take leading dimensions, as ppl_vae.networks do, or use {instead}"
        ) from error


class _Misread(Exception):
    """A layer took the particle dimension for something else."""


@contextmanager
def _watching(num_particles: int, size: int) -> Iterator[None]:
    """Raise ``_Misread`` if a layer of ``BATCHED`` gets (K, B, C)."""

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
