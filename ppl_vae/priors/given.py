"""A prior given y, p(z | y): a linear function of y's features is added to every learned parameter of p(z).

    p(z | y) = p(z; theta + W f(y)),    W = 0 at the start

theta are the unconstrained parameters of the prior and f(y) the features of the condition, or a network's of these.
Parameters of networks, as of a flow, cannot differ between the data of a batch, and a fixed prior has none. If such a
prior lives on the real vectors, its codes are moved and stretched in place of its parameters:

    z = m(y) + s(y) * u,  u ~ p,    m = 0 and s = 1 at the start
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints
from torch.func import functional_call

from .. import supports
from ..distributions.moved import Moved
from ..distributions.softplus import inverse_softplus
from ..networks import Condition, Network, condition_of, full_precision
from .base import Prior
from .vamp_prior import VampPrior

TRIAL = 0.3  # size of the shifts in the trial run


class Given(Prior):
    """A learned prior that depends on y. At the start it equals the prior, for every y.

    Args:
        prior: a prior with learned parameters, such as ``priors.Normal(dim, learned=True)``, or any prior on the real
            vectors, such as ``priors.Flow(dim)`` or ``priors.Normal(dim)``.
        condition: what y is: ``networks.Label``, ``Vector``, ``Picture`` or ``Quadrants``.
        network: module from the condition's features, or from their entries as one vector, to features of its own;
            without it the parameters are linear in the condition's features.

    Attributes:
        moves_codes: whether the codes are moved, rather than the parameters.

    Raises:
        TypeError: not a prior, not a condition, or not a network.
        ValueError: a network of another input size, a prior that is not on the real vectors and has no learned
            parameters, or ones that cannot differ between data, such as the weights of a network; a prior that depends
            on y already.

    Source: Sohn et al. 2015, "Learning structured output representation using deep conditional generative models".

    Example:
        >>> from ppl_vae import networks, priors
        >>> prior = Given(priors.Normal(2, learned=True), networks.Label(10))
        >>> prior(torch.tensor([3, 5, 5])).batch_shape
        torch.Size([3])
    """

    def __init__(self, prior: Prior, condition: Condition, network: Network | None = None) -> None:
        if not isinstance(prior, Prior):
            raise TypeError(f"prior must be one of ppl_vae.priors, such as Normal(2, learned=True), not {prior!r}")
        if not isinstance(condition, Condition):
            raise TypeError(f"condition must be networks.Label, Vector or Picture, not {condition!r}")
        if (own := condition_of(prior)) is not None:
            raise ValueError(f"prior {type(prior).__name__} depends on y, {own!r}, already: use it without Given")
        super().__init__(prior.dim)
        self.prior, self.condition = prior, condition
        count = sum(p.numel() for p in prior.parameters())
        if not isinstance(network, Network | None):
            raise TypeError(f"network must be one of ppl_vae.networks, such as MLP({condition.size}), not {network!r}")
        self.network = network
        if network is not None and network.in_shape not in ((condition.size,), tuple(condition.shape)):
            raise ValueError(
                f"network takes {network.in_shape}, but {condition!r} has features of shape {tuple(condition.shape)}: "
                f"use networks.MLP({condition.size}, ...)"
            )
        size = condition.size if network is None else math.prod(network.out_shape)
        why = self._why_not(count)
        self.moves_codes = why is not None
        if why is not None and supports.of(prior.support) != supports.REALS:
            raise ValueError(why)
        self.move = nn.Linear(size, 2 * prior.dim if self.moves_codes else count, bias=False)
        nn.init.zeros_(self.move.weight)

    @property
    def support(self) -> constraints.Constraint:  # type: ignore[override]
        """Constraint on a code, that of the prior."""
        return self.prior.support

    def forward(self, y: Tensor | None = None) -> TorchDistribution:
        """Distribution of batch shape (B,) and event shape (dim,) from y (B, *event)."""
        seen = self.condition(self.condition.needed(y)).flatten(-len(self.condition.shape))
        if self.network is not None:
            features = self.network(seen.reshape(*seen.shape[:-1], *self.network.in_shape))
            seen = features.flatten(-len(self.network.out_shape))
        by = full_precision(self.move(seen.to(self.move.weight.dtype)))
        if not self.moves_codes:
            return self._moved(by)
        shift, raw_scale = by.chunk(2, -1)
        return Moved(self.prior(), shift, F.softplus(raw_scale + inverse_softplus(1.0)))

    def _moved(self, by: Tensor) -> Any:
        """The prior with (..., count) added to its parameters."""
        parameters = dict(self.prior.named_parameters())
        parts = by.split([p.numel() for p in parameters.values()], -1)
        lead = by.shape[:-1]
        moved = {n: p + part.reshape((*lead, *p.shape)) for (n, p), part in zip(parameters.items(), parts, strict=True)}
        return functional_call(self.prior, moved, ())

    @torch.no_grad()
    def _why_not(self, count: int) -> str | None:
        """Why parameters cannot depend on y: there are none, or those of two data at once give another prior."""
        name = type(self.prior).__name__
        if count == 0:
            return f"prior {name} has no learned parameters; use one that has, such as priors.Normal(dim, learned=True)"
        with torch.random.fork_rng(devices=[]):
            by = TRIAL * torch.randn(2, count)
            alone = [self._moved(row) for row in by]
            z = torch.stack([p.sample((3,)) for p in alone], 1)
            expected = torch.stack([p.log_prob(z[:, i]) for i, p in enumerate(alone)], 1)
            try:
                both = self._moved(by)
                fits = both.batch_shape == (2,) and torch.allclose(both.log_prob(z), expected, rtol=1e-3, atol=1e-3)
            except (RuntimeError, ValueError, IndexError):
                fits = False
        if fits:
            return None
        if isinstance(self.prior, VampPrior):
            return (
                f"prior {name} depends on y where its posterior does: give that a networks.Conditioned, without Given"
            )
        return (
            f"prior {name} cannot depend on y: its parameters do not broadcast over data, and its codes are not real "
            "vectors; use one without networks, such as priors.Dirichlet(dim, learned=True)"
        )
