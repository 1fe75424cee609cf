"""The named data sets: scikit-learn's digits, and torchvision's sets in torchvision's file layout."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from torch import Tensor

from .files import Source, from_array
from .labels import to_labels
from .rows import Pictures

# name: torchvision class, arguments of its training part, of its test part
NAMES: dict[str, Any] = {
    "celeba": ("CelebA", {"split": "train"}, {"split": "test"}),
    "cifar10": ("CIFAR10", {"train": True}, {"train": False}),
    "cifar100": ("CIFAR100", {"train": True}, {"train": False}),
    "digits": None,
    "emnist": ("EMNIST", {"split": "balanced", "train": True}, {"split": "balanced", "train": False}),
    "fashion-mnist": ("FashionMNIST", {"train": True}, {"train": False}),
    "kmnist": ("KMNIST", {"train": True}, {"train": False}),
    "mnist": ("MNIST", {"train": True}, {"train": False}),
    "omniglot": ("Omniglot", {"background": True}, {"background": False}),
    "stl10": ("STL10", {"split": "train"}, {"split": "test"}),
    "svhn": ("SVHN", {"split": "train"}, {"split": "test"}),
    "usps": ("USPS", {"train": True}, {"train": False}),
}
SIZES = {"celeba": 64, "omniglot": 28}  # the usual sizes; the files are 218 x 178 and 105 x 105


def open_named(name: str, root: Path, download: bool, size: int | tuple[int, int] | None) -> Source:
    """Source of a named set."""
    if name == "digits":
        from sklearn.datasets import load_digits

        bunch: Any = load_digits()
        source = from_array(bunch.images.astype(np.uint8), bunch.target, name)
        source.divisor, source.top, source.levels = 16.0, 16.0, 17
        return source
    import torchvision.datasets

    kind, *arguments = NAMES[name]
    if name == "celeba":
        arguments.append({"split": "valid"})
    try:
        sets = [getattr(torchvision.datasets, kind)(root, download=download, **given) for given in arguments]
    except Exception as error:  # each set raises other types for missing and damaged files
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        state = "not to be had" if download else "not there, or not whole"
        raise ValueError(
            f"{name} is {state} under {root} ({reason}); fetch it with: "
            f"ppl-vae train --data {name} --data-root {shlex.quote(str(root))} --download"
        ) from None
    if name in SIZES:
        train, test, *valid = [_pictures(name, part, size or SIZES[name]) for part in sets]
        return Source(train, valid[0] if valid else None, test, divisor=255.0, levels=256, top=255.0)
    source, other = (_arrays(name, part) for part in sets)
    source.test, source.held_bytes = other.train, psutil.virtual_memory().available / 4
    source.classes = tuple(getattr(sets[0], "classes", ())) or None
    return source


def _arrays(name: str, part: Any) -> Source:
    x = np.asarray(part.data)
    if name == "emnist":
        x = x.swapaxes(1, 2)  # the letters in the files are transposed
    return from_array(x, np.asarray(part.targets if hasattr(part, "targets") else part.labels), name)


def _pictures(name: str, part: Any, size: int | tuple[int, int]) -> tuple[Pictures, Tensor]:
    y = part.attr if name == "celeba" else [label for _, label in part._flat_character_images]
    mode = "RGB" if name == "celeba" else "L"
    shape = (size, size) if isinstance(size, int) else size
    return Pictures(partial(_item, part), len(part), mode, shape, resize=True), to_labels(y)


def _item(part: Any, row: int) -> Any:
    return part[row][0]
