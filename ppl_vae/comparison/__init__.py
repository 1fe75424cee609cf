"""Comparison: many training runs on one data set, in parallel processes, and one table of what each gave.

``compare`` makes ``cells``, one for each objective and seed; ``work`` trains one, in a process of ``ppl_vae.parallel``,
``figures`` measures it, ``table`` puts them side by side and ``report`` shows them.
"""

from .cells import Cell
from .compare import compare
from .table import Table

__all__ = ["Cell", "Table", "compare"]
