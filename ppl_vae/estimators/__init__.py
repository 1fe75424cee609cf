"""ELBO estimators: subclasses of ``pyro.infer.ELBO`` that work in Pyro's own SVI and in ours."""

from .base import Estimator as Estimator
from .base import log_weights as log_weights
from .elbo import MeanFieldELBO, TraceELBO

__all__ = ["MeanFieldELBO", "TraceELBO"]
