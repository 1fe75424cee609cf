"""Any Pyro distribution class as a family over events of one shape, with unconstrained parameters.

Each parameter of the class has a constraint, into which ``transform_to`` maps an unconstrained tensor. Positive ones
take a softplus (an exponential overflows in float32) plus a floor (the softplus underflows). So a linear layer with
``Family.size`` outputs gives a distribution.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from pyro.distributions import constraints as pyro_constraints
from torch import Tensor
from torch.distributions import Transform, constraints, transform_to

from .. import randomness, supports
from ..checks import nearest
from .grouped import Grouped, check_groups
from .softplus import inverse_softplus

# Of equivalent parameters, the first is the best behaved one as an unconstrained tensor.
ALTERNATIVES = (
    ("logits", "probs"),
    ("gate_logits", "gate"),
    ("scale_tril", "covariance_matrix", "precision_matrix"),
)


FLOOR = 1e-6  # of positive parameters

SPARSE = 0.01  # floor of Gamma, Beta and Dirichlet concentrations: below it most float32 samples underflow


class _Above(Transform):
    """softplus + floor; the inverse is finite at the floor too."""

    domain, codomain, bijective = constraints.real, constraints.positive, True
    sign: Any = 1  # a property, to the type checker

    def __init__(self, floor: float) -> None:
        super().__init__()
        self.floor = floor

    def _call(self, x: Tensor) -> Tensor:
        return F.softplus(x) + self.floor

    def _inverse(self, y: Tensor) -> Tensor:
        return inverse_softplus((y - self.floor).clamp(min=1e-30))


def _transform(constraint: Any, floor: float) -> Any:
    """``transform_to(constraint)``, with positive parts mapped by a softplus."""
    if constraint is constraints.lower_cholesky:
        return transform_to(pyro_constraints.softplus_lower_cholesky)
    base = constraint.base_constraint if isinstance(constraint, constraints.independent) else constraint
    if isinstance(base, constraints.greater_than | constraints.greater_than_eq) and base.lower_bound == 0:
        return _Above(floor)
    return transform_to(constraint)


class Family:
    """A distribution class over events of one shape.

    Args:
        distribution: class of ``pyro.distributions``.
        shape: event shape; a class over vectors takes (dim,) only.
        fixed: parameters with a fixed value (numbers or tensors).
        given: names of parameters to use where two are equivalent (such as probs and logits).
        floor: lower bound of positive parameters.
        groups: for a class over vectors, number of independent vectors that an event is made of.

    Attributes:
        parameters: names of the free parameters, in order.
        size: how many unconstrained numbers they take.
        support: constraint on an event, of as many dimensions as ``shape``.

    Raises:
        TypeError: not a Pyro distribution class.
        ValueError: a class whose parameters have no map from unconstrained tensors, or a parameter it does not have.

    Source: the rule of Pyro's ``PyroParam`` and autoguides.

    Example:
        >>> import pyro.distributions as dist
        >>> gamma = Family(dist.Gamma, (3,))
        >>> gamma.parameters, gamma.size, gamma(torch.zeros(5, 6)).event_shape
        (('concentration', 'rate'), 6, torch.Size([3]))
    """

    distribution: type[Any]

    def __init__(
        self,
        distribution: type[Any],
        shape: Sequence[int],
        fixed: Mapping[str, Any] | None = None,
        given: Iterable[str] = (),
        floor: float = FLOOR,
        groups: int = 1,
    ) -> None:
        if not (isinstance(distribution, type) and issubclass(distribution, torch.distributions.Distribution)):
            raise TypeError(f"distribution must be a class of pyro.distributions, not {distribution!r}")
        self.distribution, self.shape, self.fixed = distribution, tuple(shape), dict(fixed or {})
        self._name = distribution.__name__
        limits, support = distribution.arg_constraints, distribution.support
        if not isinstance(limits, Mapping) or not isinstance(support, constraints.Constraint):
            raise self._refusal("its support or parameters depend on each other")
        if constraints.is_dependent(support):
            raise self._refusal("its support depends on its parameters")
        self.event_dim = support.event_dim
        if self.event_dim and len(self.shape) != self.event_dim:
            raise ValueError(f"{self._name} is over events of {self.event_dim} dimensions, not of shape {self.shape}")
        self.groups, self._inner = groups, self.shape
        if groups > 1:
            if self.event_dim != 1:
                raise ValueError(f"{self._name} takes no groups, since it is not over vectors")
            self._inner = groups, check_groups(*self.shape, groups)
        self._check_names(limits)
        self.limits = {name: limits[name] for name in self._choose(limits, set(given))}
        self.parameters = tuple(self.limits)
        self.transforms, self.shapes, self._raw_shapes = {}, {}, {}
        for name, limit in self.limits.items():
            self._add(name, limit, floor)
        self.sizes = [math.prod(self._raw_shapes[name]) for name in self.parameters]
        self.size = sum(self.sizes)
        wrapped = len(self.shape) - self.event_dim
        self.support = constraints.independent(support, wrapped) if wrapped else support
        self.support = supports.grouped(support, groups) if groups > 1 else self.support
        self._try()

    def _check_names(self, limits: Mapping[str, Any]) -> None:
        """Check the fixed parameters: any of the constructor's; those without constraint or default must be fixed."""
        signature = inspect.signature(self.distribution).parameters
        offered = {**limits, **{name: p for name, p in signature.items() if name != "validate_args"}}
        for name in self.fixed:
            if name not in offered:
                raise ValueError(f"{self._name} has no parameter {name!r}; {nearest(name, offered)}")
        for name, p in signature.items():
            needed = p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
            if needed and name not in limits and name not in self.fixed:
                raise ValueError(f"{self._name} needs {name}= given, since it does not say what values it takes")

    @torch.no_grad()
    def _try(self) -> None:
        """Build the family for two examples, sample and score once."""
        with randomness.unchanged(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                made = self(torch.zeros(2, self.size)) if self.size else self.make()
                scored = made.log_prob(made.sample((2,)))
            except Exception as error:
                raise self._refusal(f"a trial run failed ({_brief(error)})") from error
        if tuple(made.event_shape) != self.shape or tuple(scored.shape[1:]) != tuple(made.batch_shape):
            raise self._refusal(f"its events are of shape {tuple(made.event_shape)}, not {self.shape}")

    def _refusal(self, why: str) -> ValueError:
        return ValueError(f"{self._name} cannot be used by the general rule, since {why}; use a family written for it")

    def _choose(self, limits: Mapping[str, Any], given: set[str]) -> list[str]:
        names = [name for name in limits if name not in self.fixed]
        for group in ALTERNATIVES:
            both = [name for name in group if name in given or name in self.fixed]
            if len(both) > 1:
                raise ValueError(f"{self._name} takes {both[0]} or {both[1]}, not both: they are equivalent")
            present = sorted((name for name in group if name in names), key=lambda name: name not in given)
            drop = present if any(name in self.fixed for name in group) else present[1:]
            names = [name for name in names if name not in drop]
        return names

    def _add(self, name: str, limit: Any, floor: float) -> None:
        if constraints.is_dependent(limit) or limit.is_discrete:
            raise ValueError(f"{self._name} needs {name}= given, since no unconstrained number maps to it")
        shape = self._inner
        if self.event_dim and limit.event_dim == 2:
            shape = (*shape, shape[-1])
        try:
            transform = _transform(limit, floor)
            raw = transform.inverse_shape(shape)
        except (NotImplementedError, ValueError):
            raise ValueError(f"{self._name} needs {name}= given: nothing maps to its constraint {limit}") from None
        self.transforms[name], self.shapes[name], self._raw_shapes[name] = transform, shape, tuple(raw)

    def constrain(self, raw: Tensor) -> dict[str, Tensor]:
        """Parameters from unconstrained numbers (..., size)."""
        parts = raw.split(self.sizes, dim=-1)
        return {
            name: self.transforms[name](part.reshape(*raw.shape[:-1], *self._raw_shapes[name]))
            for name, part in zip(self.parameters, parts, strict=True)
        }

    def unconstrain(self, **values: Any) -> Tensor:
        """Unconstrained numbers (size,) at which the free parameters have these values; 0 where none is given.

        Raises:
            ValueError: a value outside its constraint, or of a shape that does not fit.
        """
        odd = set(values) - set(self.parameters)
        if odd:
            raise ValueError(f"{self._name} has no free parameter {min(odd)!r}; {nearest(min(odd), self.parameters)}")
        raws = []
        for name in self.parameters:
            if values.get(name) is None:
                raws.append(torch.zeros(math.prod(self._raw_shapes[name])))
                continue
            value = self.check(name, values[name])
            raws.append(self.transforms[name].inv(value).reshape(-1))
        return torch.cat(raws) if raws else torch.zeros(0)

    def check(self, name: str, value: Any) -> Tensor:
        """A parameter's value as a tensor of its full shape, inside its constraint."""
        value = torch.as_tensor(value, dtype=torch.get_default_dtype())
        try:
            full = value.expand(self.shapes[name]).contiguous()
        except RuntimeError:
            raise ValueError(
                f"{name} has shape {tuple(value.shape)}, where {self._name} needs {self.shapes[name]} or a number"
            ) from None
        if not self.limits[name].check(full).all():
            raise ValueError(f"{name} must be {_words(self.limits[name])}, not {value.tolist()!r}")
        if not full.isfinite().all():
            raise ValueError(f"{name} must be finite, not {value.tolist()!r}")
        return full

    def make(self, **parameters: Tensor) -> Any:
        """The distribution with these parameters and the fixed ones, event shape ``shape``."""
        like = next(iter(parameters.values()), None)
        fixed = {
            name: value.to(like)
            if isinstance(value, Tensor) and like is not None and value.is_floating_point()
            else value
            for name, value in self.fixed.items()
        }
        made = self.distribution(**parameters, **fixed)
        wrapped = len(self.shape) - self.event_dim
        if not parameters:  # all parameters are fixed: one event
            made = made.expand(self._inner[: len(self._inner) - self.event_dim])
        if self.groups > 1:
            return Grouped(made)
        return made.to_event(wrapped) if wrapped else made

    def __call__(self, raw: Tensor) -> Any:
        """The distribution of unconstrained numbers (..., size): batch shape (...), event shape ``shape``."""
        return self.make(**self.constrain(raw))


def _words(limit: Any) -> str:
    space = supports.of(limit)
    words = {supports.POSITIVE: "positive", supports.REALS: "finite", supports.UNIT_INTERVAL: "between 0 and 1"}
    return words.get(space, f"in {space.name}")


def _brief(error: Exception) -> str:
    words = str(error).strip()
    return f"{type(error).__name__}: {words.splitlines()[0][:80]}" if words else type(error).__name__
