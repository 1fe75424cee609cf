"""Priors of integer codes p(codes | y), one family a file: the last part of a VQ-VAE, which lets it draw data.

Codes of event shape ``shape`` are read in row-major order, and every entry is given all entries before it:

    log p(codes | y) = sum_t log p(c_t | c_1, ..., c_{t-1}, y)

``logits`` computes all factors in one pass, for training; a ``stepper`` computes one after another with a cache, for
sampling and for entropy coding.
"""

from .base import CodePrior as CodePrior
from .base import Stepper as Stepper
from .distribution import CodeDistribution as CodeDistribution
from .frequencies import Frequencies
from .pixel_cnn import PixelCNN
from .transformer import Transformer

__all__ = ["Frequencies", "PixelCNN", "Transformer"]
