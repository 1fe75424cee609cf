"""A likelihood in the data's own units: x = shift + unit * u with p(u | z) any density of continuous entries.

log p(x | z) = log p_u((x - shift) / unit | z) - sum_i log unit_i

The units are those of the training rows, and the density is one of x as the data give it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import Tensor
from torch.distributions import constraints

from .. import distributions, supports
from ..networks import Units
from ..parts import Part
from .around import Around
from .base import Likelihood
from .columns import Columns

if TYPE_CHECKING:
    from ..data import Split


class Scaled(Around):
    """A likelihood that is computed in units of the training rows, and is a density of x in the data's own.

    Weights, losses up to a constant, and gradients are those of the same likelihood on scaled data. ``fit`` sets the
    units, which are buffers and saved with the weights. Give the encoder ``networks.Scaled``.

    Args:
        likelihood: a density on the real line, or with ``by="unit"`` on [0, 1], too. Its own scale, if it is a number,
            is in the units.
        by: "standard" for the mean and standard deviation of every column, or channel of pictures, in the training
            rows; "unit" for their minimum and range. A likelihood on [0, 1] then takes no value outside the range.

    Raises:
        TypeError: not a likelihood.
        ValueError: a mass, a likelihood on a support that the units would leave, ``Missing`` or ``Columns``.

    Example:
        >>> import torch
        >>> from ppl_vae import data, likelihoods, networks
        >>> likelihood = Scaled(likelihoods.Normal(networks.MLP(2, [8]), 3))
        >>> likelihood.start(data.as_split(1000 * torch.randn(50, 3)))
        >>> likelihood(torch.zeros(5, 2)).log_prob(torch.zeros(5, 3)).shape
        torch.Size([5])
    """

    def __init__(self, likelihood: Likelihood, by: Literal["standard", "unit"] = "standard") -> None:
        Part.__init__(self)
        if not isinstance(likelihood, Likelihood):
            raise TypeError(f"likelihood must be one of ppl_vae.likelihoods, not a {type(likelihood).__name__}")
        self.likelihood, self.units = likelihood, Units(likelihood.shape, by)
        self.shape, self.entrywise = likelihood.shape, likelihood.entrywise
        self.by: Literal["standard", "unit"] = by
        _check(likelihood, by)

    @property
    def support(self) -> constraints.Constraint:
        """Constraint on one entry of x: any number until the units are known, where they limit it."""
        inner = self.likelihood.support
        limited = supports.of(inner) != supports.REALS
        if limited and not self.units.known:
            return constraints.real
        return supports.scale(inner, self.units.shift, self.units.unit)

    def forward(self, z: Tensor, y: Tensor | None = None) -> distributions.Scaled:
        """Distribution of batch shape (...) and event shape ``shape`` over x in its own units."""
        return distributions.Scaled(self.likelihood(z, y), self.units.shift, self.units.unit, validate_args=False)

    def start(self, train: Split) -> None:
        """Set the units from the training rows, and start the likelihood inside at these rows in them."""
        self.units.start(train)
        Part.start(self.likelihood, train)  # what is inside it, but not itself, which would see other units
        if self.head.fresh:
            self.start_at(train.mean(), train.std())

    def start_at(self, mean: Tensor, std: Tensor | None = None) -> Scaled:
        """Start the inner likelihood at a mean and standard deviation, which are in the data's own units."""
        shift, unit = self.units.shift.to(mean), self.units.unit.to(mean)
        self.likelihood.start_at((mean - shift) / unit, None if std is None else std / unit)
        return self

    def unconstrain(self, mean: Tensor) -> Tensor | None:
        """``unconstrain`` of the inner likelihood, of a mean in the data's own units."""
        return self.likelihood.unconstrain(self.units(mean))


def _check(likelihood: Likelihood, by: str) -> None:
    """ValueError unless scaled data have a density under the likelihood."""
    name, space = type(likelihood).__name__, supports.of(likelihood.support)
    if isinstance(likelihood, Columns):
        raise ValueError("likelihood Columns has units of its columns inside already; use it as it is")
    if isinstance(likelihood, Scaled):
        raise ValueError("likelihood is Scaled already; use it as it is")
    if likelihood.missing:
        raise ValueError(f"likelihood {name} must be outermost: use Missing(Scaled(...))")
    if likelihood.mass:
        raise ValueError(
            f"likelihood {name} is a mass on {space.name}, which scaled data leave; use it unscaled, or a density, such"
            " as likelihoods.Normal"
        )
    if space == supports.REALS or (by == "unit" and likelihood.support is constraints.unit_interval):
        return
    leave = "standardised data leave" if by == "standard" else "the training rows' minimum and maximum leave"
    raise ValueError(
        f"likelihood {name} is on {space.name}, which {leave}; use it unscaled, or one on the real line, such as "
        "likelihoods.Normal"
    )
