"""A product of distributions over the entries of one vector: p(x) = prod_g prod_{i in g} p_g(x_i).

Entries of one kind form a group and are computed together; the groups partition the entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor
from torch.distributions import constraints

_ONE = torch.Size()


class Product(TorchDistribution):
    """Independent entries of different families as one distribution over vectors.

    Args:
        groups: distributions of batch shape (..., n) and no event shape, over n entries each.
        order: (D,), for every entry of the vector its position in the concatenated groups.
        support: constraint on the entries of the vector.

    Example:
        >>> import pyro.distributions as dist
        >>> groups = [dist.Normal(torch.zeros(5, 2), 1.0), dist.Bernoulli(torch.full((5, 1), 0.5))]
        >>> p = Product(groups, torch.tensor([0, 2, 1]), constraints.real)  # real, binary, real
        >>> p.batch_shape, p.event_shape, p.log_prob(torch.zeros(5, 3)).shape
        (torch.Size([5]), torch.Size([3]), torch.Size([5]))
    """

    arg_constraints: dict[str, Any] = {}

    def __init__(
        self,
        groups: Sequence[Any],
        order: Tensor,
        support: constraints.Constraint,
        validate_args: bool | None = None,
    ) -> None:
        self.groups, self.order = tuple(groups), order
        self._sizes = [group.batch_shape[-1] for group in groups]
        self._support = constraints.independent(support, 1)
        super().__init__(groups[0].batch_shape[:-1], order.shape, validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:  # noqa: D102
        return self._support

    def expand(self, batch_shape: Any, _instance: Any = None) -> Product:  # noqa: D102
        groups = [g.expand((*batch_shape, size)) for g, size in zip(self.groups, self._sizes, strict=True)]
        return Product(groups, self.order, self._support.base_constraint, validate_args=False)

    def _join(self, parts: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(parts), -1).index_select(-1, self.order)

    def entry_log_prob(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """Log-probability of every entry of x (..., D), shape (..., D)."""
        parts = x.index_select(-1, self.order.argsort()).split(self._sizes, -1)
        return self._join([group.log_prob(part) for group, part in zip(self.groups, parts, strict=True)])

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probability of x (..., D), shape (...)."""
        if self._validate_args:
            self._validate_sample(x)
        return self.entry_log_prob(x).sum(-1)

    def sample(self, sample_shape: Any = _ONE) -> Tensor:  # noqa: D102
        with torch.no_grad():
            return self._join([group.sample(sample_shape) for group in self.groups])

    @property
    def mean(self) -> Tensor:  # noqa: D102
        return self._join([group.mean for group in self.groups])

    @property
    def variance(self) -> Tensor:  # noqa: D102
        return self._join([group.variance for group in self.groups])

    @property
    def mode(self) -> Tensor:  # noqa: D102
        return self._join([group.mode for group in self.groups])

    def level_probs(self, levels: int) -> Tensor:
        """Probabilities of 0, ..., levels - 1, (..., D, levels); 0 for entries without finitely many levels."""
        parts = []
        for group in self.groups:
            probs = group.mean.new_zeros(*group.batch_shape, levels)
            if isinstance(group, Codes):
                probs[..., : group.probs.shape[-1]] = group.probs
            elif group.support is constraints.boolean:
                probs[..., 0], probs[..., 1] = 1 - group.probs, group.probs
            parts.append(probs)
        return torch.cat(parts, -2).index_select(-2, self.order)


class Codes(torch.distributions.Categorical, TorchDistributionMixin):
    """A categorical distribution whose log-probabilities may be -inf, over float codes 0, ..., L-1.

    Args:
        logits: (..., L), -inf for levels that an entry does not have.
        ordered: if true, mean and variance are those of the code; else the mean is the most probable code and the
            variance the probability of any other.
    """

    def __init__(self, logits: Tensor, ordered: bool, validate_args: bool | None = None) -> None:
        self.ordered = ordered
        super().__init__(logits=logits, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Codes:  # noqa: D102
        return Codes(self.logits.expand(*batch_shape, self.logits.shape[-1]), self.ordered)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of codes of the batch shape or one that broadcasts with it."""
        shape = torch.broadcast_shapes(value.shape, self.batch_shape)
        index = value.long().expand(shape)[..., None]
        return self.logits.expand(*shape, self.logits.shape[-1]).gather(-1, index)[..., 0]

    def sample(self, sample_shape: Any = _ONE) -> Tensor:  # noqa: D102
        return super().sample(torch.Size(sample_shape)).to(self.logits.dtype)

    @property
    def mode(self) -> Tensor:  # noqa: D102
        return self.logits.argmax(-1).to(self.logits.dtype)

    @property
    def mean(self) -> Tensor:  # noqa: D102
        return self._moment(1) if self.ordered else self.mode

    @property
    def variance(self) -> Tensor:  # noqa: D102
        return self._moment(2) - self._moment(1).square() if self.ordered else 1 - self.probs.amax(-1)

    def _moment(self, power: int) -> Tensor:
        return (self.probs * torch.arange(self.probs.shape[-1]).to(self.probs) ** power).sum(-1)


def ordered_logits(centre: Tensor, cuts: Tensor, levels: Tensor) -> Tensor:
    """Log-probabilities (..., n, L) of n ordered logistic variables: P(x <= k) = sigmoid(cut_k - centre).

    Stable where the difference of two sigmoids is not:
    log(s(a) - s(b)) = log s(a) + log s(-b) + log(1 - e^(b-a)).

    Args:
        centre: (..., n).
        cuts: (n, L - 1), ascending.
        levels: (n,) whole numbers up to L; levels beyond get -inf.

    Source: McCullagh 1980, "Regression models for ordinal data".

    Example:
        >>> cuts = torch.tensor([[-1.0, 1.0]])
        >>> ordered_logits(torch.zeros(1), cuts, torch.tensor([3])).exp().sum(-1)
        tensor([1.])
    """
    below = cuts - centre[..., None]  # upper cuts of levels 0 ... L-2 and lower cuts of levels 1 ... L-1
    one, none = below.new_zeros(()), torch.full((), -torch.inf).to(below)
    k = torch.arange(cuts.shape[-1] + 1, device=cuts.device)
    top, beyond = k == levels[:, None] - 1, k >= levels[:, None]
    logsigmoid, pad = torch.nn.functional.logsigmoid, torch.nn.functional.pad
    upper = torch.where(top, one, pad(logsigmoid(below), (0, 1)))
    lower = pad(logsigmoid(-below), (1, 0))
    gap = pad(torch.log1p(-torch.exp(cuts[..., :-1] - cuts[..., 1:])), (1, 1))
    return torch.where(beyond, none, upper + lower + torch.where(top, one, gap))
