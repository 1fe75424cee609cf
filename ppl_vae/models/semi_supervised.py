"""The semi-supervised VAE: a label that is known of some examples and summed over for the others.

    model:  y ~ p(y),  z ~ p(z | y),  x ~ p(x | z, y)          guide:  y ~ q(y | x),  z ~ q(z | x, y)

For an example whose y is known, q(y | x) is a point mass at it, so that the bound is

    labelled    E_q(z | x, y) [log p(y) + log p(z | y) + log p(x | z, y) - log q(z | x, y)]
    unlabelled  sum_y q(y | x) [labelled(y) - log q(y | x)]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from ..handlers import register
from ..likelihoods import Likelihood
from ..networks import MLP, Label
from ..networks.head import Head
from ..parts import Part
from ..posteriors import Posterior
from ..priors import Prior
from .cvae import CVAE
from .protocols import Codec, Latent, Pair, Predictor
from .vae import VAE, examples

if TYPE_CHECKING:
    from ..data import Split

OFF = -1e9  # logit of a class that a known label excludes; its probability is 0 in any precision


class SemiSupervisedVAE(Part, Codec, Latent, Pair, Predictor):
    """M2: a ``CVAE`` of x given a label y, a prior p(y) of the labels and a classifier q(y | x).

    ``model`` and ``guide`` take labels y (B,) of which some or all are -1, unknown; without y all are. ``SVI`` sums
    over the unknown ones by ``estimators.Enum``; ``objectives.SemiSupervised`` also trains the classifier on the known
    ones. Evaluation takes every label as unknown unless it is given.

    Args:
        prior: p(z | y), event shape (dim,).
        posterior: q(z | x, y); None as for a ``VAE``.
        likelihood: p(x | z, y), of a ``networks.Conditioned`` on a ``networks.Label``.
        classifier: network of x whose features give the logits of q(y | x); None for an MLP with two layers of 200.
        frequencies: p(y): "uniform", or "data" for the frequencies of the known labels, which ``fit`` sets.

    Attributes:
        target: what y is, the likelihood's ``Label``.
        frequency: p(y), (classes,).

    Raises:
        ValueError: parts that are not conditional on a label, or as of ``VAE``.

    Source: Kingma et al. 2014, "Semi-supervised learning with deep generative models", section 3, M2.

    Example:
        >>> from ppl_vae import likelihoods, networks, priors
        >>> decoder = networks.Conditioned(networks.MLP(2 + 10, [32]), networks.Label(10))
        >>> m2 = SemiSupervisedVAE(priors.Normal(2), likelihood=likelihoods.Bernoulli(decoder, (1, 8, 8)))
        >>> m2.predict(torch.zeros(5, 1, 8, 8)).shape, m2.model(y=torch.tensor([3, 7])).shape
        (torch.Size([5, 10]), torch.Size([2, 1, 8, 8]))
    """

    usual = {"condition": "label", "estimator": "enum"}
    enumerated = True
    frequency: Tensor

    def __init__(
        self,
        prior: Prior,
        posterior: Posterior | None = None,
        likelihood: Likelihood | None = None,
        classifier: nn.Module | None = None,
        frequencies: Literal["uniform", "data"] = "uniform",
    ) -> None:
        super().__init__()
        self.conditional = CVAE(prior, posterior, likelihood)
        label = self.conditional.condition
        if not isinstance(label, Label):
            raise ValueError(f"the parts must be conditional on a networks.Label, which y is, not on {label!r}")
        if frequencies not in ("uniform", "data"):
            raise ValueError(f"frequencies must be 'uniform' or 'data', not {frequencies!r}")
        self._label, self.frequencies = (label,), frequencies  # in a tuple: it is registered below already
        inside = self._classified()
        self.classifier = MLP(inside) if classifier is None else classifier
        self.head = Head(self.classifier, (label.classes,))
        self.register_buffer("frequency", torch.full((label.classes,), 1 / label.classes))
        with torch.no_grad():  # sizes lazy layers, and refuses a classifier that does not take x
            self.log_q(torch.zeros(2, *inside))

    @property
    def target(self) -> Label:  # type: ignore[override]
        """What y is."""
        return self._label[0]

    @property
    def drawn_by(self) -> Label:
        """What y is: data can be drawn for a label."""
        return self.target

    @property
    def of_x(self) -> VAE:
        """The VAE whose likelihood gives x."""
        return self.conditional

    @property
    def likelihood(self) -> Likelihood:
        """The likelihood of x, p(x | z, y)."""
        return self.of_x.likelihood

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]  # noqa: D102
        return self.of_x.shape

    @property
    def support(self) -> constraints.Constraint:  # type: ignore[override]  # noqa: D102
        return self.of_x.support

    @property
    def code_shape(self) -> tuple[int, ...]:  # type: ignore[override]  # noqa: D102
        return self.conditional.code_shape

    @property
    def code_support(self) -> constraints.Constraint:  # type: ignore[override]  # noqa: D102
        return self.conditional.code_support

    def prior(self, y: Tensor | None = None) -> TorchDistribution:  # type: ignore[override]
        """p(z | y)."""
        return self.conditional.prior(y)

    def posterior(self, x: Tensor, y: Tensor) -> TorchDistribution:
        """q(z | x, y) of x (B, *shape) and known labels y (B,)."""
        return self.conditional.posterior(x, y)

    def likelihood_at(self, z: Tensor, y: Tensor) -> TorchDistribution:
        """p(x | z, y) of codes z (..., dim) and known labels y (...)."""
        return self.likelihood(z, y)

    def classify(self, x: Tensor) -> Tensor:
        """log q(y | x), (B, classes), of x (B, *shape)."""
        return self.log_q(x)

    def log_q(self, x: Tensor) -> Tensor:
        """log q(y | x) (..., classes) of what the classifier takes."""
        return self.head(self.classifier(x))[0].log_softmax(-1)

    def classify_draw(self, x: Tensor) -> Tensor:
        """log q(y | .), (B, classes), at one draw of what the guide draws before y, which here is nothing."""
        return self.classify(x)

    def _classified(self) -> tuple[int, ...]:
        """Event shape of what the classifier takes."""
        return self.conditional.shape

    def predict(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.classify(x).exp()

    def draw_target(self, n: int) -> Tensor:
        """n labels of p(y), (n,)."""
        return self.frequency.multinomial(n, replacement=True)

    def start(self, train: Split) -> None:
        """Start the parts, and set p(y) where it is that of the data."""
        super().start(train)
        self.count(train)

    def count(self, train: Split) -> None:
        """Set p(y) to the frequencies of the known labels, where it is that of the data."""
        if self.frequencies == "data" and train.labelled:
            y = torch.cat([rows[1] for rows in train.batches(10_000)])
            counts = torch.bincount(y[self.target.known(y)], minlength=self.target.classes)
            if not counts.all():
                missing = int((counts == 0).nonzero()[0])
                raise ValueError(f"no training row has the known label {missing}; use frequencies='uniform'")
            self.frequency.copy_(counts / counts.sum())

    def model(self, x: Tensor | None = None, y: Tensor | None = None, n: int | None = None) -> Tensor:
        """p(y) p(z | y) p(x | z, y): scores x (B, *shape), or draws it when it is left out.

        Args:
            x: data (B, *shape); None to generate.
            y: labels (B,); with x some may be -1, unknown, or None for all.
            n: how many to generate when neither x nor y says.

        Returns:
            x, given or drawn.
        """
        size = self.begin(x, y, n)
        with pyro.plate("data", size):
            given = y if x is None else None  # a known y of data is a point mass of the guide
            y = pyro.sample("y", dist.Categorical(self.frequency), obs=given)
            return self.conditional.generate(x, y)

    def guide(self, x: Tensor | None = None, y: Tensor | None = None, n: int | None = None) -> Tensor:
        """q(y | x) q(z | x, y), a point mass where y is known, or the prior when there is no x; z (B, dim)."""
        size = self.begin(x, y, n)
        with pyro.plate("data", size):
            if x is not None:
                y = pyro.sample("y", dist.Categorical(logits=self.known(self.log_q(x), y)))
            elif y is None:
                y = pyro.sample("y", dist.Categorical(self.frequency))
            return self.conditional.infer(x, y)

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Means (B, dim) of q(z | x, y), at the most probable y where it is unknown."""
        return self.conditional.encode(x, self.known(self.classify(x), y).argmax(-1))

    def decode(self, z: Tensor, y: Tensor | None = None, *, like: Tensor | None = None) -> Tensor:
        """Means of p(x | z, y) of codes z (..., dim); without y their average over p(y)."""
        if y is not None:
            return self.decode_given(z, y, like)
        classes = torch.arange(self.target.classes, device=z.device).reshape(-1, *[1] * (z.dim() - 1))
        every = classes.expand(-1, *z.shape[:-1])
        pictures = self.decode_given(z.expand(len(every), *z.shape), every, like)
        return torch.tensordot(self.frequency.to(pictures.dtype), pictures, 1)

    def decode_given(self, z: Tensor, y: Tensor, like: Tensor | None) -> Tensor:
        """Means of p(x | z, y) of codes z (..., dim) and labels y (...)."""
        return self.conditional.decode(z, y, like=like)

    def known(self, log_q: Tensor, y: Tensor | None) -> Tensor:
        """log q(y | x) (B, classes), a point mass where y (B,) is known."""
        if y is None:
            return log_q
        classes = torch.arange(log_q.shape[-1], device=log_q.device)
        mass = torch.where(y.unsqueeze(-1) == classes, 0.0, OFF).to(log_q.dtype)
        return torch.where(self.target.known(y).unsqueeze(-1), mass, log_q)

    def begin(self, x: Tensor | None, y: Tensor | None, n: int | None) -> int:
        """Register the parameters; how many examples there are."""
        register(f"{self.conditional.name}.labels", self)
        return examples(x, y, n, self.target, partly=x is not None or y is None)
