"""Evaluation: pure functions of a trained model and data, in nats per example at beta = 1."""

from . import calibration, figures, gradients
from .annealing import Annealed, Bidirectional, annealed_log_likelihood, bidirectional
from .anomaly import anomaly_scores, auroc, threshold
from .coding import codes, decode, denoise, denoising_gain, reconstruct, reconstruction_error
from .compression import Compression, compress
from .export import to_arviz
from .gaps import Gaps, gaps
from .generation import near_data, prior_draws, random_codes, recognised, sample_draws, sample_means
from .importance import log_likelihood
from .imputation import Imputation, impute, inpaint
from .representation import knn_accuracy, linear_probe
from .terms import ELBO, active_units, bits_per_dim, elbo, evaluate, kl_by_dimension
from .walks import continuity, interpolate, manifold, project, traverse
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
    "decode",
    "denoise",
    "denoising_gain",
    "elbo",
    "evaluate",
    "figures",
    "gaps",
    "gradients",
    "impute",
    "inpaint",
    "interpolate",
    "kl_by_dimension",
    "knn_accuracy",
    "linear_probe",
    "log_likelihood",
    "manifold",
    "near_data",
    "pareto_khat",
    "prior_draws",
    "project",
    "random_codes",
    "recognised",
    "reconstruct",
    "reconstruction_error",
    "sample_draws",
    "sample_means",
    "threshold",
    "to_arviz",
    "traverse",
    "trusted_khat",
]
