"""The conditional variational autoencoder: a VAE of x given y, some parts of which see y.

model:  z ~ p(z | y),  x ~ p(x | z, y)          guide:  z ~ q(z | x, y)
"""

from __future__ import annotations

from ..likelihoods import Likelihood
from ..posteriors import Posterior
from ..priors import Prior
from .vae import VAE


class CVAE(VAE):
    """A ``VAE`` of x given y: at least one of its parts is conditional.

    y is a class (``networks.Label``), a vector or number (``networks.Vector``), a picture (``networks.Picture``) or a
    part of x itself (``networks.Quadrants``, which needs no y beside x).

    Args:
        prior: p(z | y), such as ``priors.Normal(dim)``, or ``priors.Given(prior, condition)`` to learn how it depends
            on y.
        posterior: q(z | x, y); None as for a ``VAE``.
        likelihood: p(x | z, y), of a ``networks.Conditioned``.

    Raises:
        ValueError: parts none of which is conditional, or as of ``VAE``.

    Source: Sohn et al. 2015, "Learning structured output representation using deep conditional generative models".

    Example:
        >>> import torch
        >>> from ppl_vae import likelihoods, networks, priors
        >>> label = networks.Label(10)
        >>> decoder = networks.Conditioned(networks.MLP(2 + 10, [32]), label)
        >>> cvae = CVAE(priors.Normal(2), likelihood=likelihoods.Bernoulli(decoder, (1, 8, 8)))
        >>> cvae.model(y=torch.tensor([3, 3, 7])).shape
        torch.Size([3, 1, 8, 8])
    """

    usual = {"condition": "label"}

    def __init__(self, prior: Prior, posterior: Posterior | None = None, likelihood: Likelihood | None = None) -> None:
        super().__init__(prior, posterior, likelihood)
        if self.condition is None:
            raise ValueError(
                "no part of the CVAE is conditional: give the likelihood a network that sees y, such as "
                "networks.Conditioned(networks.MLP(dim + 10, [200]), networks.Label(10)), or use models.VAE"
            )
