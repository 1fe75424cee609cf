"""Priors p(z | y), one family a file."""

from .base import Prior as Prior
from .normal import Normal

__all__ = ["Normal"]
