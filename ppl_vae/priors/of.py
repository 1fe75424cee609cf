"""Any Pyro distribution class as a prior, with fixed or learned parameters; base class of most priors."""

from __future__ import annotations

from typing import Any

from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from ..distributions import Family
from ..distributions.family import FLOOR
from .base import Prior


class FamilyPrior(Prior):
    """A ``Family`` over codes of event shape (dim,), the same for every datum.

    Args:
        distribution: class of ``pyro.distributions``.
        dim: size of the code.
        learned: whether the parameters are trained, starting at the values given.
        floor: lower bound of learned positive parameters.
        groups: number of independent vectors that a code is made of.
        parameters: values by name: a number, or a tensor of the parameter's shape.
    """

    def __init__(
        self,
        distribution: type[Any],
        dim: int,
        learned: bool,
        floor: float = FLOOR,
        groups: int = 1,
        **parameters: Any,
    ) -> None:
        super().__init__(dim)
        fixed = {k: v for k, v in parameters.items() if _is_fixed(distribution, k)}
        given = parameters.keys() - fixed.keys()
        self.family = Family(distribution, (dim,), fixed, given=given, floor=floor, groups=groups)
        self.support = self.family.support
        raw = self.family.unconstrain(**{k: v for k, v in parameters.items() if k in self.family.parameters})
        self.learned = learned
        if learned:
            self.raw = nn.Parameter(raw)
        else:
            values = self.family.constrain(raw)
            # Values given are kept as they are: mapping them through a softplus and back would round them.
            for name in self.family.parameters:
                value = parameters.get(name)
                full = values[name] if value is None else self.family.check(name, value)
                self.register_buffer(name, full, persistent=False)

    def forward(self, y: Tensor | None = None) -> TorchDistribution:
        """Distribution of batch shape () and event shape (dim,); ``y`` is not used."""
        if self.learned:
            return self.family(self.raw)
        return self.family.make(**{name: getattr(self, name) for name in self.family.parameters})


class Of(FamilyPrior):
    """The general rule: a prior of any Pyro distribution class whose parameters are continuous.

    Args:
        distribution: class of ``pyro.distributions``, univariate (independent over the code) or over vectors.
        dim: size of the code.
        learned: whether the parameters are trained.
        parameters: starting values by name; those not given start where the unconstrained parameter is 0.

    Raises:
        TypeError: not a distribution class.
        ValueError: a class that the rule does not cover, an unknown parameter, or a value outside its constraint.

    Example:
        >>> import pyro.distributions as dist
        >>> prior = Of(dist.Weibull, 16, scale=1.0, concentration=2.0)
        >>> prior().sample().shape
        torch.Size([16])
    """

    def __init__(self, distribution: type[Any], dim: int, learned: bool = False, **parameters: Any) -> None:
        super().__init__(distribution, dim, learned, **parameters)


def _is_fixed(distribution: Any, name: str) -> bool:
    """Whether a parameter can only be fixed, since no unconstrained tensor maps to its constraint."""
    limits = getattr(distribution, "arg_constraints", {})
    limit = limits.get(name) if isinstance(limits, dict) else None
    return limit is None or constraints.is_dependent(limit) or limit.is_discrete
