"""Data sets: named ones, arrays and files, as splits whose batches are (x,) or (x, y).

``load(name)`` gives ``Data`` with ``.train``, ``.valid``, ``.test``; ``NAMES`` lists the named data sets; any
other name is the path of a .npy, .npz or .csv file or of a folder of images.
"""

from .batches import Batches
from .given import as_split
from .kinds import find_kinds
from .labels import Labels
from .named import NAMES
from .sources import Data, load
from .splits import Split

__all__ = ["Batches", "Data", "Labels", "NAMES", "Split", "as_split", "find_kinds", "load"]
