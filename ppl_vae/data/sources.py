"""``load``: a named data set, a file or a folder as training, validation and test splits fixed by the seed.

An official test part is kept, and 1/12 of the training rows become validation (MNIST: 5,000 of
60,000, the last drawn by the seeded permutation). Otherwise a permutation gives 80 % / 10 % / 10 %.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch.distributions import constraints

from ..checks import check_size, nearest
from ..randomness import unchanged
from .coding import Coding
from .files import RowNames
from .labels import Labels
from .named import NAMES
from .opening import cut, cut_at, leave_out, open_source
from .origin import Origin
from .rows import Array, Rows
from .splits import MODES, Split

SCALES = ("auto", "none")


@dataclass(frozen=True)
class Data:
    """A data set in three splits, ``train``, ``valid`` and ``test``.

    Attributes:
        name: the name given to ``load``.
        levels: number of grey levels of the values (256; 17 for digits), for bits per dimension; None if they have
            none.
        config: JSON-able arguments: ``load(**config)`` loads this data set again.
        columns: names of a table's columns, if the source has them.
        origin: the coding, the row numbers of each part, and the fingerprint of the source.
    """

    name: str
    train: Split
    valid: Split
    test: Split
    levels: int | None
    config: dict[str, Any]
    columns: tuple[str, ...] | None = None
    origin: Origin | None = None

    @property
    def coding(self) -> Coding | None:
        """How rows of the source become x and y, so that new rows are read alike."""
        return None if self.origin is None else self.origin.coding

    @property
    def kinds(self) -> dict[str, Any] | None:
        """Every column's kind by name, with its levels, if ``load`` was given kinds."""
        return self.config.get("kinds")

    @property
    def labels(self) -> Labels | None:
        """Description of y over all splits; None without labels."""
        return self.train.labels

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the labels 0, 1, ..., if the source has them."""
        found = None if self.labels is None else self.labels.classes
        return found if isinstance(found, tuple) else None

    @property
    def shape(self) -> torch.Size:
        """Event shape of a row."""
        return self.train.shape

    def resolve(self, support: constraints.Constraint | None) -> Data:
        """Every split resolved, see ``Split.resolve``."""
        train, valid, test = (split.resolve(support) for split in (self.train, self.valid, self.test))
        return replace(self, train=train, valid=valid, test=test, config=train.config)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{len(split)} {split.part}" for split in (self.train, self.valid, self.test))
        return f"Data({self.name}: {sizes}, shape {tuple(self.shape)})"


def load(
    name: Any,
    root: str | os.PathLike[str] = "data",
    seed: int = 0,
    binarize: str = "auto",
    dequantize: bool = False,
    scale: str = "auto",
    download: bool = False,
    valid: int | None = None,
    labels: str | Sequence[str] | None = None,
    size: int | tuple[int, int] | None = None,
    in_memory: bool | None = None,
    kinds: str | Mapping[Any, Any] | None = None,
    without: int | Sequence[int] | None = None,
    index: str | None = None,
    drop: str | Sequence[str] | None = None,
) -> Data:
    """A data set by name or path, or rows that you hold.

    Args:
        name: a name of ``data.NAMES``, a .npy, .npz (arrays ``x``, ``y``) or .csv file, or a folder of images; a data
            frame of pandas or polars, an array or tensor x, or a pair (x, y).
        root: folder of the named sets, in torchvision's layout.
        seed: seed of the splits and of fixed noise.
        binarize: "dynamic" draws training rows again in each batch and the others once, "static" draws all once,
            "none" keeps them grey, "auto" is dynamic for likelihoods on {0, 1} and none otherwise.
        dequantize: add uniform noise below the grey levels, x' = ((L - 1) x + u) / L: fresh for training batches,
            fixed for the others.
        scale: "auto" scales images and uint8 to [0, 1] by their grey levels and keeps other numbers; "none" keeps all.
            Other scaling belongs to the model: ``networks.Scaled`` and ``likelihoods.Scaled``.
        download: whether torchvision may download the set.
        valid: number of validation rows instead of the usual.
        labels: column of a .csv (else ``label`` or ``y``), array of a .npz (else ``y``), or path of a .npy of labels.
            Integers become int64, floats float32; a column of a .csv holds integers if none of its cells has a point
            or an exponent (1.0, 1e3) or is empty. Several columns of numbers of a table make y (N, k), float32.
        size: side, or (height, width), to resize pictures to: folders, celeba (64), omniglot (28).
        in_memory: whether rows are held as float32; None holds named arrays up to a quarter of the free memory, and
            files and pictures up to 512 MiB. Otherwise they are read batch by batch.
        kinds: kinds of the columns of a table: a mapping from column name or number to real, positive, count, binary,
            categorical or ordinal (those not named are real), text "age=positive,sex=binary", a .yaml or .json file;
            "auto" makes columns of words categorical, of dates real (days), of 0 and 1 binary, of whole numbers from 0
            on counts, others real; None: all columns are numbers.
        without: a label, or several, whose examples are removed from the training and validation splits but not from
            the test split: anomalies to detect there.
        index: column of a table that names its rows; not part of x. A first column without a name is one.
        drop: column of a table, or several, to leave out.

    Raises:
        ValueError: an unknown name, data that are missing or not readable, arguments that do not fit together.

    Example:
        >>> digits = load("digits")
        >>> digits, digits.train.x.dtype, digits.test.y.dtype
        (Data(digits: 1439 train, 179 valid, 179 test, shape (1, 8, 8)), torch.float32, torch.int64)
    """
    arguments = {name: value for name, value in locals().items() if name != "name"}
    return _load(name, arguments)


def reload(record: Mapping[str, Any], index: Mapping[str, np.ndarray] | None, root: str | None = None) -> Data:
    """The data set of a run again, cut where the run cut it.

    Args:
        record: ``Data.config``, the run's arguments of ``load``.
        index: the row numbers of each part, ``Data.origin.index``; None cuts by the seed.
        root: another root of the named sets, or the folder where the file or folder now lies.

    Raises:
        ValueError: as of ``load``.
    """
    arguments = {key: value for key, value in record.items() if key != "name"}
    name = record["name"]
    if root is not None:
        arguments["root"], moved = root, Path(root).expanduser() / Path(name).name
        name = str(moved) if name not in NAMES and moved.exists() else name
    return _load(name, arguments, index)


def _load(name: Any, given: Mapping[str, Any], cuts: Mapping[str, np.ndarray] | None = None) -> Data:
    options = {key: p.default for key, p in inspect.signature(load).parameters.items() if key != "name"} | {**given}
    seed, binarize, scale, size, labels = (options[key] for key in ("seed", "binarize", "scale", "size", "labels"))
    if scale in ("unit", "standard"):
        raise ValueError(
            f"scale={scale!r} belongs to the model, so that a run carries it: use networks.Scaled and "
            f"likelihoods.Scaled with by={scale!r}, in the shell --scale {scale}"
        )
    for argument, value, allowed in (("binarize", binarize, MODES), ("scale", scale, SCALES)):
        if value not in allowed:
            raise ValueError(f"unknown {argument}={value!r}: {nearest(str(value), allowed)}")
    check_size("seed", seed, 0)
    for side in (size,) if isinstance(size, int) else size or ():
        check_size("size", side)
    if options["kinds"] is not None and binarize not in ("auto", "none"):
        raise ValueError(f"kinds say what the values mean, so binarize={binarize!r} must not change them: use none")
    size = cast(tuple[int, int], tuple(size)) if isinstance(size, list | tuple) else size  # JSON gives a list
    name = os.fspath(name) if isinstance(name, os.PathLike) else name
    said, named = (name, name in NAMES) if isinstance(name, str) else ("your data", False)
    place, drop = Path(options["root"]).expanduser(), options["drop"]
    drop = [drop] if isinstance(drop, str) else [*(drop or ())]
    with unchanged():  # importing scikit-learn changes Python's random state
        source, coding, fingerprint = open_source(
            name, place, options["download"], labels, size, options["kinds"], options["index"], drop
        )
    levels = source.levels if scale == "auto" else None
    if options["dequantize"] and levels is None:
        raise ValueError(f"dequantize=True needs grey levels and scale='auto': {said} has none with scale={scale!r}")
    without = options["without"]
    without = [without] if isinstance(without, int) else None if without is None else [*without]
    parts = (
        leave_out(cut(source, seed, options["valid"], said), without, said)
        if cuts is None
        else cut_at(source, {**cuts})
    )
    rows = {part: Rows(reader, index) for part, (reader, _, index) in parts.items()}
    size_held = 4 * sum(one.shape.numel() for one in rows.values())
    held = size_held <= source.held_bytes if options["in_memory"] is None else options["in_memory"]
    config: dict[str, Any] = {
        "name": name if named else os.path.abspath(name) if isinstance(name, str) else None,
        "root": os.path.abspath(place) if named and name != "digits" else str(options["root"]),
        "seed": seed, "binarize": binarize, "dequantize": options["dequantize"], "scale": scale,
        "valid": options["valid"], "labels": labels if isinstance(labels, str | None) else [*labels],
        "size": list(size) if isinstance(size, tuple) else size, "in_memory": options["in_memory"],
        "kinds": source.kinds, "without": without, "index": options["index"], "drop": drop or None,
    }  # fmt: skip
    if not held and isinstance(source.train[0], Array):
        source.train[0].stream()
    ys = [y for _, y, _ in parts.values() if y is not None]
    what = Labels.of(torch.cat(ys), source.classes) if ys else None
    indices = {part: index for part, (_, _, index) in parts.items()}
    origin = Origin(coding, fingerprint, indices, source.names or RowNames())
    splits = {}
    for part, (_, y, index) in parts.items():
        x = rows[part]
        x.scale = (None, source.divisor if scale == "auto" and source.divisor != 1 else None, False)
        x.where = f"x of the {part} split of {said}"
        splits[part] = Split(
            x.load() if held else x, None if y is None else y[torch.from_numpy(index)],
            part=part, binarize=binarize, levels=levels if options["dequantize"] else None, seed=seed, config=config,
            name=said, index=index, labels=what, origin=origin,
        )  # fmt: skip
    return Data(name=said, levels=levels, config=config, columns=source.columns, origin=origin, **splits)
