"""Missing entries: log p(x_seen | z) = sum of log p(x_i | z) over observed entries, for any entrywise likelihood."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import constraints

from .. import supports
from ..distributions.missing import MissingEntries
from ..parts import Part
from .around import Around
from .base import Likelihood


class Missing(Around):
    """A likelihood that marginalises missing (NaN) entries of x exactly, by skipping them.

    The encoder must not get NaN either: wrap the posterior's network in ``networks.FillMissing``. Samples of the model
    are complete; imputations are samples or means of p(x_missing | z), z ~ q(z | x_seen).

    Args:
        likelihood: a likelihood whose entries are independent given z.

    Raises:
        TypeError: not a likelihood.
        ValueError: a likelihood over whole events, such as Multinomial.

    Source: Nazabal et al. 2020, "Handling incomplete heterogeneous data using VAEs"; Mattei and Frellsen 2019.

    Example:
        >>> import torch
        >>> from ppl_vae import likelihoods, networks
        >>> likelihood = Missing(likelihoods.Bernoulli(networks.MLP(2, [8]), 3))
        >>> nothing_seen = torch.full((5, 3), float("nan"))
        >>> likelihood(torch.zeros(5, 2)).log_prob(nothing_seen).tolist()
        [0.0, 0.0, 0.0, 0.0, 0.0]
    """

    missing = True

    def __init__(self, likelihood: Likelihood) -> None:
        Part.__init__(self)
        if not isinstance(likelihood, Likelihood):
            raise TypeError(f"likelihood must be one of ppl_vae.likelihoods, not {likelihood!r}")
        if not likelihood.entrywise:
            raise ValueError(
                f"likelihood {type(likelihood).__name__} is over whole events, so single entries cannot be missing; "
                "use one with independent entries"
            )
        self.likelihood = likelihood
        self.shape, self.mass, self.levels = likelihood.shape, likelihood.mass, likelihood.levels

    @property
    def support(self) -> constraints.Constraint:
        """Constraint on one entry of x, NaN included."""
        inner = self.likelihood.support
        return inner if supports.allows_missing(inner) else supports.or_missing(inner)

    def forward(self, z: Tensor, y: Tensor | None = None) -> MissingEntries:
        """Distribution of batch shape (...) and event shape ``shape`` that takes NaN."""
        p = self.likelihood(z, y)
        return p if isinstance(p, MissingEntries) else MissingEntries(p)

    def start_at(self, mean: Tensor, std: Tensor | None = None) -> Missing:
        """Start the inner likelihood at the mean and standard deviation of the observed entries."""
        self.likelihood.start_at(mean, std)
        return self
