"""Statistics of tensors that know no model: pure functions, one topic a file."""

from .clusters import cluster_accuracy, cluster_agreement, confusion, matched
from .columns import column_gaps, column_scores, correlation_gaps, rank_correlations
from .completeness import near_data, recognised
from .probes import knn_accuracy, linear_probe
from .projection import neighbour_map, project
from .scores import auroc, threshold
from .units import bits_per_dim, denoising_gain
from .weights import LogLikelihood, pareto_khat, trusted_khat

__all__ = [
    "LogLikelihood",
    "auroc",
    "bits_per_dim",
    "cluster_accuracy",
    "cluster_agreement",
    "column_gaps",
    "column_scores",
    "confusion",
    "correlation_gaps",
    "denoising_gain",
    "knn_accuracy",
    "linear_probe",
    "matched",
    "near_data",
    "neighbour_map",
    "pareto_khat",
    "project",
    "rank_correlations",
    "recognised",
    "threshold",
    "trusted_khat",
]
