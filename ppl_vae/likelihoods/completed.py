"""A picture of which y is a part: log p(x | z, y) = sum of log p(x_i | z, y) over the entries that y does not show."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import constraints

from ..distributions.completed import CompletedEntries
from ..networks import Quadrants
from ..parts import Part
from .around import Around
from .base import Likelihood


class Completed(Around):
    """A likelihood that knows the entries of x that y shows: they are as in y, and only the others are counted.

    Means and draws are whole pictures. Log-likelihoods are log p(rest of x | y); bits per dimension are of the rest.

    Args:
        likelihood: a likelihood whose entries are independent given z, outermost wrappers such as ``Scaled`` included.
        condition: which part of x y shows.

    Raises:
        TypeError: not a likelihood, or not ``networks.Quadrants``.
        ValueError: a likelihood over whole events, such as Multinomial, or pictures of another shape.

    Source: Sohn et al. 2015, "Learning structured output representation using deep conditional generative models".

    Example:
        >>> import torch
        >>> from ppl_vae import likelihoods, networks
        >>> seen = networks.Quadrants((1, 4, 4), observed=3)
        >>> decoder = networks.Conditioned(networks.MLP(2 + 16, [8]), seen)
        >>> p = Completed(likelihoods.Bernoulli(decoder, (1, 4, 4)), seen)
        >>> y = seen.of(torch.ones(1, 4, 4))
        >>> p(torch.zeros(2), y).mean[0, :2].tolist()
        [[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]]
    """

    def __init__(self, likelihood: Likelihood, condition: Quadrants) -> None:
        Part.__init__(self)
        if not isinstance(likelihood, Likelihood) or isinstance(likelihood, Completed):
            raise TypeError(
                f"likelihood must be one of ppl_vae.likelihoods that is not yet Completed, not {likelihood!r}"
            )
        if not isinstance(condition, Quadrants):
            raise TypeError(f"condition must be networks.Quadrants, which says what y shows of x, not {condition!r}")
        if not likelihood.entrywise:
            raise ValueError(
                f"likelihood {type(likelihood).__name__} is over whole events, so no part of one can be completed; use "
                "one with independent entries"
            )
        if likelihood.shape != condition.event:
            raise ValueError(f"condition is on pictures of shape {condition.event}, but x has shape {likelihood.shape}")
        self.likelihood, self.condition = likelihood, condition
        self.shape, self.mass, self.levels = likelihood.shape, likelihood.mass, likelihood.levels
        self.missing = likelihood.missing

    @property
    def support(self) -> constraints.Constraint:
        """Constraint on one entry of x, that of the inner likelihood."""
        return self.likelihood.support

    def forward(self, z: Tensor, y: Tensor | None = None) -> CompletedEntries:
        """Distribution of batch shape (...) and event shape ``shape`` from codes z (..., dim) and y (..., *shape)."""
        y = self.condition.needed(y)
        return CompletedEntries(self.likelihood(z, y), y, self.condition.mask, validate_args=False)

    def counted(self, x: Tensor) -> Tensor:
        """Which entries of x (..., *shape) ``log_prob`` counts: those that are seen, and not shown by y."""
        return self.likelihood.counted(x) & ~self.condition.mask.to(x.device)

    def start_at(self, mean: Tensor, std: Tensor | None = None) -> Completed:
        """Start the inner likelihood at a mean and standard deviation of whole pictures."""
        self.likelihood.start_at(mean, std)
        return self
