"""The sections of a report on tables: every column by its name, in its units and levels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from .. import evaluation, supports
from ..data import Data
from ..kinds import Column
from ..models import VAE, Codec
from ..statistics.columns import column_gaps, column_scores, correlation_gaps
from . import code_plots, entry_plots, table_plots
from .page import Section

ALL, SHOWN = 15, 12  # tables of so many columns are drawn whole; of wider ones so many columns
WIDE = 20  # columns from which on there is a summary of all
ENOUGH = 200  # rows from which on test rows alone are compared with draws
ROWS, DRAWS, CELLS, POINTS = 2000, 2000, 40, 400
NUMBERS = 2**23  # drawn for a section at most


@dataclass(frozen=True)
class Table:
    """What is drawn of a model of tables.

    Attributes:
        model: the model.
        columns: all D columns.
        x: (N, D) test rows, or those of another split where there are none.
        y: their labels.
        known: training rows, or None.
        rows: rows to compare with draws, with labels: the test rows, or all rows where these are few.
    """

    model: Codec
    columns: tuple[Column, ...]
    x: Tensor
    y: Tensor | None
    known: Tensor | None
    rows: tuple[Tensor, ...]

    @cached_property
    def means(self) -> Tensor:
        """Reconstructions of x."""
        return evaluation.reconstruct(self.model, self.x, self.y)

    @cached_property
    def scores(self) -> Tensor:
        """How well each column is reconstructed."""
        return column_scores(self.x, self.means, self.columns)

    @cached_property
    def shown(self) -> list[int]:
        """The columns that are drawn one by one: all, or those that are reconstructed best."""
        if len(self.columns) <= ALL:
            return [*range(len(self.columns))]
        return self.scores.nan_to_num(-torch.inf).argsort(descending=True, stable=True)[:SHOWN].tolist()

    @property
    def which(self) -> str:
        """Which columns are shown, in words."""
        if len(self.columns) <= ALL:
            return ""
        return f" Shown are the {SHOWN} of {len(self.columns):,} columns that are reconstructed best."

    def some(self, of: Sequence[int] | None = None) -> list[Column]:
        """The columns that are shown."""
        return [self.columns[i] for i in (self.shown if of is None else of)]

    def name(self, i: int) -> str:
        """The name of a column."""
        return self.columns[i].name


def table_of(model: Any, data: Data | None, x: Tensor | None, y: Tensor | None, known: Tensor | None) -> Table | None:
    """What is drawn as a table; None for other data: pictures, and points of the plane without named columns."""
    names = None if data is None else data.columns
    if x is None or not isinstance(model, Codec) or len(model.shape) != 1 or (names is None and model.shape[0] == 2):
        return None
    columns = evaluation.columns_of(model, names, None if data is None else data.kinds)
    rows: tuple[Tensor, ...] = (x,) if y is None else (x, y)
    if len(x) < ENOUGH and data is not None:
        splits = [split.resolve(model.support) for split in (data.test, data.valid, data.train) if len(split)]
        parts = [split.take(slice(0, min(ROWS, len(split)))) for split in splits]
        if len({len(part) for part in parts}) == 1:
            rows = tuple(torch.cat([part.cpu() for part in column]) for column in zip(*parts, strict=True))
    return Table(model, columns, x, y, known, rows)


def reconstructions(table: Table) -> Section:
    """Observed against reconstructed entries of test rows."""
    scores, numbers = table.scores, [not c.levelled for c in table.columns]
    told = scores.isfinite()
    text = f"Each column of {len(table.x):,} test rows and what the model makes of it from the code alone."
    if told.any():
        order = scores.nan_to_num(torch.inf).argsort().tolist()
        best, worst = (int(scores.nan_to_num(-torch.inf).argmax()), order[0])
        text += f" Best: {_scored(table, best)}."
        text += f" Worst: {_scored(table, worst)}." if worst != best else ""
        if int(told.sum()) > 2:
            text += f" Median over {int(told.sum())} columns: {_signed(scores[told].median())}."
    text += " R² is the share of a column's variance that is explained." * any(numbers)
    if not all(numbers):
        text += " For levels it is the gain in right levels over the most frequent level, 1 if all are right."
    at = table.shown
    figure = entry_plots.column_reconstructions(table.x[:POINTS, at], table.means[:POINTS, at], table.some())
    alt = "Observed entries of each column against their reconstructions"
    return Section("reconstructions", "Reconstructions by column", text + table.which, [(figure, alt)])


def _scored(table: Table, i: int) -> str:
    return f"{table.name(i)} ({'gain' if table.columns[i].levelled else 'R²'} {_signed(table.scores[i])})"


def _counted(some: Sequence[int], one: str, more: str, of: int) -> str:
    """So many of the columns do something, as in "1 of 9 columns is"."""
    return f"{len(some)} of {of} columns {one if len(some) == 1 else more}"


def _signed(value: Any) -> str:
    return f"{value:.2f}".replace("-", "−")


def against_draws(table: Table, made: Section) -> Iterator[Section]:
    """Marginals and correlations of data and draws; ``made`` is the section on samples, whose words are kept."""
    x, *y = table.rows
    size = max(ENOUGH, min(DRAWS, NUMBERS // (4 * len(table.columns))))
    label = y[0][torch.arange(size) % len(x)] if y and table.model.condition is not None else None
    drawn = evaluation.sample_rows(table.model, size, label, x=x if table.known is None else table.known)
    gaps, at = column_gaps(x, drawn, table.columns), table.shown
    told, wrong = int(gaps.p_value.isfinite().sum()), gaps.differing()
    whose = f"{len(x):,} test rows" if len(x) == len(table.x) else f"all {len(x):,} rows ({len(table.x)} of them test)"
    text = f"Each column of {whose} beside {size:,} rows drawn from the model, in the column's own units."
    if told and not wrong:
        text += f" None of {told} columns differs from the draws at the 1% level."
    if wrong:
        text += f" {_counted(wrong, 'differs', 'differ', told)} at the 1% level; chance alone gives {told / 100:.2g}."
        far = ", ".join(f"{table.name(i)} {gaps.distance[i]:.2f}" for i in wrong[:3])
        text += f" Farthest, by the largest difference of the cumulative shares: {far}."
    figures = [
        (
            table_plots.marginals(x[:, at], drawn[:, at], table.some()),
            "Distribution of each column, observed and drawn from the model",
        )
    ]
    if len(table.columns) > WIDE:
        alt = "Mean and standard deviation of every column, observed and drawn from the model"
        if numbers := [i for i, c in enumerate(table.columns) if c.kind != "categorical"]:
            some = [table.columns[i] for i in numbers]
            figures.append((table_plots.moments(x[:, numbers], drawn[:, numbers], some), alt))
    yield Section(made.id, "Columns: data and model", f"{text}{table.which} {made.text}", figures, stacked=True)
    if len(at) > 1:
        yield _correlations(table, x[:, at], drawn[:, at])


def _correlations(table: Table, x: Tensor, drawn: Tensor) -> Section:
    gaps = correlation_gaps(x, drawn)
    pair, (wrong, told) = gaps.largest(), gaps.differing()
    text = "Rank correlation of each pair of columns, in the data and in the model's draws."
    if pair is not None:
        i, j = pair
        named = f"{table.name(table.shown[i])} and {table.name(table.shown[j])}"
        text += f" The largest difference (framed): {named}, {_signed(gaps.first[i, j])} in the data and "
        text += f"{_signed(gaps.second[i, j])} in the draws."
        text += f" {wrong} of {told} pairs differ by more than two standard errors"
        text += f", where chance alone gives about {0.046 * told:.2g}."
    if any(c.kind == "categorical" and (c.levels or 2) > 2 for c in table.some()):
        text += " Levels without order count in the order of their codes."
    if table.x.isnan().any():
        text += " A pair is compared over the rows that have both."
    names = [c.name for c in table.some()]
    figure = table_plots.correlation_maps(gaps.first, gaps.second, names, pair)
    alt = "Rank correlations of the columns, in the data and in the model's draws"
    return Section("correlations", "Correlations", text + table.which, [(figure, alt)])


def imputation(table: Table) -> Section:
    """Intervals of hidden entries and their coverage."""
    model, name, title = table.model, "imputation", "Imputation intervals"
    if not (isinstance(model, VAE) and supports.allows_missing(model.support)):
        what = type(model.likelihood).__name__ + " likelihood" if isinstance(model, VAE) else type(model).__name__
        text = (
            f"Not computed: the {what} takes no missing entries, so none can be hidden. Use a VAE with likelihood "
            "columns, or with likelihoods.Missing and networks.FillMissing."
        )
        return Section(name, title, text)
    count = min(len(table.x), max(20, NUMBERS // (99 * 5 * len(table.columns))))
    x, y = table.x[:count], None if table.y is None else table.y[:count]
    if not (~x.isnan()).any():
        return Section(name, title, "Not computed: the test rows have no known entry to hide.")
    found = evaluation.imputation_intervals(model, x, y)
    covered = [found.coverage(i) for i in range(len(table.columns))]
    share, error = found.coverage()
    told = sum(not math.isnan(value) for value, _ in covered)
    off = [i for i, (value, stderr) in enumerate(covered) if abs(value - found.level) > 3 * stderr]
    text = (
        f"Every known entry of {count:,} test rows is hidden once, a fifth of each row at a time, and drawn 99 times "
        f"given the rest of its row. {share:.1%} ± {error:.1%} of {len(found.truth):,} hidden entries lie in the "
        f"central {found.level:.0%} of the draws; a right model gives {found.level:.0%}."
    )
    if off:
        far = sorted(off, key=lambda i: -abs(covered[i][0] - found.level) / covered[i][1])[:3]
        worst = ", ".join(f"{table.name(i)} {covered[i][0]:.0%}" for i in far)
        text += f" {_counted(off, 'is', 'are', told)} off by more than three standard errors, the farthest: {worst}."
        low = sum(covered[i][0] < found.level for i in off)
        text += " Below: the intervals are too narrow; above: too wide." if low < len(off) else ""
        text += " Their intervals are too narrow." if low == len(off) else ""
    else:
        text += " No column is off by more than three standard errors."
    entries = []
    for values in (found.truth, found.low, found.middle, found.high, found.covered, found.agreeing):
        by = [values[found.column == i] for i in table.shown]
        entries.append([v if table.columns[i].levelled else v[:CELLS] for i, v in zip(table.shown, by, strict=True)])
    names, bars = [table.name(i) for i in table.shown], [covered[i] for i in table.shown]
    figures = [
        (entry_plots.imputations(*entries, table.some()), "Hidden entries and the intervals imputed for them"),
        (
            entry_plots.coverage_by_column([v for v, _ in bars], [e for _, e in bars], names, found.level),
            "Share of the intervals of each column that hold the hidden entry",
        ),
    ]
    return Section(name, title, text + table.which, figures, stacked=True)


def walks(table: Table, order: Sequence[int]) -> Iterator[Section]:
    """What the entries of a code that carry most change, and what the plane of 2-d codes decodes to."""
    names, at = [f"z{d + 1}" for d in order], table.shown
    lines = evaluation.traverse(table.model, table.x, table.y, dims=[*order])
    if table.x.isnan().any() and not lines.isfinite().all():
        return
    text = (
        "One entry of a test row's code goes from low to high while the others stay: what the model makes of each "
        "column. Shown are the entries that carry most."
    )
    figure = code_plots.effects(lines[:, :, at], names, table.some())
    alt = "Decoded value of each column as an entry of the code goes from low to high"
    yield Section("traversals", "What the code changes", text + table.which, [(figure, alt)])
    if tuple(table.model.code_shape) == (2,):
        grid = evaluation.manifold(table.model, table.x, table.y, n=25)
        text = "The whole latent plane: what each point decodes to in each column, z1 growing to the right, z2 upwards."
        figure = code_plots.plane(grid[:, :, at], table.some())
        yield Section("manifold", "Latent plane", text + table.which, [(figure, "The latent plane, decoded by column")])
