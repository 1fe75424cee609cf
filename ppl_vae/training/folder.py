"""The run folder: config.json, weights, split indices, checkpoint, metrics.jsonl, and what is made of them.

``split.safetensors`` holds the row numbers of the training, validation and test parts in the source. In ``parts`` are
copies of the user's own files that ``ppl-vae train`` was given; nothing executes them unasked.
"""

from __future__ import annotations

import contextlib
import json
import math
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from torch import nn

from ..data import Coding, Data, coding_of
from ..data.coding import difference_of_codings
from ..data.origin import difference
from ..files import flat, plain, write_atomically
from ..models import Pair
from ..own import classes
from ..parts import build
from .checkpoint import load_checkpoint, load_weights, save_checkpoint, save_weights

# What may differ between the run that was stopped and the one that carries it on.
FREE_TO_CHANGE = ("epochs", "device", "workers", "tensorboard", "checkpoint_every", "capture")


class RunFolder:
    """One run's files.

    Args:
        path: the folder; made if absent.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config_file = self.path / "config.json"
        self.weights_file = self.path / "weights.safetensors"
        self.checkpoint_file = self.path / "checkpoint.pt"
        self.metrics_file = self.path / "metrics.jsonl"
        self.evaluation_file = self.path / "evaluation.json"
        self.split_file = self.path / "split.safetensors"
        self.parts = self.path / "parts"

    def open(self, config: dict[str, Any], resume: bool) -> dict[str, Any] | None:
        """Claim the folder for a run with this configuration; gives the checkpoint to go on from, if there is one.

        An entry "parts" of the configuration maps names of the user's own files to their text; the folder keeps copies.

        Raises:
            ValueError: the folder holds another run or other files.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"out is {self.path}, which is a file; name a folder")
        holds = sorted(p.name for p in self.path.iterdir() if not p.name.startswith(".")) if self.path.exists() else []
        if holds and not self.config_file.exists():
            raise ValueError(f"out folder {self.path} holds other files ({holds[0]}); name a new or empty folder")
        files, config = config.get("parts", {}), {name: value for name, value in config.items() if name != "parts"}
        if self.config_file.exists():
            if not resume:
                raise ValueError(
                    f"out folder {self.path} holds another run; resume it (--resume, resume=True) or name a new folder"
                )
            self._check_same(self.config(), config)
            self._keep(files)
            if self.checkpoint_file.exists():
                return load_checkpoint(self.checkpoint_file)
            return None
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.config_file, (json.dumps(config, indent=2) + "\n").encode())
        self._keep(files)
        return None

    @contextlib.contextmanager
    def claimed(self, first: bool) -> Iterator[None]:
        """Inside, an error that refuses the run gives the folder up, if this is ``first`` and nothing was trained."""
        try:
            yield
        except (TypeError, ValueError):
            if first and not self.checkpoint_file.exists():
                for file in (self.config_file, self.split_file, *self.parts.glob("*")):
                    file.unlink(missing_ok=True)
                for folder in (self.parts, self.path):
                    with contextlib.suppress(OSError):  # what else it holds stays
                        folder.rmdir()
            raise

    def _keep(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            self.parts.mkdir(exist_ok=True)
            kept = self.parts / name
            if kept.exists() and kept.read_text(encoding="utf-8") != text:
                warnings.warn(
                    f"{name} has changed since the run in {self.path} was started; it goes on with the file as "
                    "it is now, so its epochs are not all of one program",
                    stacklevel=2,
                )
            write_atomically(self.parts / name, text.encode())

    def config(self) -> dict[str, Any]:
        """The run's configuration.

        Raises:
            ValueError: the folder is not a run's, its configuration does not read, or the run is too old.
        """
        if not self.config_file.exists():
            raise ValueError(f"{self.path} is not a run folder: it has no config.json")
        try:
            config = json.loads(self.config_file.read_text())
        except ValueError as error:
            raise ValueError(f"{self.config_file} is not valid JSON ({error})") from None
        if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
            raise ValueError(f"{self.config_file} is not the configuration of a run: it records no model")
        if (config.get("data") or {}).get("scale") in ("standard", "unit"):
            raise ValueError(
                f"the run in {self.path} was made by an earlier ppl_vae, which scaled the data outside of the model, "
                "so that the model takes no raw rows; train it anew in a new folder"
            )
        return config

    def _check_same(self, old: dict[str, Any], new: dict[str, Any]) -> None:
        new = json.loads(json.dumps(new))
        other = difference_of_codings(old.get("coding"), new.get("coding"))
        if other is not None:
            raise ValueError(
                f"rows are not coded as in the run in {self.path}: {other}; give the same to resume it, or name a new "
                "folder"
            )
        changed = difference(old.get("fingerprint"), new.get("fingerprint"))
        if changed is not None:
            raise ValueError(
                f"the data are not those of the run in {self.path}: {changed}; give the same data to resume it, or "
                "name a new folder"
            )
        for section in ("model", "objective", "data", "training"):
            before, after = (flat(config.get(section) or {}, ".") for config in (old, new))
            for key in sorted(before.keys() | after.keys()):
                if key in FREE_TO_CHANGE and section == "training":
                    if key != "epochs" or after.get("schedule") == "constant":
                        continue
                if section == "training" and key in ("compile", "keep") and key not in before:
                    continue  # a run of before there was a choice
                if section == "data" and (key in ("root", "download") or before.get(key) is after.get(key) is None):
                    continue
                if before.get(key) != after.get(key):
                    raise ValueError(
                        f"{section} {key} was {before.get(key)!r} in the run in {self.path} and is now "
                        f"{after.get(key)!r}; give the same to resume it, or name a new folder"
                    )

    def keep_split(self, index: Mapping[str, np.ndarray]) -> None:
        """Write the row numbers of each part, unless they are there and can be read."""
        try:
            there = self.split() is not None
        except ValueError:
            there = False
        if index and not there:
            parts = {part: np.ascontiguousarray(rows, dtype=np.int64) for part, rows in index.items()}
            write_atomically(self.split_file, safetensors.numpy.save(parts))

    def split(self) -> dict[str, np.ndarray] | None:
        """The row numbers of each part; None for a run that kept none."""
        if not self.split_file.exists():
            return None
        try:
            return safetensors.numpy.load(self.split_file.read_bytes())
        except safetensors.SafetensorError as error:
            raise ValueError(f"{self.split_file} is damaged ({error}); resume the run to write it anew") from None

    def coding(self) -> Coding | None:
        """How rows of the run's source become x; None where it is not known."""
        record = self.config().get("coding")
        return None if record is None else coding_of(record)

    def changed(self, data: Data) -> str | None:
        """How data differ from those of the run, in words; None if they do not, or if the run did not keep it."""
        return difference(self.config().get("fingerprint"), None if data.origin is None else data.origin.fingerprint)

    def save(self, state: dict[str, Any], model: nn.Module) -> None:
        """Write checkpoint, weights and metrics, each atomically, the checkpoint first."""
        save_checkpoint(self.checkpoint_file, state)
        self.save_weights(model)
        self.write_metrics(state["rows"])

    def save_weights(self, model: nn.Module) -> None:
        """Write the weights alone, atomically."""
        save_weights(self.weights_file, model)

    def write_metrics(self, rows: list[dict[str, Any]]) -> None:
        """One JSON line for every epoch of every stage, with null for a mean that is NaN or infinite."""
        lines = (json.dumps(plain(row), allow_nan=False) + "\n" for row in rows)
        write_atomically(self.metrics_file, "".join(lines).encode())

    def metrics(self) -> list[dict[str, Any]]:
        """The rows written so far, as in ``History.rows``, with NaN for null; old rows are of the main stage.

        Raises:
            ValueError: the file is cut short or has been changed.
        """
        if not self.metrics_file.exists():
            return []
        try:
            rows = [json.loads(line) for line in self.metrics_file.read_text().splitlines()]
            if all("train" in row and "epoch" in row for row in rows):
                return [_row(row) for row in rows]
        except (ValueError, TypeError, AttributeError):
            pass
        raise ValueError(f"{self.metrics_file} is damaged; resuming the run, finished or not, writes it anew")

    def evaluations(self) -> dict[str, dict[str, Any]]:
        """The figures by split, of all evaluations so far; none where the file does not read."""
        try:
            found = json.loads(self.evaluation_file.read_text())
            infinite = {"inf": math.inf, "-inf": -math.inf}
            return {
                split: {name: infinite.get(v, v) if isinstance(v, str) else v for name, v in figures.items()}
                for split, figures in found.items()
            }
        except (FileNotFoundError, ValueError, AttributeError):
            return {}

    def keep_evaluation(self, split: str, figures: dict[str, Any]) -> None:
        """Add the figures of a split to evaluation.json, with null for NaN and a word for an infinite number."""
        content = plain(self.evaluations() | {split: figures}, words=True)
        write_atomically(self.evaluation_file, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def _row(row: dict[str, Any]) -> dict[str, Any]:
    """A row as it was in ``History.rows``."""
    means = {part: row[part] for part in ("train", "valid") if part in row}
    read = {part: {k: math.nan if v is None else v for k, v in terms.items()} for part, terms in means.items()}
    return {"stage": "", **row, **read}


def load(run: str | Path, model: nn.Module | None = None, parts: Any = None) -> nn.Module:
    """The trained model of a run folder, in evaluation mode, on the CPU.

    Args:
        run: folder that ``fit(..., out=...)`` or ``ppl-vae train`` made.
        model: a model built as the run's was; needed only when it holds objects that are no parts, such as a network of
            torch's. A ``Program`` must have seen a batch: call ``program.prepare(x)`` first.
        parts: your own classes that the model holds: the file they are in, a module, a class, or a list of these. A
            file is executed only if it is named here.

    Returns:
        the model, with the run's weights.

    Raises:
        ValueError: not a run folder, no weights yet, damaged files, a model of another make, or a class of your own
            that is not given or no longer takes the arguments it was built with.
        TypeError: a model that is no module, or parts that are no classes.

    Example:
        >>> load("no-such-run")
        Traceback (most recent call last):
        ...
        ValueError: no-such-run is not a run folder: it has no config.json
    """
    if not (model is None or isinstance(model, nn.Module)):
        raise TypeError(f"model must be a torch.nn.Module built as the run's was, not {model!r}")
    folder = RunFolder(run)
    config = folder.config()
    if not folder.weights_file.exists():
        raise ValueError(f"run {folder.path} has no weights yet; train it further with --resume")
    with torch.random.fork_rng(devices=[]):
        trained: nn.Module = build(config["model"], classes(parts), folder.parts) if model is None else model
    if isinstance(trained, Pair) and not trained.prepared:
        raise ValueError("model is a Program that has seen no batch yet; call program.prepare(x) before loading it")
    load_weights(folder.weights_file, trained)
    return trained.eval()
