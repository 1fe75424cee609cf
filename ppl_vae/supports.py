"""Names of supports: which constraints describe the same set, for matching parts and for error messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from pyro.distributions import constraints as pyro_constraints
from torch import Tensor
from torch.distributions import biject_to, constraints, transform_to


class _OpenUnitInterval(constraints.interval):
    """The open unit interval, for densities that are 0 or infinite at 0 and 1."""

    def __init__(self) -> None:
        super().__init__(0.0, 1.0)

    def check(self, value: Tensor) -> Tensor:
        return (value > 0) & (value < 1)


open_unit_interval = _OpenUnitInterval()
biject_to.register(_OpenUnitInterval, lambda _: biject_to(constraints.unit_interval))
transform_to.register(_OpenUnitInterval, lambda _: transform_to(constraints.unit_interval))


class grid(constraints.Constraint):  # noqa: N801
    """The numbers k / (levels - 1), k = 0 ... levels - 1: grey levels scaled to [0, 1].

    Example:
        >>> import torch
        >>> grid(5).check(torch.tensor([0.0, 0.25, 0.3, 1.25])).tolist()
        [True, True, False, False]
    """

    is_discrete = True

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels

    def check(self, value: Tensor) -> Tensor:
        """Whether each number is a level, to 1/1000 of the step between levels."""
        k = value * (self.levels - 1)
        return ((k - k.round()).abs() <= 1e-3) & (value >= 0) & (value <= 1)

    def __repr__(self) -> str:
        return f"{self.levels} levels k/{self.levels - 1} in [0, 1]"


class or_missing(constraints.independent):  # noqa: N801
    """A constraint that also allows NaN, a missing entry.

    Example:
        >>> import torch
        >>> or_missing(constraints.boolean).check(torch.tensor([1.0, 0.5, float("nan")])).tolist()
        [True, False, True]
    """

    def __init__(self, base: constraints.Constraint) -> None:
        super().__init__(base, 0)

    def check(self, value: Tensor) -> Tensor:
        """Whether each event is missing in part or in the base constraint."""
        missing = value.isnan()
        if self.event_dim:
            missing = missing.flatten(value.dim() - self.event_dim).any(-1)
        return self.base_constraint.check(value) | missing

    def __repr__(self) -> str:
        return f"{self.base_constraint!r} or missing"


class grouped(constraints.Constraint):  # noqa: N801
    """Vectors that fall into ``groups`` parts of equal size, each in a base constraint on vectors.

    Example:
        >>> grouped(constraints.one_hot, 2).check(torch.tensor([[0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0]])).tolist()
        [True, False]
    """

    event_dim = 1

    def __init__(self, base: constraints.Constraint, groups: int) -> None:
        super().__init__()
        self.base, self.groups, self.is_discrete = base, groups, base.is_discrete

    def check(self, value: Tensor) -> Tensor:
        """Whether every group of value (..., dim) is in the base constraint, (...)."""
        return self.base.check(value.unflatten(-1, (self.groups, -1))).all(-1)

    def __repr__(self) -> str:
        return f"{self.groups} groups, each in {self.base!r}"


class scaled(constraints.Constraint):  # noqa: N801
    """The numbers shift + unit * u with u in a base constraint, with a shift and a unit for every column or channel.

    Example:
        >>> box = scaled(constraints.unit_interval, torch.tensor([5.0, 0.0]), torch.tensor([10.0, 1.0]))
        >>> box.check(torch.tensor([7.0, 7.0])).tolist()
        [True, False]
    """

    is_discrete = False

    def __init__(self, base: constraints.Constraint, shift: Tensor, unit: Tensor) -> None:
        super().__init__()
        self.base_constraint, self.shift, self.unit = base, shift, unit

    def check(self, value: Tensor) -> Tensor:
        """Whether each entry of value (..., *shape) is inside, to 1/1,000,000 of the unit."""
        u = (value - self.shift.to(value.device)) / self.unit.to(value.device)
        near = unscaled(self.base_constraint, value, self.shift.to(value.device), self.unit.to(value.device))
        return self.base_constraint.check(torch.where((u - near).abs() <= 1e-6, near, u))

    def complaint(self, x: Tensor) -> tuple[int, str] | None:
        """The first row of x (N, *shape) with an entry outside, and what is wrong with it."""
        bad = ~(self.check(x) | x.isnan())
        if not bad.any():
            return None
        row, *at = bad.nonzero()[0].tolist()
        lows, highs = (self.shift + self.unit * end for end in (0.0, 1.0))
        low, high = (end.cpu().expand(x.shape[1:])[tuple(at)].item() for end in (lows, highs))
        spot = f"column {at[0]}" if x.dim() == 2 else f"element {tuple(at)}"
        return row, (
            f"{x[row][tuple(at)].item():.6g} in {spot}, outside the training rows' range from {low:.6g} to {high:.6g}, "
            "on which alone the model is defined; use a likelihood on the real line, such as normal, or an "
            "autoencoder's output 'identity'"
        )

    def __repr__(self) -> str:
        return f"shift + unit * u with u in {name(self.base_constraint)}"


def scale(support: Any, shift: Tensor, unit: Tensor) -> Any:
    """The constraint on shift + unit * u, of that on u.

    Example:
        >>> scale(constraints.real, torch.tensor(5.0), torch.tensor(2.0)) is constraints.real
        True
    """
    if isinstance(entry(support), type(constraints.real)):
        return support
    made = scaled(entry(support), shift, unit)
    return constraints.independent(made, support.event_dim) if support.event_dim else made


def unscaled(support: Any, x: Tensor, shift: Tensor, unit: Tensor) -> Tensor:
    """(x - shift) / unit, brought back to the ends of an interval that rounding may leave."""
    u, base = (x - shift) / unit, entry(support)
    return u.clamp(base.lower_bound, base.upper_bound) if isinstance(base, constraints.interval) else u


def entry(support: Any) -> Any:
    """The constraint inside those that repeat it over dimensions, mix it or let NaN through; None stays None.

    Example:
        >>> entry(or_missing(constraints.independent(constraints.boolean, 2))) is constraints.boolean
        True
    """
    while isinstance(support, constraints.independent | constraints.MixtureSameFamilyConstraint):
        support = support.base_constraint
    return support


def allows_missing(support: Any) -> bool:
    """Whether NaN entries are in the support.

    Example:
        >>> allows_missing(constraints.independent(or_missing(constraints.real), 1)), allows_missing(constraints.real)
        (True, False)
    """
    while isinstance(support, constraints.independent) and not isinstance(support, or_missing):
        support = support.base_constraint
    return isinstance(support, or_missing)


def inside(support: Any) -> Any:
    """A number in the support of a single entry; a tensor where that differs from entry to entry."""
    if isinstance(support, scaled):
        return support.shift + support.unit * inside(support.base_constraint)
    found = next(
        (value for value in (0.5, 1.0, 0.0, 2.0, -1.0) if bool(support.check(torch.tensor(value)).all())), None
    )
    if found is None:
        raise ValueError(f"no number is known that lies in {name(support)}")
    return found


@dataclass(frozen=True)
class Space:
    """A set of numbers or vectors with a name; equal sets are equal objects."""

    name: str


REALS = Space("the reals")
POSITIVE = Space("the positive numbers")
UNIT_INTERVAL = Space("the unit interval")
SIMPLEX = Space("the simplex")
SPHERE = Space("the sphere")
BINARY = Space("{0, 1}")
ONE_HOT = Space("one-hot vectors")
COUNTS = Space("the counts")
WHOLE = Space("the whole numbers of an interval")

_SPACES: dict[type[Any], Space] = {
    type(constraints.real): REALS,
    type(constraints.simplex): SIMPLEX,
    type(pyro_constraints.sphere): SPHERE,
    type(constraints.boolean): BINARY,
    type(constraints.one_hot): ONE_HOT,
    type(constraints.nonnegative_integer): COUNTS,
    type(constraints.multinomial(1)): COUNTS,
    constraints.integer_interval: WHOLE,
}


def of(support: Any) -> Space:
    """The set that a constraint describes.

    Wrappers over event dimensions and mixtures are removed. Boundaries of measure zero are ignored: positive and
    non-negative are the same set, as are the open and the closed unit interval.

    Example:
        >>> of(constraints.nonnegative) == of(constraints.independent(constraints.positive, 1)) == POSITIVE
        True
    """
    support = entry(support)
    if isinstance(support, grouped):
        one = of(support.base)
        return Space(f"{support.groups} {'' if one == ONE_HOT else 'points of '}{one.name} side by side")
    if isinstance(support, constraints.interval):
        low, high = float(support.lower_bound), float(support.upper_bound)
        return UNIT_INTERVAL if (low, high) == (0.0, 1.0) else Space(f"the interval [{low:g}, {high:g}]")
    if isinstance(support, constraints.greater_than | constraints.greater_than_eq):
        low = float(support.lower_bound)
        return POSITIVE if low == 0 else Space(f"the numbers above {low:g}")
    return _SPACES.get(type(support)) or Space(repr(support))


def ungrouped(support: Any) -> tuple[Any, int]:
    """The constraint on one group of a vector, and the number of groups; the constraint itself and 1 without groups."""
    return (support.base, support.groups) if isinstance(support, grouped) else (support, 1)


def name(support: Any) -> str:
    """The set that a constraint describes, in words; equal sets have equal names.

    Example:
        >>> name(constraints.independent(constraints.real, 1)), name(constraints.interval(0.0, 1.0))
        ('the reals', 'the unit interval')
    """
    return of(support).name


def same(a: Any, b: Any) -> bool:
    """Whether two constraints describe one set.

    Example:
        >>> same(constraints.positive, constraints.independent(constraints.nonnegative, 1))
        True
    """
    return of(a) == of(b)


def onto(support: Any, z: Tensor) -> Tensor:
    """Project z (..., dim) onto a support, which averages of codes and lines between codes may leave.

    On the sphere the length becomes 1; of a one-hot vector the largest entry becomes 1 and the others 0; binary entries
    are rounded. All other supports contain the averages of their points.

    Example:
        >>> onto(constraints.one_hot, torch.tensor([0.2, 0.5, 0.3])).tolist()
        [0.0, 1.0, 0.0]
    """
    if isinstance(support, grouped):
        return onto(support.base, z.unflatten(-1, (support.groups, -1))).flatten(-2)
    space = of(support)
    if space == SPHERE:
        return torch.nn.functional.normalize(z, dim=-1)
    if space == ONE_HOT:
        return torch.nn.functional.one_hot(z.argmax(-1), z.shape[-1]).to(z)
    return z.round() if space == BINARY else z


def check_stated(name: str, part: Any) -> None:
    """TypeError unless a part states its support; ``name`` is what it is called."""
    if not hasattr(part, "support"):
        raise TypeError(
            f"{name} {type(part).__name__} states no support; write one in its class, such as "
            "support = constraints.independent(constraints.real, 1) for codes, or support = constraints.real for an "
            "entry of x"
        )
