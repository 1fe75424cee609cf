"""M1 + M2: a VAE of x whose codes h are described by a semi-supervised VAE.

    model:  y ~ p(y),  z ~ p(z | y),  h ~ p(h | z, y),  x ~ p(x | h)
    guide:  h ~ q(h | x),  y ~ q(y | h),  z ~ q(z | h, y)

``fit`` trains p(x | h) and q(h | x) first, under a prior p(h) of their own, then the rest on draws of q(h | x).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from .. import supports
from ..checks import check_size
from ..likelihoods import Likelihood
from ..parts import Part
from ..posteriors import Posterior
from ..priors import Prior
from .averaged import AveragedPosterior
from .semi_supervised import SemiSupervisedVAE
from .vae import VAE

if TYPE_CHECKING:
    from ..data import Split


class StackedSemiSupervisedVAE(SemiSupervisedVAE):
    """M1 + M2: a ``VAE`` of x, and a ``SemiSupervisedVAE`` of its codes.

    Args:
        features: the VAE of x, M1, whose codes h are real numbers.
        prior: p(z | y), event shape (dim,).
        posterior: q(z | h, y); None as for a ``VAE``.
        likelihood: p(h | z, y), event shape (features.dim,), of a ``networks.Conditioned`` on a ``networks.Label``.
        classifier: network of h whose features give the logits of q(y | h); None for an MLP with two layers of 200.
        frequencies: p(y), as of ``SemiSupervisedVAE``.
        pretrain: epochs for which ``fit`` trains ``features`` first; 0 where they are trained already, None for at
            least 20 epochs and 3,000 steps of 128 rows.

    Raises:
        ValueError: a likelihood of another shape than the codes of ``features``, or codes on another support.

    Source: Kingma et al. 2014, "Semi-supervised learning with deep generative models", section 3, M1 + M2.

    Example:
        >>> from ppl_vae import likelihoods, networks, priors
        >>> m1 = VAE(priors.Normal(5), likelihood=likelihoods.Bernoulli(networks.MLP(5, [32]), (1, 8, 8)))
        >>> decoder = networks.Conditioned(networks.MLP(2 + 10, [32]), networks.Label(10))
        >>> model = StackedSemiSupervisedVAE(m1, priors.Normal(2), likelihood=likelihoods.Normal(decoder, 5))
        >>> model.predict(torch.zeros(4, 1, 8, 8)).shape, model.model(y=torch.tensor([3, 7])).shape
        (torch.Size([4, 10]), torch.Size([2, 1, 8, 8]))
    """

    def __init__(
        self,
        features: VAE,
        prior: Prior,
        posterior: Posterior | None = None,
        likelihood: Likelihood | None = None,
        classifier: nn.Module | None = None,
        frequencies: Literal["uniform", "data"] = "uniform",
        pretrain: int | None = None,
    ) -> None:
        super().__init__(prior, posterior, likelihood, classifier, frequencies)
        self.features = features
        self.pretrain = None if pretrain is None else check_size("pretrain", pretrain, least=0)
        if features.condition is not None:
            raise ValueError(f"features must be a VAE of x alone, not of x given {features.condition!r}")
        if self.conditional.shape != features.code_shape:
            raise ValueError(
                f"likelihood is of shape {tuple(self.conditional.shape)}, but the codes of features, which it "
                f"describes, are of shape {tuple(features.code_shape)}"
            )
        if not supports.same(features.code_support, constraints.real_vector):
            raise ValueError(
                "the codes of features must be real vectors, as under priors.Normal, not on "
                f"{supports.name(features.code_support)}"
            )

    @property
    def of_x(self) -> VAE:
        """The features, whose likelihood p(x | h) gives x."""
        return self.features

    def posterior(self, x: Tensor, y: Tensor | None = None) -> TorchDistribution:  # type: ignore[override]
        """q(z | x, y) = E_q(h | x) q(z | h, y), which can be drawn from."""
        q_h = self.features.posterior(x)
        return AveragedPosterior(q_h, self.conditional.posterior, y, self.code_shape, self.code_support)

    def likelihood_at(self, z: Tensor, y: Tensor) -> TorchDistribution:
        """p(x | h) at a draw h of p(h | z, y), of codes z (..., dim) and known labels y (...)."""
        return self.features.likelihood(self.conditional.likelihood(z, y).sample())

    def classify(self, x: Tensor) -> Tensor:
        """log q(y | h), (B, classes), at the mean h of q(h | x) of x (B, *shape); the features take no gradient."""
        return self.log_q(self.features.encode(x).detach())

    def start(self, train: Split) -> None:
        """Start the parts of the codes at codes of the training rows, and the features at the rows themselves."""
        self.features.start(train)
        with torch.no_grad():
            device = self.frequency.device
            codes = torch.cat([self.features.encode(x).cpu() for x, *_ in train.batches(device=device)])
        inside = type(train)(codes, name="the codes")
        self.conditional.start(inside)
        if isinstance(self.classifier, Part):
            self.classifier.start(inside)
        self.count(train)

    def model(self, x: Tensor | None = None, y: Tensor | None = None, n: int | None = None) -> Tensor:
        """p(y) p(z | y) p(h | z, y) p(x | h): scores x (B, *shape), or draws it; as of ``SemiSupervisedVAE``."""
        size = self.begin(x, y, n)
        with pyro.plate("data", size):
            y = pyro.sample("y", dist.Categorical(self.frequency), obs=y if x is None else None)
            z = pyro.sample("z", self.conditional.prior(y))
            h = pyro.sample("features", self.conditional.likelihood(z, y))
            return pyro.sample("x", self.features.likelihood(h), obs=x)

    def guide(self, x: Tensor | None = None, y: Tensor | None = None, n: int | None = None) -> Tensor:
        """q(h | x) q(y | h) q(z | h, y), a point mass where y is known, or the prior when there is no x; z (B, dim)."""
        size = self.begin(x, y, n)
        with pyro.plate("data", size):
            if x is None:
                y = pyro.sample("y", dist.Categorical(self.frequency)) if y is None else y
                z = pyro.sample("z", self.conditional.prior(y))
                pyro.sample("features", self.conditional.likelihood(z, y))
                return z
            h = pyro.sample("features", self.features.posterior(x))
            y = pyro.sample("y", dist.Categorical(logits=self.known(self.log_q(h), y)))
            return pyro.sample("z", self.conditional.posterior(h, y))

    def programs_of_codes(self) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
        """Model and guide of codes h (B, features.dim) and labels, the M2 that is trained when the features are."""
        return super().model, super().guide

    @torch.no_grad()
    def draw_codes(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A draw h (B, features.dim) of q(h | x), log p(x | h) and log q(h | x), (B,) each."""
        q: TorchDistribution = self.features.posterior(x)
        h = q.sample()
        return h, self.features.likelihood(h).log_prob(x), q.log_prob(h)

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Means (B, dim) of q(z | h, y) at the mean h of q(h | x), at the most probable y where it is unknown."""
        h = self.features.encode(x)
        return self.conditional.encode(h, self.known(self.log_q(h), y).argmax(-1))

    def decode_given(self, z: Tensor, y: Tensor, like: Tensor | None) -> Tensor:
        """``decode`` of codes z (..., dim) and labels y (...)."""
        return self.features.decode(self.conditional.decode(z, y), like=like)
