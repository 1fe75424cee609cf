"""A table with columns of different kinds: log p(x | z) = sum_d [x_d is observed] log p_d(x_d | z).

    real           Normal(m, s)                          m(z), s learned
    positive       LogNormal(m, s)                       m(z), s learned
    count          NegativeBinomial, variance m + a m^2  m(z) = softplus(.), log a learned
    binary         Bernoulli(l)                          logit l(z)
    categorical    Categorical(l_0, ..., l_{L-1})        logits l(z)
    ordinal        P(x <= k) = sigmoid(c_k - f)          f(z), cuts c_k learned

Real and positive columns are modelled in units of their standard deviation, counts in units of their mean, so training
does not depend on the columns' units; densities are in the data's own units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import supports
from ..distributions.missing import MissingEntries
from ..distributions.product import Codes, Product, ordered_logits
from ..distributions.softplus import inverse_softplus
from ..kinds import Table, parse_kinds
from ..networks import Head
from .base import Likelihood

FLOOR = 1e-3  # lower bound of learned spreads, in the units of the model
ONE = inverse_softplus(1.0)  # softplus of it is 1
ORDER = ("real", "positive", "count", "binary", "categorical", "ordinal")


class Columns(Likelihood):
    """A product over the columns of a table, each with the distribution of its kind. NaN is a missing entry.

    Args:
        network: module from codes (B, dim) to features.
        shape: (D,), the number of columns.
        kinds: from column number, or from the names of all D columns in order, to "real", "positive", "count",
            "binary", "categorical(L)" or "ordinal(L)" with codes 0, ..., L-1; also text "age=positive,sex=binary" or
            the path of a .yaml or .json file. Columns not named are real. ``data.load(..., kinds=...).kinds`` and
            ``data.find_kinds(x, kinds)`` return the mapping with the numbers of levels found in the data.

    Attributes:
        columns: the columns in order, with name, kind and levels.

    Raises:
        ValueError: rows that are not vectors, unknown columns, an unknown kind, or an unknown number of levels.

    Source: Nazabal et al. 2020, "Handling incomplete heterogeneous data using VAEs".

    Example:
        >>> from ppl_vae import networks
        >>> kinds = {"age": "positive", "sex": "binary", "city": "categorical(4)"}
        >>> p = Columns(networks.MLP(2, [8]), (3,), kinds)(torch.zeros(5, 2))
        >>> p.log_prob(torch.tensor([[30.5, 1.0, float("nan")]])).shape
        torch.Size([5])
    """

    missing = True
    support: Any
    _order: Tensor
    _gather: Tensor
    _count_levels: Tensor
    _fill: Tensor
    count_unit: Tensor
    log_count: nn.Parameter

    def __init__(
        self, network: nn.Module, shape: int | Sequence[int], kinds: str | Mapping[Any, Any] | None = None
    ) -> None:
        super().__init__(network, shape, parameters=1)
        if len(self.shape) != 1:
            raise ValueError(f"shape must be that of a table's rows, one dimension, not {self.shape}")
        self.columns = parse_kinds(kinds, self.shape[0])
        unknown = next((c for c in self.columns if c.levelled and c.levels is None), None)
        if unknown is not None:
            raise ValueError(
                f"kinds gives {unknown.name!r} no number of levels: write {unknown.kind}(L), or use the mapping of "
                "data.find_kinds(x, kinds)"
            )
        self.support = supports.or_missing(Table(self.columns))
        self.mass = all(c.kind not in ("real", "positive") for c in self.columns)
        self._sort()
        self.head = Head(network, (sum(self._widths.values()),))

    def _sort(self) -> None:
        """Group the columns by kind and create the groups' parameters, units and indices."""
        of = {kind: [i for i, c in enumerate(self.columns) if c.kind == kind] for kind in ORDER}
        levels = {kind: [self.columns[i].levels or 0 for i in of[kind]] for kind in ORDER}
        self._of = {kind: torch.tensor(ids) for kind, ids in of.items() if ids}
        self._widths = {kind: sum(levels[kind]) if kind == "categorical" else len(of[kind]) for kind in self._of}
        self._index("order", torch.tensor([i for ids in of.values() for i in ids]).argsort())
        for kind, name, one in (
            ("real", "raw_real", ONE),
            ("positive", "raw_positive", ONE),
            ("count", "log_count", 0.0),
        ):
            if of[kind]:
                self.register_parameter(name, nn.Parameter(torch.full((len(of[kind]),), one)))
                self.register_buffer(f"{kind}_unit", torch.ones(len(of[kind])))
                self.register_buffer(f"{kind}_zero", torch.zeros(len(of[kind])))
        if of["categorical"]:
            sizes = torch.tensor(levels["categorical"])[:, None]
            k = torch.arange(int(sizes.max()))
            rows = torch.where(k < sizes, sizes.cumsum(0) - sizes + k, sizes.sum())  # the last: no such level
            self._index("gather", rows)
        if of["ordinal"]:
            most, count = max(levels["ordinal"]), torch.tensor(levels["ordinal"])
            self._index("count_levels", count)
            even = (torch.arange(1, most) / count[:, None]).clamp(max=1 - 0.5 / most).logit()
            steps = even.diff(dim=-1).clamp(min=0.1)
            self.raw_cuts = nn.Parameter(torch.cat([even[:, :1], inverse_softplus(steps)], -1))
        fill = [1.0 if c.kind == "positive" else 0.0 for c in self.columns]
        self.register_buffer("_fill", torch.tensor(fill), persistent=False)

    def _index(self, name: str, value: Tensor) -> None:
        self.register_buffer(f"_{name}", value, persistent=False)

    def forward(self, z: Tensor, y: Tensor | None = None) -> MissingEntries:
        """Distribution of batch shape (...) and event shape (D,); NaN entries of x are skipped."""
        (out,) = self.head(self.features(z, y))
        raw = dict(zip(self._widths, out.split(list(self._widths.values()), -1), strict=True))
        groups = [getattr(self, f"_{kind}")(part) for kind, part in raw.items()]
        return MissingEntries(Product(groups, self._order, self.support.base_constraint), self._fill)

    def _real(self, raw: Tensor) -> Any:
        return dist.Normal(*self._moments("real", raw))

    def _positive(self, raw: Tensor) -> Any:
        return dist.LogNormal(*self._moments("positive", raw))

    def _moments(self, kind: str, raw: Tensor) -> tuple[Tensor, Tensor]:
        unit, zero = self.get_buffer(f"{kind}_unit"), self.get_buffer(f"{kind}_zero")
        spread = unit * (F.softplus(getattr(self, f"raw_{kind}")) + FLOOR)
        return zero + unit * raw, spread.expand_as(raw)

    def _count(self, raw: Tensor) -> Any:
        mean = self.count_unit * (F.softplus(raw + ONE) + 1e-6)
        size = 1 / (self.log_count.exp() + FLOOR).expand_as(mean)
        return dist.NegativeBinomial(size, logits=mean.log() - size.log())

    def _binary(self, raw: Tensor) -> Any:
        return dist.Bernoulli(logits=raw)

    def _categorical(self, raw: Tensor) -> Any:
        padded = F.pad(raw, (0, 1), value=-torch.inf)
        return Codes(padded[..., self._gather], ordered=False)

    def _ordinal(self, raw: Tensor) -> Any:
        steps = F.softplus(self.raw_cuts[:, 1:]) + FLOOR
        cuts = torch.cat([self.raw_cuts[:, :1], steps], -1).cumsum(-1)
        return Codes(ordered_logits(raw, cuts, self._count_levels), ordered=True)

    @torch.no_grad()
    def start_at(self, mean: Tensor, std: Tensor | None = None) -> Columns:
        """Start at the columns' means and standard deviations (D,), which become the units of the model.

        Counts start at their over-dispersion, but at most at a = 1: the code explains a part of it, and from a large a
        the steps of an optimizer do not come back. Categorical and ordinal columns start with equal probabilities.
        """
        super().start_at(mean, std)
        std = torch.ones_like(mean) if std is None else std
        for kind, ids in self._of.items():
            m, s = mean[ids].to(self._fill), std[ids].to(self._fill)
            s = torch.where(s > 0, s, 1.0)
            if kind == "positive":
                m = torch.where(m > 0, m, 1.0)  # for an empty column
                s = torch.log1p((s / m).square()).sqrt().clamp(min=1e-6)
                m = m.log() - s.square() / 2
            if kind in ("real", "positive"):
                self.get_buffer(f"{kind}_zero").copy_(m)
                self.get_buffer(f"{kind}_unit").copy_(s)
            if kind == "count":
                m = m.clamp(min=1e-3)
                excess = ((s.square() - m) / m.square()).clamp(min=0.01, max=1.0)  # the code will explain some of it
                self.count_unit.copy_(m)
                self.log_count.copy_((excess - FLOOR).log())
        return self

    def unconstrain(self, mean: Tensor) -> Tensor:
        """The head's bias at these means of the columns (D,), in the units that ``start_at`` sets."""
        parts = [torch.zeros(width).to(mean) for width in self._widths.values()]
        if "binary" in self._of:
            parts[[*self._of].index("binary")] = mean[self._of["binary"]].clamp(0.001, 0.999).logit()
        return torch.cat(parts)
