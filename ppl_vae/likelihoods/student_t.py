"""Student-t likelihood: x_i = m_i(z) + s_i t with t of df degrees of freedom, a density on the reals with heavy tails.

log p(x | z) = sum_i [log G((v+1)/2) - log G(v/2) - log(s_i sqrt(v pi)) - (v+1)/2 log(1 + ((x_i - m_i)/s_i)^2 / v)]
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import constraints

from ..distributions.softplus import inverse_softplus
from .spread import Spread

START = 5.0  # start of learned degrees of freedom
MOST = 1000.0  # above it, a Normal to float precision


class StudentT(Spread):
    """Independent Student-t entries: like a Normal likelihood, but robust to outliers.

    Args:
        network: module from codes (B, dim) to features.
        shape: event shape of the data.
        df: degrees of freedom, the same for all entries: a number above 1, or "learned", 1 + softplus(.), started at 5.
        scale: s: a positive number; "learned", one parameter; "pixel", one for every entry; "network", a second
            output of the network.

    Raises:
        ValueError: a df of 1 or less, for which the mean does not exist, or a scale that is not positive.

    Source: Takahashi et al. 2018, "Student-t variational autoencoder for robust density estimation".

    Example:
        >>> from ppl_vae import networks
        >>> round(StudentT(networks.MLP(4, [8]), 3).df_now.item(), 4)
        5.0
    """

    support = constraints.real

    def __init__(
        self,
        network: nn.Module,
        shape: int | Sequence[int],
        df: float | Literal["learned"] = "learned",
        scale: float | Literal["learned", "pixel", "network"] = "learned",
    ) -> None:
        number: Any = df
        fixed = isinstance(df, int | float) and not isinstance(df, bool)
        if not (1 < number < math.inf if fixed else df == "learned"):
            raise ValueError(f"df must be a number above 1, so that the mean exists, or 'learned', not {df!r}")
        super().__init__(network, shape, scale)
        self.df = df
        if not fixed:
            self.raw_df = nn.Parameter(torch.tensor(inverse_softplus(START - 1)))

    @property
    def df_now(self) -> Tensor:
        """Degrees of freedom, scalar."""
        if self.df == "learned":
            return (1 + F.softplus(self.raw_df)).clamp(max=MOST)
        return torch.tensor(float(self.df), device=self.head.layer.weight.device)

    def forward(self, z: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """Student-t of batch shape (...) and event shape ``shape``."""
        parts = self.parameters_of(z, y)
        df = self.df_now.to(parts[0].dtype).expand_as(parts[0])
        return dist.StudentT(df, parts[0], self.spread_of(parts)).to_event(len(self.shape))

    def spread_for(self, mean: Tensor, std: Tensor) -> Tensor:
        """s = standard deviation * sqrt((df - 2) / df), for df of at least 3."""
        df = self.df_now.double().clamp(min=3.0)
        return super().spread_for(mean, std) * ((df - 2) / df).sqrt()
