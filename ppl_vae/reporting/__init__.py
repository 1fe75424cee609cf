"""Reporting: arrays from a trained model, figures from arrays, and one HTML page for a run."""

from . import pictures, plots
from .drawing import save
from .report import write

__all__ = ["pictures", "plots", "save", "write"]
