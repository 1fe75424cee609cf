"""Flow posterior: z = f(u; h(x)), u ~ N(m(x), diag s(x)^2), log q(z | x) = log q(u | x) - log |det df/du|."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pyro.distributions as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import constraints

from ..checks import check_size
from ..distributions.flow import Flow as _Flow
from ..distributions.flow import flow_transform
from ..networks import Head
from .base import Posterior
from .normal import SCALE_FLOOR


class Flow(Posterior):
    """A Normal pushed through a flow that depends on x, fast to sample; at the start it is exactly the Normal.

    The density of the last draw is cached. That of any other code takes ``dim`` passes of the flow's networks if
    "autoregressive" or "spline", two if "coupling".

    Args:
        network: module from x (B, *shape) to features.
        dim: size of the code.
        kind: "autoregressive" (inverse autoregressive flow), "coupling" or "spline".
        transforms: number of transforms.
        hidden: sizes of the hidden layers of each transform's network.
        context: size of h(x), linear in the features, an input of every transform.

    Raises:
        ValueError: an unknown kind, or a size below 1.

    Source: Kingma et al. 2016, "Improved variational inference with inverse autoregressive flow"; Rezende and Mohamed
    2015.

    Example:
        >>> import torch
        >>> from ppl_vae import networks
        >>> Flow(networks.MLP(6, [8]), 4)(torch.zeros(5, 6)).rsample().shape
        torch.Size([5, 4])
    """

    support = constraints.independent(constraints.real, 1)

    def __init__(
        self,
        network: nn.Module,
        dim: int,
        kind: Literal["autoregressive", "coupling", "spline"] = "autoregressive",
        transforms: int = 2,
        hidden: Sequence[int] = (64, 64),
        context: int = 32,
    ) -> None:
        super().__init__(network, dim)
        self.context = check_size("context", context)
        self.head = Head(network, (2 * dim + context,))
        self.transform = flow_transform(dim, kind, transforms, hidden, context)

    def forward(self, x: Tensor, y: Tensor | None = None) -> _Flow:
        """The flow's distribution, batch shape (B,), event shape (dim,)."""
        (out,) = self.head(self.features(x, y))
        mean, raw_scale, context = out.split((self.dim, self.dim, self.context), -1)
        base = dist.Normal(mean, F.softplus(raw_scale) + SCALE_FLOOR).to_event(1)
        return _Flow(base, self.transform(context), drawn=True)
