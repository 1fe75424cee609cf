"""``load``: a named data set, a file or a folder as training, validation and test splits fixed by the seed.

An official test part is kept, and 1/12 of the training rows become validation (MNIST: 5,000 of
60,000, the last drawn by the seeded permutation). Otherwise a permutation gives 80 % / 10 % / 10 %.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.distributions import constraints

from ..checks import check_size, nearest
from ..randomness import seed_of, unchanged
from .files import Source, open_file, open_folder
from .labels import Labels
from .named import NAMES, SIZES, open_named
from .noise import PARTS
from .rows import Array, Rows, blocks, moments
from .splits import MODES, Split

SCALES = ("auto", "none", "unit", "standard")


@dataclass(frozen=True)
class Data:
    """A data set in three splits.

    Attributes:
        name: the name given to ``load``.
        train: training split.
        valid: validation split.
        test: test split.
        levels: number of grey levels of the values (256; 17 for digits), for bits per dimension; None if they have
            none.
        config: JSON-able arguments: ``load(**config)`` loads this data set again.
        columns: names of a table's columns, if the source has them.
    """

    name: str
    train: Split
    valid: Split
    test: Split
    levels: int | None
    config: dict[str, Any]
    columns: tuple[str, ...] | None = None

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
    name: str,
    root: str | os.PathLike[str] = "data",
    seed: int = 0,
    binarize: str = "auto",
    dequantize: bool = False,
    scale: str = "auto",
    download: bool = False,
    valid: int | None = None,
    labels: str | None = None,
    size: int | tuple[int, int] | None = None,
    in_memory: bool | None = None,
    kinds: str | Mapping[Any, Any] | None = None,
    without: int | Sequence[int] | None = None,
) -> Data:
    """A data set by name or path.

    Args:
        name: a name of ``data.NAMES``, a .npy, .npz (arrays ``x``, ``y``) or .csv file, or a folder of images.
        root: folder of the named sets, in torchvision's layout.
        seed: seed of the splits and of fixed noise.
        binarize: "dynamic" draws training rows again in each batch and the others once, "static" draws all once,
            "none" keeps them grey, "auto" is dynamic for likelihoods on {0, 1} and none otherwise.
        dequantize: add uniform noise below the grey levels, x' = ((L - 1) x + u) / L: fresh for training batches,
            fixed for the others.
        scale: "auto" scales images and uint8 to [0, 1] by their grey levels and keeps other numbers; "none" keeps all;
            "unit" and "standard" use the training split's range, or mean and standard deviation, of each column of a
            table or channel of images ("unit" clips the other splits to [0, 1]).
        download: whether torchvision may download the set.
        valid: number of validation rows instead of the usual.
        labels: column of a .csv (else ``label`` or ``y``), array of a .npz (else ``y``), or path of a .npy of labels.
            Integers become int64, floats float32; a column of a .csv holds integers if none of its cells has a point
            or an exponent (1.0, 1e3) or is empty.
        size: side, or (height, width), to resize pictures to: folders, celeba (64), omniglot (28).
        in_memory: whether rows are held as float32; None holds named arrays up to a quarter of the free memory, and
            files and pictures up to 512 MiB. Otherwise they are read batch by batch.
        kinds: kinds of the columns of a table: a mapping from column name or number to real, positive, count, binary,
            categorical or ordinal (those not named are real), text "age=positive,sex=binary", a .yaml or .json file;
            "auto" makes columns of words categorical, of 0 and 1 binary, others real; None: all columns are numbers.
        without: a label, or several, whose examples are removed from the training and validation splits but not from
            the test split: anomalies to detect there.

    Raises:
        ValueError: an unknown name, data that are missing or not readable, arguments that do not fit together.

    Example:
        >>> digits = load("digits")
        >>> digits, digits.train.x.dtype, digits.test.y.dtype
        (Data(digits: 1439 train, 179 valid, 179 test, shape (1, 8, 8)), torch.float32, torch.int64)
    """
    for argument, value, allowed in (("binarize", binarize, MODES), ("scale", scale, SCALES)):
        if value not in allowed:
            raise ValueError(f"unknown {argument}={value!r}: {nearest(str(value), allowed)}")
    check_size("seed", seed, 0)
    for side in (size,) if isinstance(size, int) else size or ():
        check_size("size", side)
    if kinds is not None and (scale not in ("auto", "none") or binarize not in ("auto", "none")):
        raise ValueError(
            f"kinds say what the values mean, so scale={scale!r} and binarize={binarize!r} must not change them: "
            "use auto or none for both; networks.TableEncoder scales the columns"
        )
    size = cast(tuple[int, int], tuple(size)) if isinstance(size, list | tuple) else size  # JSON gives a list
    name, where = os.fspath(name), os.fspath(name)
    with unchanged():  # importing scikit-learn changes Python's random state
        source = _open(name, Path(root).expanduser(), download, labels, size, kinds)
    levels = source.levels if scale == "auto" else None
    if dequantize and levels is None:
        raise ValueError(f"dequantize=True needs grey levels and scale='auto': {name} has none with scale={scale!r}")
    left_out = [without] if isinstance(without, int) else None if without is None else [*without]
    parts = _leave_out(_cut(source, seed, valid, name), left_out, name)
    total = sum(Rows(reader, index).shape.numel() for reader, _, index in parts.values())
    limit = source.held_bytes if in_memory is None else float("inf") if in_memory else 0.0
    by = _scale(Rows(parts["train"][0], parts["train"][2]), scale, source.divisor, where)
    config: dict[str, Any] = {
        "name": name if name in NAMES else os.path.abspath(name),
        "root": os.path.abspath(Path(root).expanduser()) if name in NAMES and name != "digits" else str(root),
        "seed": seed, "binarize": binarize, "dequantize": dequantize, "scale": scale, "valid": valid,
        "labels": labels, "size": list(size) if isinstance(size, tuple) else size, "in_memory": in_memory,
        "kinds": source.kinds, "without": left_out,
    }  # fmt: skip
    held = 4 * total <= limit
    if not held and isinstance(source.train[0], Array):
        source.train[0].stream()
    ys = [y for _, y, _ in parts.values() if y is not None]
    what = Labels.of(torch.cat(ys), source.classes) if ys else None
    splits = {}
    for part, (reader, y, index) in parts.items():
        rows = Rows(reader, index, by, where=f"x of the {part} split of {where}")
        splits[part] = Split(
            rows.load() if held else rows,
            None if y is None else y[torch.from_numpy(index)],
            part=part, binarize=binarize, levels=levels if dequantize else None, seed=seed, config=config, name=where,
            index=index, labels=what,
        )  # fmt: skip
    return Data(name=name, levels=levels, config=config, columns=source.columns, **splits)


def _open(name: str, root: Path, download: bool, labels: str | None, size: Any, kinds: Any) -> Source:
    path, takes = Path(name).expanduser(), {"labels", "kinds"}
    if name in NAMES:
        takes = {"size"} if name in SIZES else set()
    elif path.is_dir():
        takes = {"size"}
    elif not path.exists() and path.name == name and not path.suffix:
        raise ValueError(f"unknown data {name!r}: {nearest(name, NAMES)}, or give the path of a file or folder")
    elif not path.exists():
        raise ValueError(f"no such file or folder: {path}")
    owners = {"labels": "files", "size": f"folders of images, {' and '.join(SIZES)}", "kinds": "tables in files"}
    for argument, value in (("labels", labels), ("size", size), ("kinds", kinds)):
        if value is not None and argument not in takes:
            raise ValueError(f"{argument}={value!r} is for {owners[argument]}, not for {name}")
    if name in NAMES:
        return open_named(name, root, download, size)
    return open_folder(path, size) if path.is_dir() else open_file(path, labels, kinds)


def _cut(source: Source, seed: int, valid: int | None, name: str) -> dict[str, tuple[Any, Tensor | None, np.ndarray]]:
    """Reader, labels and row numbers of each part; the rows are in the drawn order."""
    given = dict(zip(PARTS, (source.train, source.valid, source.test), strict=True))
    own = {part: (*found, np.arange(len(found[0]), dtype=np.int64)) for part, found in given.items() if found}
    if valid is not None:
        check_size("valid", valid)
    if "valid" in own:
        if valid is not None:
            raise ValueError(f"valid={valid} is not possible: {name} has its own validation split")
        return own
    reader, y, rows = own["train"]
    tests = 0 if "test" in own else max(1, len(rows) // 10)
    valids = valid or max(1, len(rows) // (12 if "test" in own else 10))
    if len(rows) - tests - valids < 1:
        raise ValueError(
            f"{name} has {len(rows)} rows, too few for {valids} of validation, {tests} of test and at least 1 of "
            "training"
        )
    order = np.random.default_rng(seed_of(seed)).permutation(len(rows))
    cuts = np.split(order, [len(rows) - valids - tests, len(rows) - tests])
    drawn = {part: (reader, y, index) for part, index in zip(PARTS, cuts, strict=True)}
    return drawn | {part: found for part, found in own.items() if part != "train"}


def _leave_out(parts: dict[str, Any], without: list[int] | None, name: str) -> dict[str, Any]:
    """The parts, with all examples with a label in ``without`` removed from training and validation."""
    if not without:
        return parts
    y, found = parts["train"][1], {}
    if y is None or y.dim() != 1:
        what = "has none" if y is None else f"has {y.shape[1]} for each"
        raise ValueError(f"without={without} needs a label for each example, and {name} {what}")
    absent = [label for label in without if not (y == label).any()]
    if absent:
        known = y.unique().tolist()
        some = ", ".join(f"{label:g}" for label in known[:10]) + (", ..." if len(known) > 10 else "")
        raise ValueError(f"without={absent[0]!r} is no label of {name}, which has {some}")
    for part in ("train", "valid"):
        reader, y, index = parts[part]
        kept = index[~torch.isin(y[torch.from_numpy(index)], torch.tensor(without)).numpy()]
        if not len(kept):
            raise ValueError(f"without={without} leaves no example in the {part} split of {name}")
        found[part] = reader, y, kept
    return {**parts, **found}


def _scale(train: Rows, scale: str, divisor: float, where: str) -> tuple[Any, Any, bool]:
    """(shift, divisor, clip) for ``Rows``: statistics of the training split, per column or per channel."""
    if scale in ("auto", "none"):
        return 0.0, divisor if scale == "auto" else 1.0, False
    event = train.shape[1:]
    keep = event[0] if len(event) in (1, 3) else 1
    found = (x.double().reshape(len(x), keep, -1).movedim(1, -1).flatten(0, 1) for _, x in blocks(train))
    if scale == "standard":
        shift, spread, count = moments(found)
        known = count > 0
    else:
        ends = [(x.where(~x.isnan(), np.inf).amin(0), x.where(~x.isnan(), -np.inf).amax(0)) for x in found]
        shift = torch.stack([low for low, _ in ends]).amin(0)
        spread = torch.stack([high for _, high in ends]).amax(0) - shift
        known = shift.isfinite()
    if not (known & shift.isfinite() & spread.isfinite()).all():
        raise ValueError(f"scale={scale!r} cannot be computed: x of {where} holds infinite values or an empty column")
    spread[spread <= 1e-12 * shift.abs()] = 1.0  # a constant column becomes 0
    view = (-1, *[1] * (len(event) - 1))
    return shift.float().view(view), spread.float().view(view), scale == "unit"
