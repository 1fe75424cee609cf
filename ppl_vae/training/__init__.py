"""Training: ``fit`` for any objective, run folders that survive, and ``load`` for what came out."""

from .callbacks import Callback, Context, Stop
from .fit import fit
from .folder import RunFolder, load
from .history import Diverged, History
from .loggers import MLflow, TensorBoard

__all__ = [
    "Callback",
    "Context",
    "Diverged",
    "History",
    "MLflow",
    "RunFolder",
    "Stop",
    "TensorBoard",
    "fit",
    "load",
]
