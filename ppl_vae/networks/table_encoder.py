"""Encoder of tables, which transforms each column according to its kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..kinds import parse_kinds
from ..parts import digest
from .base import Network, event_shape, fold
from .mlp import MLP

if TYPE_CHECKING:
    from ..data import Split


class TableEncoder(Network):
    """MLP over the columns of a table, each transformed according to its kind; a missing entry becomes 0.

    Real columns are standardised, positive and count columns standardised after a logarithm, binary and ordinal columns
    scaled to [-1, 1], categorical ones one-hot. ``fit`` sets the training data's mean and standard deviation.

    Args:
        in_shape_or_dim: (D,), the number of columns.
        hidden: sizes of the layers.
        activation: one of ``networks.ACTIVATIONS``.
        kinds: as for ``likelihoods.Columns``.
        mask: whether the layers also get the mask of observed entries.

    Raises:
        ValueError: rows that are not vectors, or kinds that do not fit them.

    Example:
        >>> network = TableEncoder(2, [8], kinds={0: "positive", 1: "categorical(3)"}, mask=True)
        >>> network(torch.tensor([[2.5, 1.0], [torch.nan, torch.nan]])).shape
        torch.Size([2, 8])
    """

    zero: Tensor
    unit: Tensor
    _positive: Tensor
    _count: Tensor
    _plain: Tensor
    _column: Tensor
    _code: Tensor

    def __init__(
        self,
        in_shape_or_dim: int | Sequence[int],
        hidden: Sequence[int] = (200, 200),
        activation: str = "relu",
        kinds: str | Mapping[Any, Any] | None = None,
        mask: bool = False,
    ) -> None:
        super().__init__()
        self.in_shape, self.mask = event_shape("in_shape_or_dim", in_shape_or_dim), mask
        if len(self.in_shape) != 1:
            raise ValueError(f"in_shape_or_dim must be that of a table's rows, one dimension, not {self.in_shape}")
        size = self.in_shape[0]
        columns = parse_kinds(kinds, size)
        unknown = next((c for c in columns if c.levelled and c.levels is None), None)
        if unknown is not None:
            raise ValueError(f"kinds gives {unknown.name!r} no number of levels: write {unknown.kind}(L)")
        hot = [(i, k) for i, c in enumerate(columns) if c.kind == "categorical" for k in range(c.levels or 0)]
        indices = {
            "positive": torch.tensor([c.kind == "positive" for c in columns]),
            "count": torch.tensor([c.kind == "count" for c in columns]),
            "plain": torch.tensor([i for i, c in enumerate(columns) if c.kind != "categorical"], dtype=torch.long),
            "column": torch.tensor([i for i, _ in hot], dtype=torch.long),
            "code": torch.tensor([float(k) for _, k in hot]),
        }
        for name, value in indices.items():
            self.register_buffer(f"_{name}", value, persistent=False)
        half = [((c.levels or 1) - 1) / 2 if c.kind in ("binary", "ordinal") else 0.0 for c in columns]
        self.register_buffer("zero", torch.tensor(half))
        self.register_buffer("unit", torch.tensor([h or 1.0 for h in half]))
        width = len(self._plain) + len(hot) + (size if mask else 0)
        inner = MLP(width, hidden, activation)
        self.layers, self.out_shape = inner.layers, inner.out_shape
        self._scaled = [i for i, c in enumerate(columns) if not c.levelled]
        self._built = digest(self.zero, self.unit)

    def start(self, train: Split) -> None:
        """Standardise by the training rows; further columns, joined by a condition, are not changed."""
        if digest(self.zero, self.unit) == self._built:
            more = 0, self.in_shape[0] - train.shape[0]
            self.start_at(F.pad(train.mean(), more), F.pad(train.std(), more, value=1.0))

    @torch.no_grad()
    def start_at(self, mean: Tensor, std: Tensor) -> TableEncoder:
        """Standardise by the mean and standard deviation (D,) of the training data.

        Returns:
            the network itself.
        """
        if tuple(mean.shape) != self.in_shape or tuple(std.shape) != self.in_shape:
            raise ValueError(f"mean and std must have shape {self.in_shape}, not {tuple(mean.shape)}")
        mean, std = mean.to(self.zero), std.to(self.zero)
        std = torch.where(std > 0, std, 1.0)
        shifted = mean + self._count.to(mean)
        shifted = torch.where(shifted > 0, shifted, 1.0)  # for an empty column
        spread = torch.log1p((std / shifted).square())  # variance of the logarithm if it is Normal
        logged = self._positive | self._count
        zero = torch.where(logged, shifted.log() - spread / 2, mean)
        unit = torch.where(logged, spread.sqrt().clamp(min=1e-6), std)
        self.zero[self._scaled], self.unit[self._scaled] = zero[self._scaled], unit[self._scaled]
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Features (..., *out_shape) of x (..., D), which may hold NaN."""
        if tuple(x.shape[-1:]) != self.in_shape:
            raise ValueError(f"TableEncoder was built for rows of shape {self.in_shape}, not a tensor {tuple(x.shape)}")
        seen = ~x.isnan()
        x = torch.where(seen, x, 1.0)
        here = seen.to(x.dtype)
        scaled = (self.in_units(x) * here).index_select(-1, self._plain)
        hot = (x.index_select(-1, self._column) == self._code).to(x.dtype) * here.index_select(-1, self._column)
        return fold(self.layers, torch.cat([scaled, hot, *([here] if self.mask else [])], -1), 1)

    def in_units(self, x: Tensor) -> Tensor:
        """The first d columns (..., d) in units: logarithms where positive or counts, then (x - zero) / unit.

        The numbers of categories stay as they are.
        """
        d = x.shape[-1]
        x = torch.where(self._positive[:d], x.clamp(min=1e-30).log(), x)  # the features are finite for any x
        x = torch.where(self._count[:d], x.clamp(min=0).log1p(), x)
        return (x - self.zero[:d]) / self.unit[:d]

    def back(self, u: Tensor) -> Tensor:
        """The first d columns (..., d) of what ``in_units`` gives."""
        d = u.shape[-1]
        x = self.zero[:d] + self.unit[:d] * u
        logs = torch.where(self._positive[:d] | self._count[:d], x, 0.0)  # other columns would overflow
        return torch.where(self._positive[:d], logs.exp(), torch.where(self._count[:d], logs.expm1(), x))
