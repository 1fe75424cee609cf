"""Likelihoods p(x | z, y), one family a file."""

from .base import Likelihood as Likelihood
from .bernoulli import Bernoulli
from .normal import Normal
from .of import Of

__all__ = ["Bernoulli", "Normal", "Of"]
