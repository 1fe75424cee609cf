"""Cells: one training run of a comparison, what it gave, and where it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Cell:
    """One combination of the axes' values.

    Attributes:
        name: of its folder.
        label: its setting in words, the seed left out: what the table and the plots call it.
        axes: value of every axis, the seed among them; None where the cell's parts lack an option.
        settings: every flag's value, as the shell reads them.
    """

    name: str
    label: str
    axes: dict[str, Any]
    settings: Any
