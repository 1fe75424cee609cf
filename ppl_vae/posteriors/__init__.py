"""Posteriors q(z | x, y), one family a file."""

from .base import Posterior as Posterior
from .multivariate_normal import MultivariateNormal
from .normal import Normal
from .of import Of

__all__ = ["MultivariateNormal", "Normal", "Of"]
