"""Training: ``fit`` for any objective, run folders that survive, and ``load`` for what came out."""

from .fit import fit
from .folder import RunFolder, load
from .history import Diverged, History

__all__ = ["Diverged", "History", "RunFolder", "fit", "load"]
