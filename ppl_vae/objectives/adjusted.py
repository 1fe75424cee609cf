"""The objective of a covariate-adjusted VAE: the bound, and a penalty on what codes say of y.

value = -bound(x, y) + weight * dependence(z, y)

with z the means of q(z | x, y), each entry in standard deviations of the batch.
"""

from __future__ import annotations

import pyro
from pyro.infer import ELBO
from torch import Tensor

from ..checks import check_weight
from ..handlers import Beta
from ..models import AdjustedVAE
from .loss import Loss
from .svi import SVI

LEAST = 1e-4  # standard deviation by which a code is divided


class Adjusted(SVI):
    """``SVI`` of an ``AdjustedVAE`` with its penalty, which is of a whole batch: give batches of 100 rows and more.

    The penalty is on the means of q(z | x, y), which ``evaluation.codes`` gives, in standard deviations, as whoever
    uses them scales them; where the mean is not known it is on draws. It costs one more pass of the encoder.

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

    model: AdjustedVAE  # type: ignore[assignment]

    def __init__(
        self, model: AdjustedVAE, estimator: ELBO | None = None, beta: Beta = 1.0, weight: float = 1.0
    ) -> None:
        if not isinstance(model, AdjustedVAE):
            raise TypeError(f"model must be a models.AdjustedVAE, whose penalty this is, not a {type(model).__name__}")
        super().__init__(model, estimator, beta)
        self.weight = check_weight("weight", weight)

    def forward(self, *batch: Tensor) -> Loss:
        """Loss of a batch (x, y)."""
        x, *y = batch
        loss = super().forward(x, *y)
        dependence = self.model.dependence(self.codes(x, *y), *y)
        return Loss(loss.value + self.weight * dependence, {**loss.terms, "dependence": dependence.detach()})

    def codes(self, x: Tensor, /, *y: Tensor) -> Tensor:
        """What the penalty is on: means of q(z | x, y), or draws, in standard deviations of the batch, (B, dim)."""
        with pyro.validation_enabled(False):  # which reads values, as a captured step cannot
            q = self.model.posterior(x, *y)
        try:
            z = q.mean
        except (NotImplementedError, AttributeError):
            z = q.rsample()
        return (z - z.mean(0).detach()) / z.std(0, correction=0).detach().clamp(min=LEAST)
