"""Data sets: named ones, arrays and files, as splits whose batches are (x,) or (x, y).

``load(name)`` gives ``Data`` with ``.train``, ``.valid``, ``.test``; ``NAMES`` lists the named data sets; any
other name is the path of a .npy, .npz or .csv file or of a folder of images. ``Coding`` says how rows
of a source become x, so that new rows can be read as the training rows were.
"""

from ..kinds import find_kinds
from .batches import Batches
from .coding import ArrayCoding, Coded, Coding, coding_of
from .given import as_split
from .hiding import hide_labels
from .labels import Labels
from .named import NAMES
from .origin import Origin
from .sources import Data, load, reload
from .splits import Split
from .table_coding import TableCoding

__all__ = [
    "ArrayCoding",
    "Batches",
    "Coded",
    "Coding",
    "Data",
    "Labels",
    "NAMES",
    "Origin",
    "Split",
    "TableCoding",
    "as_split",
    "coding_of",
    "find_kinds",
    "hide_labels",
    "load",
    "reload",
]
