"""The objective of a mixture VAE: an autoencoder first, then a mixture fitted to its codes, then the bound.

Trained from a random start, a mixture prior usually ends with a few components that hold everything. So a first stage
trains encoder and decoder alone, and the main stage begins with a mixture that EM finds in the codes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyro.distributions as dist
import torch
from pyro.infer import ELBO, TraceEnum_ELBO
from torch import Tensor

from ..checks import check_size, check_weight
from ..estimators import Enum
from ..handlers import Beta
from ..models import MixtureVAE
from .loss import Loss
from .objective import Objective, Stage
from .svi import SVI

if TYPE_CHECKING:
    from ..data import Split


class Clustering(SVI):
    """``SVI`` of a ``MixtureVAE`` that starts at the clusters in the codes of an autoencoder.

    Args:
        model: the model.
        estimator: as for ``SVI``; Enum by default. For others, such as IWAE, the component is summed out of the prior,
            which gives the same bound.
        beta: as for ``SVI``.
        pretrain: epochs of the first stage, named "autoencoder"; 0 leaves it out, and the mixture starts as its prior
            was built.
        pretrain_beta: weight of KL(q(z | x) || N(0, I)) in the first stage: at 0 it is an autoencoder, as in the
            source; above, a VAE, so that the scales of q(z | x) fit the codes when the main stage begins.
        restarts: how often EM starts; the most probable mixture is kept.

    Raises:
        TypeError: another model.
        ValueError: a negative number of epochs, or no restart.

    Source: Jiang et al. 2017, "Variational deep embedding".

    Example:
        >>> from ppl_vae import likelihoods, models, networks, priors
        >>> prior = priors.MixtureOfGaussians(2, components=3)
        >>> objective = Clustering(models.MixtureVAE(prior, likelihood=likelihoods.Bernoulli(networks.MLP(2, [8]), 6)))
        >>> [stage.name for stage in objective.stages()]
        ['autoencoder', '']
    """

    model: MixtureVAE  # type: ignore[assignment]

    def __init__(
        self,
        model: MixtureVAE,
        estimator: ELBO | None = None,
        beta: Beta = 1.0,
        pretrain: int = 50,
        pretrain_beta: float = 0.0,
        restarts: int = 2,
    ) -> None:
        if not isinstance(model, MixtureVAE):
            raise TypeError(f"model must be a models.MixtureVAE, not a {type(model).__name__}; SVI takes other models")
        super().__init__(model, estimator, beta)
        self.pretrain, self.restarts = check_size("pretrain", pretrain, least=0), check_size("restarts", restarts)
        self.pretrain_beta = check_weight("pretrain_beta", pretrain_beta)

    def programs(self) -> tuple[Any, ...]:
        """Those of the model, or for an estimator that does not sum over y those of the same parts without it."""
        pair = self.model if isinstance(self.estimator, Enum | TraceEnum_ELBO) else self.model.marginal
        return self.scaled(pair.model, pair.guide)

    def attach(self, train: Split) -> None:
        """Refuse fewer training rows than components, to which no mixture can be fitted."""
        if self.pretrain and len(train) < self.model.components:
            raise ValueError(
                f"train holds {len(train)} rows, too few to fit a mixture of {self.model.components} components; use "
                "fewer components"
            )

    def stages(self) -> list[Stage]:
        """The autoencoder, then the bound, which begins with a fit of the mixture."""
        if not self.pretrain:
            return super().stages()
        first = Stage(
            "autoencoder", Autoencoding(self.model, self.pretrain_beta), epochs=self.pretrain, begin=self.start
        )
        return [first, Stage("", self, begin=self._fit_mixture)]

    def _fit_mixture(self, train: Split) -> None:
        device = self.model.prior.means.device
        codes = torch.cat([self.model.encode(x) for x, *_ in train.batches(device=device)])
        self.model.prior.start_at(codes, self.restarts, seed=int(torch.randint(2**31, ())))


class Autoencoding(Objective):
    """Encoder and decoder without the mixture: -log p(x | z) + beta KL(q(z | x) || N(0, I)).

    Args:
        model: whose posterior and likelihood are trained.
        beta: weight of the KL, which is sampled; at 0, z is the mean of q(z | x), or a draw where it has no formula.
    """

    model: Any  # type: ignore[assignment]

    def __init__(self, model: MixtureVAE, beta: float) -> None:
        super().__init__()
        self.model, self.beta = model, beta

    def forward(self, x: Tensor, /, *_: Tensor) -> Loss:
        """Loss of a batch (x, ...)."""
        q = self.model.posterior(x)
        z = q.rsample() if self.beta else _mean_or_draw(q)
        log_p = self.model.likelihood(z).log_prob(x)
        value, terms = -log_p.mean(), {"reconstruction": log_p.detach()}
        if self.beta:
            kl = q.log_prob(z) - dist.Normal(torch.zeros_like(z), 1.0).to_event(1).log_prob(z)
            value, terms["kl"] = value + self.beta * kl.mean(), kl.detach()
        return Loss(value, terms)


def _mean_or_draw(q: Any) -> Tensor:
    try:
        return q.mean
    except (NotImplementedError, AttributeError):  # no formula, as for a flow
        return q.rsample()
