"""Evaluation: pure functions of a trained model and data, in nats per example at beta = 1."""

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
    "Imputation",
    "LogLikelihood",
    "active_units",
    "bits_per_dim",
    "codes",
    "elbo",
    "evaluate",
    "impute",
    "kl_by_dimension",
    "log_likelihood",
    "pareto_khat",
    "reconstruction_error",
]
