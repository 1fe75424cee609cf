"""Comparison: many training runs on one data set, in parallel processes, and one table of what each gave.

``cells`` are the runs, ``engine`` spreads them over processes, ``figures`` measures one, ``table`` puts them side by
side and ``report`` shows them. What a run is, and how it is trained, is the caller's: ``ppl_vae.compare``.
"""

from .cells import Cell
from .table import Table

__all__ = ["Cell", "Table"]
