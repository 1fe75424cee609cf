"""Posteriors q(z | x, y), one family a file."""

from .base import Posterior as Posterior
from .multivariate_normal import MultivariateNormal
from .normal import Normal

__all__ = ["MultivariateNormal", "Normal"]
