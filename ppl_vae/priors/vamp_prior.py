"""VampPrior: the posterior averaged over learned pseudo-inputs u_c in the data's space.

p(z) = 1/C sum_c q(z | u_c), or p(z | y) = 1/C sum_c q(z | u_c, y) under a posterior that is conditional on y.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints, transform_to

from ..checks import check_size, nearest
from ..distributions.gaussian_mixture import GaussianMixture
from ..networks import condition_of, event_shape, stated, units_of
from ..parts import digest
from .base import Prior

if TYPE_CHECKING:
    from ..data import Split

Inputs = Literal["unit-interval", "positive", "real"]
_LIVE_ON = {
    "unit-interval": constraints.unit_interval,
    "positive": dist.constraints.softplus_positive,
    "real": constraints.real,
}
EDGE = 0.01  # distance of pseudo-inputs that start at data from the ends of their interval, where gradients vanish


class VampPrior(Prior):
    """Mixture, with equal weights, of a posterior at ``components`` learned pseudo-inputs; any support.

    Pass the same module that the VAE gets as its posterior. For a posterior with batch normalisation the pseudo-inputs
    are one more batch. If the posterior's network is ``networks.Scaled`` or a ``networks.TableEncoder``, pseudo-inputs
    are learned in its units, which ``inputs`` is then about; the categories of a table stay those they start at.

    Args:
        posterior: q(z | x), shared with the VAE.
        components: C, number of pseudo-inputs.
        shape: event shape of the data; the ``in_shape`` of the posterior's network by default.
        inputs: range of the data and the pseudo-inputs: "unit-interval" (through a sigmoid), "positive" (softplus) or
            "real".

    Raises:
        TypeError: a posterior that is not a module.
        ValueError: fewer than one component, an unknown ``inputs``, no shape, or one that does not fit the network.

    Source: Tomczak and Welling 2018, "VAE with a VampPrior".

    Example:
        >>> from ppl_vae import VAE, likelihoods, networks, posteriors
        >>> posterior = posteriors.Normal(networks.MLP(6, [8]), 2)
        >>> vae = VAE(VampPrior(posterior, 5), posterior, likelihoods.Bernoulli(networks.MLP(2, [8]), 6))
        >>> vae.prior.pseudo_inputs.shape, vae.prior().sample((3,)).shape
        (torch.Size([5, 6]), torch.Size([3, 2]))
    """

    def __init__(
        self,
        posterior: Any,
        components: int = 500,
        shape: int | Sequence[int] | None = None,
        inputs: Inputs = "unit-interval",
    ) -> None:
        if not (isinstance(posterior, nn.Module) and hasattr(posterior, "support") and hasattr(posterior, "dim")):
            raise TypeError(f"posterior must be a posterior, such as posteriors.Normal(network, 16), not {posterior!r}")
        given: Any = posterior
        super().__init__(given.dim)
        if inputs not in _LIVE_ON:
            raise ValueError(f"inputs {inputs!r} is unknown; {nearest(str(inputs), get_args(Inputs))}")
        self.posterior = posterior
        self.support = given.support
        self.components, self.inputs = check_size("components", components), inputs
        self.shape = _shape(stated(getattr(posterior, "network", None), "in_shape"), shape)
        self._condition = (condition_of(posterior),)  # in a tuple, so that it is not registered a second time
        self.raw = nn.Parameter(torch.randn(components, *self.shape))
        self._built = digest(self.raw)

    @property
    def pseudo_inputs(self) -> Tensor:
        """u, (components, *shape), in the data's own units."""
        u, units = transform_to(_LIVE_ON[self.inputs])(self.raw), units_of(self.posterior, self.shape)
        return u if units is None else units[1](u)

    def forward(self, y: Tensor | None = None) -> Any:
        """The mixture, event shape (dim,); batch shape (B,) where the posterior is conditional on y (B, ...)."""
        return self._mixture(y)[0]

    def responsibilities(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """p(c | z) of codes z (..., dim): (..., components), which sum to 1."""
        return self._mixture(y)[1](z)

    def start(self, train: Split) -> None:
        """Start the pseudo-inputs at the first training rows, missing entries at the mean.

        Of rows that are binarized anew in every batch the grey values are used. The pseudo-inputs keep their random
        start if there are fewer rows than components, or if rows are outside the range ``inputs``.
        """
        super().start(train)
        if len(train) < self.components or digest(self.raw) != self._built:
            return
        first = np.arange(self.components)
        (x, *_) = train.fetch(first) if train.binarize == "dynamic" else train.take(first)
        x = torch.where(x.isnan(), train.mean().to(x), x)
        if self._holds(self._in_units(x)):
            self.start_at(x)

    def start_at(self, x: Tensor) -> VampPrior:
        """Start the pseudo-inputs at rows spread evenly over x (N, *shape), N >= components; returns self.

        Raises:
            ValueError: too few rows, rows of another shape, or values outside the range of the pseudo-inputs.
        """
        if tuple(x.shape[1:]) != self.shape or len(x) < self.components:
            raise ValueError(
                f"x must hold at least {self.components} examples of shape {self.shape}, not a tensor {tuple(x.shape)}"
            )
        rows = x[torch.arange(self.components, device=x.device) * len(x) // self.components].to(self.raw)
        rows = self._in_units(rows)
        if not self._holds(rows):
            raise ValueError(f"x holds values that are not {self.inputs}; choose another inputs=")
        if self.inputs != "real":
            rows = rows.clamp(EDGE, 1 - EDGE if self.inputs == "unit-interval" else math.inf)
        with torch.no_grad():
            self.raw.copy_(transform_to(_LIVE_ON[self.inputs]).inv(rows))
        return self

    def _in_units(self, x: Tensor) -> Tensor:
        units = units_of(self.posterior, self.shape)
        return x if units is None else units[0](x.to(self.raw))

    def _holds(self, rows: Tensor) -> bool:
        """Whether all rows are in the range of the pseudo-inputs, ends included."""
        return bool(((rows >= 0) if self.inputs == "positive" else _LIVE_ON[self.inputs].check(rows)).all())

    def _mixture(self, y: Tensor | None) -> tuple[Any, Callable[[Tensor], Tensor]]:
        """The distribution, and the responsibilities under it."""
        (condition,) = self._condition
        if condition is None:
            q = self.posterior(self.pseudo_inputs)
        else:  # every y with every pseudo-input
            y = condition.needed(y)
            q = self.posterior(self.pseudo_inputs, y.unsqueeze(y.dim() - len(condition.event)))
        if isinstance(q, dist.Independent) and isinstance(q.base_dist, dist.Normal):
            p = GaussianMixture(q.base_dist.loc.new_zeros(self.components), q.base_dist.loc, q.base_dist.scale)
            return p, p.responsibilities
        equal = dist.Categorical(logits=self.raw.new_zeros(q.batch_shape))
        return dist.MixtureSameFamily(equal, q), lambda z: q.log_prob(z.unsqueeze(-2)).softmax(-1)

    def extra_repr(self) -> str:  # noqa: D102
        return f"dim={self.dim}, components={self.components}, shape={self.shape}, inputs={self.inputs!r}"


def _shape(takes: tuple[int, ...] | None, given: int | Sequence[int] | None) -> tuple[int, ...]:
    if given is None:
        if takes is None:
            raise ValueError("shape is needed, since the posterior's network does not state its in_shape")
        return takes
    shape = event_shape("shape", given)
    if takes is not None and takes != shape:
        raise ValueError(f"shape is {shape}, but the posterior's network takes {takes}")
    return shape
