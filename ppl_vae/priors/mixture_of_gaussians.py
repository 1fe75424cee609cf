"""Mixture-of-Gaussians prior: p(z) = sum_c w_c N(z; m_c, diag s_c^2), all learned."""

from __future__ import annotations

import math
import warnings

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from .. import randomness
from ..checks import check_size
from ..distributions.gaussian_mixture import GaussianMixture
from ..distributions.softplus import inverse_softplus
from .base import Prior

SCALE_FLOOR = 1e-6  # keeps the density finite when the softplus underflows
MOST = 20_000  # codes used for a fit
START = math.sqrt(0.5)  # standard deviation of the means about 0, and of each component about its mean


class MixtureOfGaussians(Prior):
    """Diagonal Normals with learned weights, means and scales: clusters in the code.

    It starts with equal weights, means drawn from N(0, 1/2) and scales sqrt(1/2), so the mixture starts with about the
    mean and variance of N(0, I), as encoders do, and no two components are equal.

    Args:
        dim: size of the code.
        components: number of Normals.

    Raises:
        ValueError: fewer than one component.

    Source: Dilokthanakul et al. 2016; Jiang et al. 2017, "Variational deep embedding"; Tomczak and Welling 2018.

    Example:
        >>> prior = MixtureOfGaussians(2, components=3)
        >>> prior.responsibilities(torch.zeros(5, 2)).shape
        torch.Size([5, 3])
    """

    support = constraints.independent(constraints.real, 1)

    def __init__(self, dim: int, components: int = 10) -> None:
        super().__init__(dim)
        self.components = check_size("components", components)
        self.logits = nn.Parameter(torch.zeros(components))
        self.means = nn.Parameter(START * torch.randn(components, dim))
        self.raw_scales = nn.Parameter(torch.full((components, dim), inverse_softplus(START - SCALE_FLOOR)))

    def forward(self, y: Tensor | None = None) -> GaussianMixture:
        """The mixture, event shape (dim,); ``y`` is not used."""
        return GaussianMixture(self.logits, self.means, self._scales)

    @property
    def _scales(self) -> Tensor:
        return F.softplus(self.raw_scales) + SCALE_FLOOR

    def component(self, c: Tensor) -> TorchDistribution:
        """p(z | c) of components c (...): batch shape (...), event shape (dim,)."""
        return dist.Normal(self.means[c], self._scales[c]).to_event(1)

    def responsibilities(self, z: Tensor) -> Tensor:
        """p(c | z) of codes z (..., dim): (..., components), which sum to 1."""
        return self().responsibilities(z)

    @torch.no_grad()
    def start_at(self, codes: Tensor, restarts: int = 2, seed: int = 0) -> MixtureOfGaussians:
        """Start at the mixture that scikit-learn's EM finds in codes (N, dim), N >= components; returns self.

        EM's components have full covariances, which find classes better in the codes of an encoder that was trained
        without a mixture; their weights, means and variances are taken.

        Args:
            codes: of the training data, of which at most 20,000 are used.
            restarts: how often EM starts, each time at another k-means clustering; the most probable result is kept.
            seed: of the k-means clusterings.

        Raises:
            ValueError: too few codes, of another size, or codes that are not finite.

        Source: Jiang et al. 2017, section 3.2; Dempster et al. 1977.

        Example:
            >>> prior = MixtureOfGaussians(2, components=2)
            >>> codes = torch.tensor([[0.0, 0.0], [0.0, 1.0], [9.0, 9.0], [9.0, 8.0]])
            >>> sorted(prior.start_at(codes).means[:, 0].tolist())
            [0.0, 9.0]
        """
        if codes.dim() != 2 or codes.shape[-1] != self.dim or len(codes) < self.components:
            raise ValueError(
                f"codes must hold at least {self.components} codes of size {self.dim}, not a tensor "
                f"{tuple(codes.shape)}"
            )
        if not codes.isfinite().all():
            raise ValueError("codes must be finite; some are NaN or infinite, as after a training that diverged")
        with randomness.unchanged():  # importing scikit-learn draws from Python's random numbers
            from sklearn.exceptions import ConvergenceWarning
            from sklearn.mixture import GaussianMixture as Fitted

            z = codes[:: -(-len(codes) // MOST)].double().cpu()
            unit = z.std(0, correction=0).clamp(min=1e-6)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                em = Fitted(self.components, n_init=restarts, reg_covar=1e-4, random_state=seed)
                em.fit((z / unit).numpy())
        weights, means, variances = (torch.from_numpy(t) for t in (em.weights_, em.means_, em.covariances_))
        variances = variances.diagonal(dim1=-2, dim2=-1)
        self.logits.copy_((weights + 1e-6).log())
        self.means.copy_(means * unit)
        self.raw_scales.copy_(inverse_softplus(variances.sqrt() * unit))
        return self

    def extra_repr(self) -> str:  # noqa: D102
        return f"dim={self.dim}, components={self.components}"
