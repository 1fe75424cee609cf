"""Evaluation: pure functions of a trained model and data, in nats per example at beta = 1."""

from ..statistics import (
    LogLikelihood,
    auroc,
    bits_per_dim,
    cluster_accuracy,
    cluster_agreement,
    column_gaps,
    column_scores,
    confusion,
    correlation_gaps,
    denoising_gain,
    knn_accuracy,
    linear_probe,
    matched,
    near_data,
    neighbour_map,
    pareto_khat,
    project,
    rank_correlations,
    recognised,
    threshold,
    trusted_khat,
)
from . import calibration, figures, gradients
from .annealing import Annealed, Bidirectional, annealed_log_likelihood, bidirectional
from .anomaly import anomaly_scores
from .baseline import Baseline
from .coded_files import pack_codes, unpack_codes
from .coding import codes, decode, denoise, reconstruct, reconstruction_error
from .compression import Compression, compress
from .conditional import completions, transfer
from .discrete import CodeUsage, code_usage
from .entropy_coding import decode_codes, encode_codes
from .export import to_arviz
from .file_sizes import FileSizes, file_sizes
from .gaps import Gaps, gaps
from .generation import prior_draws, random_codes, sample_draws, sample_means
from .importance import log_likelihood
from .imputation import Imputation, impute, inpaint
from .intervals import Intervals, imputation_intervals
from .leaking import Leakage, leakage
from .marginals import columns_of, sample_rows
from .predictions import assign, predict
from .spreads import spreads
from .summary import evaluate
from .terms import ELBO, active_units, elbo, kl_by_dimension
from .verdict import Verdict, collapsed, verdict
from .walks import continuity, interpolate, manifold, traverse

__all__ = [
    "ELBO",
    "Annealed",
    "Baseline",
    "Bidirectional",
    "CodeUsage",
    "Compression",
    "FileSizes",
    "Gaps",
    "Imputation",
    "Intervals",
    "Leakage",
    "LogLikelihood",
    "Verdict",
    "active_units",
    "annealed_log_likelihood",
    "anomaly_scores",
    "assign",
    "auroc",
    "bidirectional",
    "bits_per_dim",
    "calibration",
    "cluster_accuracy",
    "cluster_agreement",
    "code_usage",
    "codes",
    "collapsed",
    "column_gaps",
    "column_scores",
    "columns_of",
    "completions",
    "compress",
    "confusion",
    "continuity",
    "correlation_gaps",
    "decode",
    "decode_codes",
    "denoise",
    "denoising_gain",
    "elbo",
    "encode_codes",
    "evaluate",
    "figures",
    "file_sizes",
    "gaps",
    "gradients",
    "imputation_intervals",
    "impute",
    "inpaint",
    "interpolate",
    "kl_by_dimension",
    "knn_accuracy",
    "leakage",
    "linear_probe",
    "log_likelihood",
    "manifold",
    "matched",
    "near_data",
    "neighbour_map",
    "pack_codes",
    "pareto_khat",
    "predict",
    "prior_draws",
    "project",
    "random_codes",
    "rank_correlations",
    "recognised",
    "reconstruct",
    "reconstruction_error",
    "sample_draws",
    "sample_means",
    "sample_rows",
    "spreads",
    "threshold",
    "to_arviz",
    "transfer",
    "traverse",
    "trusted_khat",
    "unpack_codes",
    "verdict",
]
