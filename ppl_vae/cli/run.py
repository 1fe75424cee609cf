"""A trained run as every job sees it: its model, and its data resolved, with the labels that the model is given."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from .. import reporting
from ..checks import nearest
from ..data import Data, Split
from ..data.tables import is_number
from ..evaluation import Verdict, verdict
from ..models import Clustering, Codec
from ..networks import Label
from ..trained import Trained, open_run
from ..training import RunFolder
from .arguments import UsageError


class Batch(NamedTuple):
    """Examples x (N, *shape), the labels y that the model is given (None where it needs none), and the data's own."""

    x: Tensor
    y: Tensor | None
    labels: Tensor | None


class Run:
    """A trained run.

    Args:
        run: folder of a run.
        parts: files of your own classes that the model holds; no other code that the run names is executed.
    """

    def __init__(self, run: str, parts: Sequence[str] | None = None) -> None:
        self.name, self.folder, self.own = run, RunFolder(run), parts

    @functools.cached_property
    def trained(self) -> Trained:
        """The model and the coding of its data."""
        return open_run(self.name, parts=None if self.own is None else [*self.own])

    @property
    def model(self) -> Any:
        """The trained model."""
        return self.trained.model

    @property
    def condition(self) -> Any:
        """What the model needs labels for; None where it needs none."""
        return self.model.condition if isinstance(self.model, Codec) else None

    @property
    def kind(self) -> Any:
        """The condition that describes y, whether the model needs y or only accepts it; None where it takes no y."""
        return self.model.drawn_by if isinstance(self.model, Codec) else None

    @property
    def record(self) -> dict[str, Any]:
        """The arguments of ``data.load`` that the run was trained on; none for data of the user's own."""
        found = self.folder.config().get("data") or {}
        return found if found.get("name") else {}

    def data(self, root: str | None = None) -> Data:
        """The data that the run was trained on, resolved by the model's support."""
        if not self.record:
            raise UsageError(
                f"{self.name} was trained on your own data, which config.json cannot describe; name rows with --data"
            )
        return self.trained.data(root)

    def labels(self, words: Sequence[str] | None, n: int, flag: str = "--y", *, drawn: bool = False) -> Tensor | None:
        """The words of a flag, one for all or one each, as labels (n, ...) of the model; None if it takes none.

        Examples that are ``drawn`` may be of a component, too.
        """
        kind = None if isinstance(self.model, Clustering) and not drawn else self.kind
        if kind is None or (words is None and self.condition is None):
            if words is not None:
                raise UsageError(f"{flag} is for conditional models; the model of {self.name} takes no labels")
            return None
        if self.condition is not None and self.condition.observes:
            what = f"{self.name} is a model of x given a part of x, {self.condition!r}, which is taken from examples"
            raise UsageError(
                f"{what}: " + (f"use ppl-vae complete {self.name}" if words is None else f"leave out {flag}")
            )
        if words is None:
            raise UsageError(f"{flag} is needed: {self.name} is a model of x given y, {kind!r}")
        like, said = kind.example(1, torch.zeros(1)), " ".join(words)
        numbers = torch.tensor([self.number(word, flag, kind) for word in words])
        y = numbers.to(like.dtype)
        if not like.is_floating_point() and not torch.equal(y.float(), numbers):
            raise UsageError(f"{flag} {said} is no whole number, which {kind!r} takes")
        if len(y) not in (like.numel(), n * like.numel()):
            one = "one label" if like.numel() == 1 else f"one label of {like.numel()} numbers"
            raise UsageError(f"{flag} takes {one} for all, or one for each of the {n}, not {said}")
        y = y.reshape(-1, *like.shape[1:]).expand(n, *like.shape[1:])
        kind.check(y, n)
        return y

    def number(self, word: str, flag: str = "--y", kind: Any = None) -> float:
        """The number of a label that may be the name of a class; a number is a name where classes have such names.

        Components, which a ``Clustering`` draws from, have no names.
        """
        kind = self.condition if kind is None else kind
        names = () if isinstance(self.model, Clustering) else self.trained.coding.classes or ()
        if word in names:
            return names.index(word)
        if is_number(word) and not any(map(is_number, names)):
            return float(word)
        counted = range(kind.classes) if isinstance(kind, Label) else ()
        raise UsageError(f"{flag} {word} is unknown; {nearest(word, names or tuple(map(str, counted)))}")


class Examples(Run):
    """A trained run and examples: a part of the run's data, or new rows.

    Args:
        split: which part of the run's data.
        data: new rows in place of the run's data: a .csv, .parquet, .npy or .npz file, or a folder of pictures.
        data_root: folder where the run's data lies now, if it is not where the run found it.
        y: labels that a conditional model is given in place of the data's own, one for all examples or one each.
        parts: files of your own classes that the model holds; no other code that the run names is executed.
    """

    def __init__(
        self,
        run: str,
        split: Literal["train", "valid", "test"] = "test",
        data: str | None = None,
        data_root: str | None = None,
        y: Sequence[str] | None = None,
        parts: Sequence[str] | None = None,
    ) -> None:
        super().__init__(run, parts)
        self.split, self.path, self.data_root, self.y = split, data, data_root, y

    @property
    def title(self) -> str:
        """Name of the examples: the part of the run's data, or the file."""
        return self.path or self.split

    @functools.cached_property
    def splits(self) -> Data:
        """The run's data."""
        return self.data(self.data_root)

    @functools.cached_property
    def new(self) -> Split:
        """The new rows."""
        return self.trained.rows(self.path)

    def rows(self, split: str | None = None) -> Split:
        """The examples; the run's own split where one is named."""
        return self.new if self.path is not None and split is None else getattr(self.splits, split or self.split)

    def training_rows(self) -> Split | None:
        """The training split; None where the run's data cannot be had and new rows are given."""
        try:
            return self.rows("train")
        except (ValueError, UsageError):
            if self.path is None:
                raise
            return None

    def named(self, keep: bool) -> dict[str, list[Any]]:
        """A column of the examples' names, and with ``keep`` all of their own columns."""
        title, names = self.rows().named()
        if not keep:
            return {title: names}
        source = self.path or self.splits.config["name"]
        own, index = self.trained.coding.own(source), self.rows().index
        if not own:
            raise UsageError(f"--keep is for tables, whose rows have columns of their own, not for {source}")
        taken = {name: column if index is None else [column[i] for i in index] for name, column in own.items()}
        return {title: names, **{name: column for name, column in taken.items() if name}}

    def given(self) -> Split:
        """The chosen split with the labels that the model is given."""
        found = copy.copy(self.rows())
        needed = self.condition is not None and not self.condition.observes
        if self.y is not None or (needed and found.y is None):
            found.y = self.labels(self.y, len(found))
        return found

    def take(self, which: Any = slice(None), split: str | None = None) -> Batch:
        """Rows of a split, the one chosen if none is named."""
        x, *labels = self.rows(split).take(which)
        own = labels[0] if labels else None
        if self.y is None and self.condition is not None and self.condition.observes:
            return Batch(x, self.condition.of(x), own)
        y = own if self.y is None and self.condition is not None and own is not None else self.labels(self.y, len(x))
        return Batch(x, y, own)

    def first(self, n: int, split: str | None = None) -> Batch:
        """The first n rows of a split, or all where there are fewer."""
        return self.take(slice(0, n), split)


def verdicts(folder: RunFolder, model: Any, results: Mapping[str, Any] | None = None) -> list[Verdict]:
    """What went wrong with a run, by these figures or by those it keeps of its test data, and by its rows."""
    found = folder.evaluations().get("test", {}) if results is None else results
    patience = (folder.config().get("training") or {}).get("patience")
    return verdict(found, folder.metrics(), model=model, patience=patience)


def write_report(folder: RunFolder, model: Any, data: Data | None) -> Path:
    """Write report.html with whatever evaluations there are."""
    return reporting.write(folder.path, model, data, folder.metrics(), folder.config(), folder.evaluations())
