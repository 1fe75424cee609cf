"""Reporting: figures from arrays, and one HTML page for a run. The arrays come from ``evaluation``."""

from . import plots
from .drawing import save
from .report import write

__all__ = ["plots", "save", "write"]
