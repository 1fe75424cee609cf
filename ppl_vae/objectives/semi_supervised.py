"""The objective of a semi-supervised VAE: the bound of every example, and the classifier's loss on labelled ones.

    value = mean over the batch of -bound(x, y or none)
            + classification * mean over labelled examples of -log q(y | x)

Of 55,000 examples perhaps 100 have a label, a batch then holds none, so every step also draws some of the labelled
ones for the second line. It is an unbiased estimate of its mean over all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import torch
from pyro.infer import ELBO
from torch import Tensor

from ..checks import check_size, check_weight
from ..data.hiding import known_rows, labels_in_memory
from ..handlers import Beta
from ..models import SemiSupervisedVAE, StackedSemiSupervisedVAE
from .loss import Loss
from .objective import Stage
from .svi import SVI

if TYPE_CHECKING:
    from ..data import Split

HELD, PIECE = 20_000, 1_000  # labelled rows in memory at most, and read at once
LEAST_EPOCHS, LEAST_STEPS, BATCH = 20, 3_000, 128  # of the features where their number of epochs is not given


class SemiSupervised(SVI):
    """``SVI`` of a ``SemiSupervisedVAE`` with Kingma's classification term.

    ``fit`` lets every step draw ``labelled`` of the labelled training rows, binarized anew where the training rows are,
    for the classification term; several processes draw so many each. Where at least half of the rows are labelled, or
    outside of ``fit``, the term is that of the batch's own labelled rows. Rows of validation count as unlabelled, so
    that the bound of x alone is watched.

    Args:
        model: the model.
        estimator: as for ``SVI``; Enum by default.
        beta: as for ``SVI``.
        classification: weight of the mean of -log q(y | x) over labelled examples, in nats per training example.
            Kingma's alpha, the weight of the mean in the sum over N examples, is ``classification`` * N, and his choice
            of 0.1 N is 0.1 here.
        labelled: labelled rows drawn for each step.

    Raises:
        ValueError: a negative weight, or fewer than one row.

    Source: Kingma et al. 2014, "Semi-supervised learning with deep generative models", equation 9.

    Example:
        >>> from ppl_vae import likelihoods, models, networks, priors
        >>> decoder = networks.Conditioned(networks.MLP(2 + 3, [8]), networks.Label(3))
        >>> m2 = models.SemiSupervisedVAE(priors.Normal(2), likelihood=likelihoods.Bernoulli(decoder, 6))
        >>> loss = SemiSupervised(m2)(torch.ones(4, 6), torch.tensor([0, -1, -1, 2]))
        >>> loss.value.shape, sorted(loss.terms)
        (torch.Size([]), ['classification', 'elbo', 'kl', 'reconstruction'])
    """

    model: SemiSupervisedVAE  # type: ignore[assignment]
    rows: Tensor
    labels: Tensor
    _noise: Any

    def __init__(
        self,
        model: SemiSupervisedVAE,
        estimator: ELBO | None = None,
        beta: Beta = 1.0,
        classification: float = 1.0,
        labelled: int = 64,
    ) -> None:
        self._of_codes = False
        super().__init__(model, estimator, beta)
        self.classification = check_weight("classification", classification)
        self.labelled = check_size("labelled", labelled)
        self.register_buffer("rows", torch.empty(0), persistent=False)
        self.register_buffer("labels", torch.empty(0, dtype=torch.long), persistent=False)
        self._noise, self._count = None, BATCH

    def attach(self, train: Split) -> None:
        """Hold the labelled training rows, of which steps draw."""
        self._count = len(train)
        y = labels_in_memory(train)
        known = known_rows(y) if y is not None else torch.empty(0)
        if y is None or not 0 < len(known) < len(train) / 2:
            self.rows, self.labels = torch.empty(0), torch.empty(0, dtype=torch.long)
            return
        known = known[torch.linspace(0, len(known) - 1, min(len(known), HELD)).long()]
        self.rows = torch.cat([train.fetch(some.numpy())[0].cpu() for some in known.split(PIECE)])
        self.labels, self._noise = y[known].cpu(), train.noise

    def forward(self, *batch: Tensor) -> Loss:
        """Loss of a batch (x,) or (x, y); the term "classification" is the mean of -log q(y | x)."""
        x, *y = batch
        if not self.training or not y:
            return super().forward(x)
        loss = self._bound(x, *y)
        rows, labels = self._draw() if len(self.rows) else (x, y[0])
        cost = classification_cost(self.model, rows, labels)
        return Loss(loss.value + self.classification * cost, {**loss.terms, "classification": cost.detach()})

    def stages(self) -> list[Stage]:
        """The features of a stacked model, if they are to be trained, and then the rest."""
        model, main = self.model, Stage("", self, begin=self.start)
        if not isinstance(model, StackedSemiSupervisedVAE) or model.pretrain == 0:
            return [main]
        features, steps = SVI(model.features), -(-self._count // BATCH)
        epochs = model.pretrain or max(LEAST_EPOCHS, -(-LEAST_STEPS // steps))
        return [Stage("features", features, epochs=epochs, begin=features.start, keep="best"), main]

    def train(self, mode: bool = True) -> Self:
        """Training mode, in which the features of a stacked model stay as they are."""
        super().train(mode)
        if isinstance(self.model, StackedSemiSupervisedVAE):
            self.model.features.eval()
        return self

    def programs(self) -> tuple[Any, ...]:
        """Model and guide, with beta in force; inside of ``_bound`` those of the codes of a stacked model."""
        if self._of_codes and isinstance(self.model, StackedSemiSupervisedVAE):
            return self.scaled(*self.model.programs_of_codes())
        return super().programs()

    def _bound(self, x: Tensor, *y: Tensor) -> Loss:
        """The loss of model and guide; of a stacked model that of a draw of its codes, with the terms of x."""
        if not isinstance(self.model, StackedSemiSupervisedVAE):
            return super().forward(x, *y)
        h, log_p, log_q = self.model.draw_codes(x)
        self._of_codes = True
        try:
            loss = super().forward(h, *y)
        finally:
            self._of_codes = False
        elbo = loss.terms["elbo"] + log_p - log_q
        return Loss(loss.value, {"elbo": elbo, "reconstruction": log_p, "kl": log_p - elbo})

    def _draw(self) -> tuple[Tensor, Tensor]:
        """Labelled training rows, with fresh noise where the training rows have it."""
        which = torch.randint(len(self.rows), (self.labelled,), device=self.rows.device)
        x = self.rows[which]
        return x if self._noise is None else self._noise.apply(x, torch.rand_like(x)), self.labels[which]


def classification_cost(model: SemiSupervisedVAE, x: Tensor, y: Tensor) -> Tensor:
    """Mean of -log q(y | x) over the examples whose label is known, in nats; 0 where none is.

    Of an ``AuxiliaryVAE`` it is that of -log q(y | x, a) at a draw of q(a | x), whose mean is at least as large.
    """
    known = model.target.known(y)
    wrong = -model.classify_draw(x).gather(-1, y.clamp(min=0).unsqueeze(-1)).squeeze(-1) * known
    return wrong.sum() / known.sum().clamp(min=1)
