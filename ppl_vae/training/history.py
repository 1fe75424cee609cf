"""What a training leaves behind: its rows, epoch by epoch, or the error that ended it."""

from __future__ import annotations

import html
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..files import flat

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

SHOWN = 5  # of the last rows, in a notebook
COLOURS = {"train": "#3f90da", "valid": "#e76300"}


class Diverged(ValueError):
    """The loss stopped being a finite number."""


@dataclass
class History:
    """What ``fit`` returns.

    Attributes:
        rows: one dict for each epoch of each stage, in order: stage ("" for the main one), epoch and step (counted
            within the stage), seconds (since training began), examples_per_second (of the stage), lr, what is scheduled
            (such as beta), and the means of the loss and its terms (nats per example) under train and valid; and what
            callbacks added.
        stopped_early: whether the main stage ended before its epochs.
        steps: how the main stage's steps were made: "captured", "eager", or "eager, since ..." where capturing failed.
        stopped: why the main stage ended before its epochs: its patience, or a callback's name and words; "" if it did
            not.
        watch: the term that the objective watches and which way is better, as ``Objective.watch``.

    Example:
        >>> rows = [{"stage": "", "epoch": i, "seconds": 0.1 * i, "train": {"loss": 9 / i}} for i in (1, 2, 3)]
        >>> History(rows, watch=("loss", "min"))
        History(3 epochs in 0.3 s; train loss 3.00 at the end; eager steps)
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    stopped_early: bool = False
    steps: str = "eager"
    stopped: str = ""
    watch: tuple[str, str] | None = None

    def __repr__(self) -> str:
        main = [row for row in self.rows if not row["stage"]]
        stages = len({row["stage"] for row in self.rows} - {""})
        counts = f"{len(main)} epochs" + f" and {len(self.rows) - len(main)} of {stages} other stages" * bool(stages)
        said = [counts + (f" in {self.rows[-1]['seconds']:.1f} s" if self.rows else "")]
        term, better = self.watch or ("loss", "")
        part = "valid" if any("valid" in row for row in main) else "train"
        known = {row["epoch"]: row[part][term] for row in main if term in row.get(part, {})}
        if known:
            said.append(f"{part} {term} {[*known.values()][-1]:.2f} at the end")
            if part == "valid" and better:
                best = (min if better == "min" else max)(known, key=lambda epoch: known[epoch])
                said[-1] += f", best {known[best]:.2f} after epoch {best}"
        said.append(f"{self.steps} steps" if "," not in self.steps else f"steps {self.steps}")
        return f"History({'; '.join([*said, *([f'stopped: {self.stopped}'] if self.stopped else [])])})"

    def _repr_html_(self) -> str:
        """The last rows as a table, for notebooks."""
        rows = [flat(row) for row in self.rows[-SHOWN:]]
        names = [*dict.fromkeys(name for row in rows for name, value in row.items() if value not in ("", None))]
        head = "".join(f"<th>{html.escape(name.replace('_', ' '))}</th>" for name in names)
        lines = ("".join(f"<td>{html.escape(_short(row.get(name, '')))}</td>" for name in names) for row in rows)
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        more = f"<p>The last {SHOWN} of {len(self.rows)} rows.</p>" if len(self.rows) > SHOWN else ""
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if rows else ""
        return f"<p>{html.escape(repr(self))}</p>{table}{more}"

    def _terms(self, stage: str) -> list[str]:
        rows = [row for row in self.rows if row["stage"] == stage]
        return [*dict.fromkeys(term for row in rows for part in COLOURS for term in row.get(part, {}))]

    def to_frame(self) -> DataFrame:
        """One line for each epoch of each stage, with columns such as ``valid_elbo``; needs pandas.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            from pandas import DataFrame
        except ImportError:
            raise ImportError("to_frame needs pandas; pip install pandas, or read History.rows") from None
        return DataFrame([flat(row) for row in self.rows])

    def plot(self, *terms: str) -> Figure:
        """Training and validation values over the epochs, a panel for each term of each stage.

        Args:
            terms: which of them, such as "elbo" and "kl"; by default the one that the objective watches, else the loss.

        Raises:
            ValueError: a term that no row holds, or no rows.

        Example:
            >>> rows = [{"stage": "", "epoch": i, "train": {"loss": 9 / i}} for i in (1, 2, 3)]
            >>> [line.get_label() for line in History(rows).plot().axes[0].lines]
            ['training']
        """
        from matplotlib.ticker import MaxNLocator

        held = {stage: self._terms(stage) for stage in dict.fromkeys(row["stage"] for row in self.rows)}
        known = [*dict.fromkeys(term for names in held.values() for term in names)]
        for term in terms or ["loss"]:
            if term not in known:
                raise ValueError(f"no row holds the term {term!r}; they hold {', '.join(known) or 'none'}")
        first = (self.watch or ("loss",))[0]
        # A stage with terms of its own, such as the pretraining of a layer, shows its loss.
        chosen = {stage: terms or [first if first in names else "loss"] for stage, names in held.items()}
        shown = [(stage, term) for stage, names in chosen.items() for term in names if term in held[stage]]
        figure = _figure((4.8, 2.6 * len(shown)))
        for axes, (stage, term) in zip(figure.subplots(len(shown), 1, squeeze=False)[:, 0], shown, strict=True):
            for part, label in (("train", "training"), ("valid", "validation")):
                rows = [row for row in self.rows if row["stage"] == stage and term in row.get(part, {})]
                if rows:
                    mark = "o" if len(rows) < 12 else ""
                    y = [row[part][term] for row in rows]
                    axes.plot([row["epoch"] for row in rows], y, COLOURS[part], label=label, marker=mark, ms=4)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set(xlabel="epoch", ylabel=term.replace("_", " "), title=stage)
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(frameon=False)
        return figure


def _figure(size: tuple[float, float]) -> Figure:
    """An empty figure that a notebook draws, whether or not pyplot was imported."""
    from matplotlib.figure import Figure

    class Shown(Figure):
        def _repr_png_(self) -> bytes:
            buffer = io.BytesIO()
            self.savefig(buffer, format="png")
            return buffer.getvalue()

    return Shown(size, layout="constrained")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
