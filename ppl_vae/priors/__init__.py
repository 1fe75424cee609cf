"""Priors p(z | y), one family a file."""

from .base import Prior as Prior
from .normal import Normal
from .of import Of

__all__ = ["Normal", "Of"]
