"""What ``Reconstruction`` trains of a model with integer codes c, in two stages: the autoencoder, then their prior.

main stage     -log p(x | c) + |sg v - q|^2 + commitment * |v - sg q|^2
"code prior"   -log p(c), for a prior that is trained; one that only counts codes does so when the main stage ends
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..models import Discrete
from .loss import Loss
from .objective import Objective, Stage

if TYPE_CHECKING:
    from ..data import Split


class CodeLikelihood(Objective):
    """-log p(c | y) of the codes c of x, in nats per example: trains the prior of a model, and nothing else of it.

    Args:
        model: a model with integer codes and a prior that is trained.

    Example:
        >>> from ppl_vae import code_priors, likelihoods, models, networks, quantizers
        >>> p = likelihoods.Bernoulli(networks.MLP(8, [16]), 6)
        >>> prior = code_priors.Transformer(16, 1, 2)
        >>> vq = models.VQVAE(networks.MLP(6, [16]), quantizers.VectorQuantizer(4, 2), p, prior)
        >>> CodeLikelihood(vq)(torch.ones(5, 6)).terms["rate"].shape
        torch.Size([5])
    """

    def __init__(self, model: Discrete) -> None:
        super().__init__()
        self.model = model.prior
        self.encode = model.encode  # of a module that is not part of this one, so it is not trained here

    def forward(self, x: Tensor, /, *y: Tensor) -> Loss:
        """Loss of a batch (x,) or (x, y); the term "rate" is -log p(c | y) of every example, (B,)."""
        with torch.no_grad():
            codes = self.encode(x, *y[:1])
        rate = -self.model(*y[:1]).log_prob(codes)
        return Loss(rate.mean(), {"rate": rate.detach()})

    def start(self, train: Split) -> None:
        """Nothing: the main stage has started all parts."""


def discrete_loss(model: Discrete, x: Tensor, *y: Tensor) -> Loss:
    """Loss of a batch; its terms are log p(x | c) (B,), the costs, and figures of the use of the codes."""
    found = model.quantize(x, *y[:1])
    log_p = model.likelihood(found.values, *y[:1]).log_prob(x)
    terms = {"reconstruction": log_p, **found.loss_terms, "perplexity": found.perplexity}
    for level in model.levels:
        for name, figure in level.figures().items():
            terms[name] = terms.get(name, 0.0) + figure / (len(model.levels) if name == "usage" else 1)
    return Loss(model.cost(found) - log_p.mean(), {name: term.detach() for name, term in terms.items()})


def discrete_stages(objective: Objective) -> list[Stage]:
    """The stages of an objective whose model has integer codes."""
    model = objective.model
    assert isinstance(model, Discrete)

    def count(train: Split) -> None:
        device = next(objective.parameters()).device
        labelled = model.condition is not None
        batches = train.batches(device=device)
        model.prior.conclude(model.encode(*(batch if labelled else batch[:1])) for batch in batches)

    if not model.prior.trained:
        return [Stage("", objective, begin=objective.start, end=count)]
    prior = Stage("code prior", CodeLikelihood(model), epochs=model.prior.epochs, keep="best")
    return [Stage("", objective, begin=objective.start), prior]


def discrete_trouble(model: Discrete, x: Tensor, *y: Tensor) -> str | None:
    """Name of the first of vectors and parameters of p(x | c) that is not finite, or None."""
    found = model.quantize(x, *y[:1])
    if not all(term.isfinite() for term in found.loss_terms.values()):
        return "a vector of the encoder or of the codebook"
    return None if model.likelihood(found.values, *y[:1]).log_prob(x).isfinite().all() else "log p(x | codes)"
