"""Evaluation: pure functions of a trained model and data, in nats per example at beta = 1."""

from . import calibration, figures, gradients
from .annealing import Annealed, Bidirectional, annealed_log_likelihood, bidirectional
from .anomaly import anomaly_scores, auroc, threshold
from .compression import Compression, compress
from .denoising import denoise, denoising_gain
from .export import to_arviz
from .gaps import Gaps, gaps
from .generation import continuity, near_data, random_codes, recognised
from .importance import log_likelihood
from .imputation import Imputation, impute
from .inpainting import inpaint
from .representation import knn_accuracy, linear_probe
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
from .weights import LogLikelihood, pareto_khat, trusted_khat

__all__ = [
    "ELBO",
    "Annealed",
    "Bidirectional",
    "Compression",
    "Gaps",
    "Imputation",
    "LogLikelihood",
    "active_units",
    "annealed_log_likelihood",
    "anomaly_scores",
    "auroc",
    "bidirectional",
    "bits_per_dim",
    "calibration",
    "codes",
    "compress",
    "continuity",
    "denoise",
    "denoising_gain",
    "elbo",
    "evaluate",
    "figures",
    "gaps",
    "gradients",
    "impute",
    "inpaint",
    "kl_by_dimension",
    "knn_accuracy",
    "linear_probe",
    "log_likelihood",
    "near_data",
    "pareto_khat",
    "random_codes",
    "recognised",
    "reconstruction_error",
    "threshold",
    "to_arviz",
    "trusted_khat",
]
