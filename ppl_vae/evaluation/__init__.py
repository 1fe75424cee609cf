"""Evaluation: pure functions of a trained model and data, in nats per example at beta = 1."""

from . import calibration, gradients
from .annealing import Annealed, Bidirectional, annealed_log_likelihood, bidirectional
from .export import to_arviz
from .gaps import Gaps, gaps
from .importance import LogLikelihood, log_likelihood, pareto_khat
from .imputation import Imputation, impute
from .terms import (
    ELBO,
    active_units,
    bits_per_dim,
    codes,
    elbo,
    evaluate,
    kl_by_dimension,
    reconstruction_error,
)

__all__ = [
    "ELBO",
    "Annealed",
    "Bidirectional",
    "Gaps",
    "Imputation",
    "LogLikelihood",
    "active_units",
    "annealed_log_likelihood",
    "bidirectional",
    "bits_per_dim",
    "calibration",
    "codes",
    "elbo",
    "evaluate",
    "gaps",
    "gradients",
    "impute",
    "kl_by_dimension",
    "log_likelihood",
    "pareto_khat",
    "reconstruction_error",
    "to_arviz",
]
