"""ELBO estimators: subclasses of ``pyro.infer.ELBO`` that work in Pyro's SVI and in ours."""

from .base import Estimator as Estimator
from .disarm import DisARM
from .elbo import MeanFieldELBO, TraceELBO
from .enumerate import Enum
from .free_bits import FreeBits
from .importance import CIWAE, IWAE, MIWAE, Renyi
from .mmd import MMD
from .pathwise import STL, DReG, TailAdaptive
from .score import NVIL, VIMCO
from .thermodynamic import TVO
from .tracing import log_weights as log_weights
from .wake_sleep import RWS

__all__ = [
    "CIWAE",
    "IWAE",
    "MIWAE",
    "MMD",
    "NVIL",
    "RWS",
    "STL",
    "TVO",
    "VIMCO",
    "DReG",
    "DisARM",
    "Enum",
    "FreeBits",
    "MeanFieldELBO",
    "Renyi",
    "TailAdaptive",
    "TraceELBO",
]
