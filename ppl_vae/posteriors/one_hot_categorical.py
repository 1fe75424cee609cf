"""Categorical posterior over one-hot codes: q(z = e_k | x) = softmax(l(x))_k, in each of several groups of entries.

Not reparameterised: estimators use the score function, or sum over all values (``estimators.Enum``).
"""

from __future__ import annotations

import pyro.distributions as dist
from torch import nn

from ..distributions.grouped import check_groups
from .of import FamilyPosterior


class OneHotCategorical(FamilyPosterior):
    """One-hot codes of ``dim`` classes, or of ``groups`` independent variables; logits linear in the features. A mass.

    Args:
        network: module from x (B, *shape) to features.
        dim: size of the code: number of classes, of all groups together.
        groups: number of categorical variables, each of dim / groups classes, at least 2; as many as the prior's, which
            the shell takes if none is given.

    Raises:
        ValueError: groups that do not divide dim into at least 2 classes each.

    Source: Kingma et al. 2014, "Semi-supervised learning with deep generative models".

    Example:
        >>> import torch
        >>> from ppl_vae import networks
        >>> OneHotCategorical(networks.MLP(6, [8]), 4)(torch.zeros(5, 6)).sample().sum(-1)
        tensor([1., 1., 1., 1., 1.])
    """

    def __init__(self, network: nn.Module, dim: int, groups: int = 1) -> None:
        check_groups(dim, groups)
        super().__init__(dist.OneHotCategorical, network, dim, groups=groups)
