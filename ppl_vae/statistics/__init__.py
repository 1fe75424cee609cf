"""Statistics of tensors that know no model: pure functions, one topic a file."""

from .completeness import near_data, recognised
from .probes import knn_accuracy, linear_probe
from .projection import project
from .scores import auroc, threshold
from .units import bits_per_dim, denoising_gain
from .weights import LogLikelihood, pareto_khat, trusted_khat

__all__ = [
    "LogLikelihood",
    "auroc",
    "bits_per_dim",
    "denoising_gain",
    "knn_accuracy",
    "linear_probe",
    "near_data",
    "pareto_khat",
    "project",
    "recognised",
    "threshold",
    "trusted_khat",
]
