"""Quantizers: vectors z (..., dim) -> codes, whole numbers, with gradients that pass through.

    VectorQuantizer          one codebook: the nearest code
    ProductQuantizer         groups of entries, each with a codebook of its own
    ResidualQuantizer        stages, each of which quantizes what the ones before have left
    FiniteScalarQuantizer    every entry rounded to a few levels; nothing is learned

``EMA`` and ``Gradient`` are the ways in which a codebook is updated.
"""

from .base import Quantized, Quantizer
from .finite_scalar import FiniteScalarQuantizer
from .product import ProductQuantizer
from .residual import ResidualQuantizer
from .updates import EMA, CodebookUpdate, Gradient
from .vector import VectorQuantizer

__all__ = [
    "EMA",
    "CodebookUpdate",
    "FiniteScalarQuantizer",
    "Gradient",
    "ProductQuantizer",
    "Quantized",
    "Quantizer",
    "ResidualQuantizer",
    "VectorQuantizer",
]
