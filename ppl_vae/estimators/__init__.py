"""ELBO estimators: subclasses of ``pyro.infer.ELBO`` that work in Pyro's SVI and in ours.

One of your own derives from ``Importance``, where the bound is a function of the log-weights alone, or from
``Estimator``, where ``terms`` gives ``Terms``, each of shape (B,).

Example:
    >>> from dataclasses import replace
    >>> import torch
    >>> from ppl_vae import SVI, VAE, estimators, likelihoods, networks, priors
    >>> class Clipped(estimators.TraceELBO):
    ...     def terms(self, model, guide, *args, **kwargs) -> estimators.Terms:
    ...         terms = super().terms(model, guide, *args, **kwargs)
    ...         return replace(terms, surrogate=terms.surrogate.clamp(min=-100.0))
    >>> vae = VAE(priors.Normal(2), likelihood=likelihoods.Bernoulli(networks.MLP(2, [8]), 6))
    >>> SVI(vae, Clipped())(torch.ones(5, 6)).terms["elbo"].shape
    torch.Size([5])
"""

from .base import Estimator as Estimator
from .base import Terms as Terms
from .disarm import DisARM
from .elbo import MeanFieldELBO, TraceELBO
from .enumerate import Enum
from .free_bits import FreeBits
from .importance import CIWAE, IWAE, MIWAE, Renyi
from .importance import Importance as Importance
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
