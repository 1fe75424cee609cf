"""Penalties: what an autoencoder adds to its reconstruction error, or how it restricts its code or its decoder.

    KSparse, L1, L2, KLRate         of the activations of a layer: the code's, or with ``Hidden`` a hidden layer's
    Contraction, DecoderGradient    of the Jacobian of the encoder, or of the decoder
    DecoderL2, SpectralNorm         of the decoder's weights

An autoencoder takes one or a list of them; their costs are added up.
"""

from .activations import L1, L2, Hidden, KLRate, KSparse
from .activations import ActivationPenalty as ActivationPenalty
from .base import Pass as Pass
from .base import Penalty
from .jacobians import Contraction, DecoderGradient
from .weights import DecoderL2, SpectralNorm

__all__ = [
    "L1",
    "L2",
    "Contraction",
    "DecoderGradient",
    "DecoderL2",
    "Hidden",
    "KLRate",
    "KSparse",
    "Penalty",
    "SpectralNorm",
]
