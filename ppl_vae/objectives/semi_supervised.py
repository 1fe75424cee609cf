"""The objective of a semi-supervised VAE: the bound of every example, and the classifier's loss on the labelled ones.

value = mean of -bound(x, y or none) + classification * mean over labelled examples of -log q(y | x)
"""

from __future__ import annotations

from pyro.infer import ELBO
from torch import Tensor

from ..handlers import Beta
from ..models import SemiSupervisedVAE
from .loss import Loss
from .svi import SVI


class SemiSupervised(SVI):
    """``SVI`` of a ``SemiSupervisedVAE`` with Kingma's classification term.

    Args:
        model: the model.
        estimator: as for ``SVI``; Enum by default.
        beta: as for ``SVI``.
        classification: weight of the mean of -log q(y | x) over labelled examples.

    Source: Kingma et al. 2014, equation 9: their alpha over the number of training examples.

    Example:
        >>> import torch
        >>> from ppl_vae import likelihoods, models, networks, priors
        >>> decoder = networks.Conditioned(networks.MLP(2 + 3, [8]), networks.Label(3))
        >>> m2 = models.SemiSupervisedVAE(priors.Normal(2), likelihood=likelihoods.Bernoulli(decoder, 6))
        >>> loss = SemiSupervised(m2)(torch.ones(4, 6), torch.tensor([0, -1, -1, 2]))
        >>> loss.value.shape, sorted(loss.terms)
        (torch.Size([]), ['classification', 'elbo', 'kl', 'reconstruction'])
    """

    def __init__(
        self,
        model: SemiSupervisedVAE,
        estimator: ELBO | None = None,
        beta: Beta = 1.0,
        classification: float = 0.1,
    ) -> None:
        super().__init__(model, estimator, beta)
        self.classification = classification

    def forward(self, x: Tensor, /, *y: Tensor) -> Loss:
        """Loss of a batch; rows of validation count as unlabelled, so that the bound of x alone is watched."""
        if not self.training or not y:
            return super().forward(x)
        loss = super().forward(x, *y)
        model: SemiSupervisedVAE = self.model
        known = model.target.known(y[0])
        at = y[0].clamp(min=0).unsqueeze(-1)
        wrong = -model.classify(x).gather(-1, at).squeeze(-1) * known
        cost = wrong.sum() / known.sum().clamp(min=1)
        return Loss(loss.value + self.classification * cost, {**loss.terms, "classification": cost.detach()})
