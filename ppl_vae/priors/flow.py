"""Flow prior: z = f(u), u ~ N(0, I), log p(z) = log N(f^{-1}(z); 0, I) + log |det df^{-1}/dz|, with f learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from ..distributions.flow import Flow as _Flow
from ..distributions.flow import flow_transform
from .base import Prior


class Flow(Prior):
    """A normalizing flow, fast to score; at the start it is exactly the standard Normal.

    A draw takes ``dim`` passes of the networks if "autoregressive" or "spline", two if "coupling".

    Args:
        dim: size of the code.
        kind: "coupling" (RealNVP), "autoregressive" (MAF) or "spline" (neural spline flow).
        transforms: number of transforms; a coupling needs at least two for every dimension to depend on every other.
        hidden: sizes of the hidden layers of each transform's network.

    Raises:
        ValueError: an unknown kind, or a size below 1.

    Source: Chen et al. 2017, "Variational lossy autoencoder"; Papamakarios et al. 2017; Durkan et al. 2019.

    Example:
        >>> round(Flow(2)().log_prob(torch.zeros(2)).item(), 4)
        -1.8379
    """

    support = constraints.independent(constraints.real, 1)
    mean: Tensor

    def __init__(
        self,
        dim: int,
        kind: Literal["coupling", "autoregressive", "spline"] = "coupling",
        transforms: int = 2,
        hidden: Sequence[int] = (64, 64),
    ) -> None:
        super().__init__(dim)
        self.kind = kind
        self.transform = flow_transform(dim, kind, transforms, hidden)
        self.register_buffer("mean", torch.zeros(dim), persistent=False)

    def forward(self, y: Tensor | None = None) -> _Flow:
        """The flow's distribution, event shape (dim,); ``y`` is not used."""
        base = dist.Normal(self.mean, torch.ones_like(self.mean)).to_event(1)
        return _Flow(base, self.transform())

    def extra_repr(self) -> str:  # noqa: D102
        return f"dim={self.dim}, kind={self.kind!r}"
