"""Penalties: terms added to an autoencoder's reconstruction error, or restrictions of its code or decoder.

    KSparse, L1, L2, KLRate         on the activations of the code, or with ``Hidden`` of a hidden layer
    Contraction, DecoderGradient    on the Jacobian of the encoder, or of the decoder
    DecoderL2, SpectralNorm         on the decoder's weights

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
