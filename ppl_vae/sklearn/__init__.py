"""Estimators for scikit-learn's pipelines: tables of numbers in, numpy arrays (or what ``set_output`` says) out."""

from .anomaly import AnomalyDetector
from .autoencoder import AutoencoderTransformer
from .imputer import Imputer
from .transformer import VAETransformer

__all__ = ["AnomalyDetector", "AutoencoderTransformer", "Imputer", "VAETransformer"]
