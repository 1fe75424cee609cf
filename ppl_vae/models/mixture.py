"""The VAE whose code comes from one of several components, for clustering.

    model:  y ~ Cat(w),  z ~ N(m_y, diag s_y^2),  x ~ p(x | z)          guide:  z ~ q(z | x),  y ~ p(y | z)

p(y | z) is the exact posterior of the component, so that log p(y, z) - log p(y | z) = log p(z) for every y: bounds and
importance weights are those of a ``VAE`` whose prior is the mixture, with or without a sum over y.
"""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
from pyro.distributions import TorchDistribution
from torch import Tensor

from ..likelihoods import Likelihood
from ..networks import Label
from ..posteriors import Posterior
from ..priors import MixtureOfGaussians
from .protocols import Clustering
from .vae import VAE

DRAWS = 64  # of q(z | x), over which ``assign`` averages


class MixtureVAE(VAE, Clustering):
    """A ``VAE`` with a mixture of Gaussians as its prior, whose component is a site ``y`` of model and guide.

    y is never given with x: labels beside x are not used. Without x, ``model(y=...)`` draws from components.
    ``objectives.Clustering`` trains it, starting the mixture at the codes of an autoencoder. ``SVI`` sums over y by
    ``estimators.Enum``, for which the decoder runs once, not once a component.

    Args:
        prior: the mixture p(z); its components are the clusters.
        posterior: q(z | x); None as for a ``VAE``.
        likelihood: p(x | z).

    Raises:
        TypeError: another prior.
        ValueError: a prior of 1 component, parts that are conditional, or as of ``VAE``.

    Source: Jiang et al. 2017, "Variational deep embedding"; Dilokthanakul et al. 2016, "Deep unsupervised clustering
    with Gaussian mixture variational autoencoders".

    Example:
        >>> import torch
        >>> from ppl_vae import likelihoods, networks, priors
        >>> prior = priors.MixtureOfGaussians(2, components=3)
        >>> vae = MixtureVAE(prior, likelihood=likelihoods.Bernoulli(networks.MLP(2, [32]), (1, 8, 8)))
        >>> vae.assign(torch.zeros(5, 1, 8, 8)).shape, vae.model(y=torch.tensor([2, 2])).shape
        (torch.Size([5, 3]), torch.Size([2, 1, 8, 8]))
    """

    usual = {"prior": "mixture-of-gaussians", "estimator": "enum"}
    enumerated = True

    def __init__(
        self,
        prior: MixtureOfGaussians,
        posterior: Posterior | None = None,
        likelihood: Likelihood | None = None,
    ) -> None:
        if not isinstance(prior, MixtureOfGaussians):
            raise TypeError(
                "prior must be a priors.MixtureOfGaussians, whose components are the clusters, not a "
                f"{type(prior).__name__}"
            )
        if prior.components < 2:
            raise ValueError("prior has 1 component, but clusters are at least 2; give it more components")
        super().__init__(prior, posterior, likelihood)
        if self.condition is not None:
            raise ValueError(
                f"a part of the MixtureVAE is conditional on {self.condition!r}, but its y is the component, which "
                "only the code depends on; give it networks without a condition"
            )
        self._marginal = (VAE(prior, posterior or self.posterior, likelihood),)  # in a tuple: registered already

    @property
    def components(self) -> int:  # type: ignore[override]
        """How many clusters."""
        return self.prior.components

    @property
    def drawn_by(self) -> Label:  # type: ignore[override]
        """What y is in ``model(y=...)``: a component."""
        return Label(self.components)

    @property
    def marginal(self) -> VAE:
        """The same parts as a ``VAE``, whose programs have no site y; its bounds are equal."""
        return self._marginal[0]

    def assign(self, x: Tensor) -> Tensor:
        """E_q(z | x) p(y | z), (B, components), the average over 64 draws of q(z | x)."""
        return self.prior.responsibilities(self.posterior(x).sample((DRAWS,))).mean(0)

    def component(self, y: Tensor) -> TorchDistribution:
        """p(z | y) of components y (B,).

        Raises:
            ValueError: y that are no components.
        """
        self.drawn_by.check(y, len(y))
        return self.prior.component(y)

    def generate(self, x: Tensor | None, y: Tensor | None) -> Tensor:  # noqa: D102
        y = self._draw_component(x, y)
        z = pyro.sample("z", self.prior.component(y))
        return pyro.sample("x", self.likelihood(z), obs=x)

    def infer(self, x: Tensor | None, y: Tensor | None) -> Tensor:  # noqa: D102
        if x is None:
            return pyro.sample("z", self.prior.component(self._draw_component(x, y)))
        z = pyro.sample("z", self.posterior(x))
        found = dist.Categorical(logits=self.prior().joint(z))
        infer: Any = {"enumerate": "parallel", "own_dimension": True}
        pyro.sample("y", found, infer=infer)
        return z

    def _draw_component(self, x: Tensor | None, y: Tensor | None) -> Tensor:
        """The site y of the model, observed where components are given to draw from."""
        given = y if x is None else None
        if given is not None:
            self.component(given)  # which checks it
        return pyro.sample("y", dist.Categorical(logits=self.prior.logits), obs=given)
