"""Data sets: named ones, arrays and files, as splits whose batches are (x,) or (x, y).

``load(name)`` gives ``Data`` with ``.train``, ``.valid``, ``.test``; ``NAMES`` are the named data sets, and anything
else is the path of a .npy, .npz or .csv file or of a folder of images.
"""

from .batches import Batches
from .kinds import find_kinds
from .sources import Data, load
from .splits import Split, as_split

__all__ = ["Batches", "Data", "NAMES", "Split", "as_split", "find_kinds", "load"]

NAMES = (
    "celeba",
    "cifar10",
    "cifar100",
    "digits",
    "emnist",
    "fashion-mnist",
    "kmnist",
    "mnist",
    "omniglot",
    "stl10",
    "svhn",
    "usps",
)
