"""The objective of a covariate-adjusted VAE: the bound, and a penalty on what codes say of y.

value = -bound(x, y) + weight * dependence(z, y),  z ~ q(z | x, y)
"""

from __future__ import annotations

from pyro.infer import ELBO
from torch import Tensor

from ..checks import check_weight
from ..handlers import Beta
from ..models import AdjustedVAE
from .loss import Loss
from .svi import SVI


class Adjusted(SVI):
    """``SVI`` of an ``AdjustedVAE`` with its penalty, which is of a whole batch: give batches of 100 rows and more.

    The penalty draws codes of its own, one more pass of the encoder.

    Args:
        model: the model.
        estimator: as for ``SVI``.
        beta: as for ``SVI``.
        weight: of the dependence, which is between 0 and 1, in nats per example.

    Source: Lopez et al. 2018, "Information constraints on auto-encoding variational Bayes".

    Example:
        >>> import torch
        >>> from ppl_vae import likelihoods, models, networks, priors
        >>> decoder = networks.Conditioned(networks.MLP(2 + 3, [8]), networks.Label(3))
        >>> model = models.AdjustedVAE(priors.Normal(2), likelihood=likelihoods.Bernoulli(decoder, 6))
        >>> loss = Adjusted(model)(torch.ones(4, 6), torch.tensor([0, 1, 1, 2]))
        >>> loss.value.shape, sorted(loss.terms)
        (torch.Size([]), ['dependence', 'elbo', 'kl', 'reconstruction'])
    """

    def __init__(
        self, model: AdjustedVAE, estimator: ELBO | None = None, beta: Beta = 1.0, weight: float = 20.0
    ) -> None:
        if not isinstance(model, AdjustedVAE):
            raise TypeError(f"model must be a models.AdjustedVAE, whose penalty this is, not a {type(model).__name__}")
        super().__init__(model, estimator, beta)
        self.weight = check_weight("weight", weight)

    def forward(self, x: Tensor, /, *y: Tensor) -> Loss:
        """Loss of a batch (x, y)."""
        loss = super().forward(x, *y)
        model: AdjustedVAE = self.model  # type: ignore[assignment]
        dependence = model.dependence(model.posterior(x, *y).rsample(), *y)
        return Loss(loss.value + self.weight * dependence, {**loss.terms, "dependence": dependence.detach()})
