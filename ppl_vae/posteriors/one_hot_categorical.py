"""Categorical posterior over one-hot codes: q(z = e_k | x) = softmax(l(x))_k.

Not reparameterised: estimators use the score function.
"""

from __future__ import annotations

import pyro.distributions as dist
from torch import nn

from ..checks import check_size
from .of import FamilyPosterior


class OneHotCategorical(FamilyPosterior):
    """One-hot codes of ``dim`` classes with logits linear in the features. A probability mass.

    Args:
        network: module from x (B, *shape) to features.
        dim: number of classes, at least 2.

    Raises:
        ValueError: dim below 2.

    Source: Kingma et al. 2014, "Semi-supervised learning with deep generative models".

    Example:
        >>> import torch
        >>> from ppl_vae import networks
        >>> OneHotCategorical(networks.MLP(6, [8]), 4)(torch.zeros(5, 6)).sample().sum(-1)
        tensor([1., 1., 1., 1., 1.])
    """

    def __init__(self, network: nn.Module, dim: int) -> None:
        check_size("dim", dim, least=2)
        super().__init__(dist.OneHotCategorical, network, dim)
