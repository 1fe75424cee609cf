"""Remove the wrappers that Pyro puts around a distribution."""

from __future__ import annotations

from typing import Any

from pyro.distributions import Delta, ExpandedDistribution, MaskedDistribution
from torch.distributions import Independent

from .grouped import Grouped


def unwrapped(p: Any, masks: bool = True) -> Any:
    """The distribution inside ``to_event``, ``expand``, ``Grouped`` and, if ``masks``, ``mask``.

    Example:
        >>> import pyro.distributions as dist
        >>> unwrapped(dist.Normal(0.0, 1.0).expand([3]).to_event(1).mask(False))
        Normal(loc: torch.Size([3]), scale: torch.Size([3]))
    """
    wrappers = (Independent, ExpandedDistribution, Grouped, *((MaskedDistribution,) if masks else ()))
    while isinstance(p, wrappers):
        p = p.base_dist
    return p


def is_delta(p: Any) -> bool:
    """Whether a distribution is a Delta, wrapped or not."""
    return isinstance(unwrapped(p), Delta)
