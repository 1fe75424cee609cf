"""A density over codes, fitted after training: a Normal, or a mixture of Normals with full covariances."""

from __future__ import annotations

import warnings

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

MOST = 50_000  # codes used for the fit


class Density(nn.Module):
    """p(z) = sum_c w_c N(z; m_c, L_c L_c'), N(0, I) until it is fitted.

    Args:
        dim: size of the code.
        components: number of Normals.

    Source: Ghosh et al. 2020, "From variational to deterministic autoencoders", section 4.
    """

    weights: Tensor
    means: Tensor
    scale_tril: Tensor
    support = constraints.independent(constraints.real, 1)

    def __init__(self, dim: int, components: int) -> None:
        super().__init__()
        self.components = components
        self.register_buffer("weights", torch.full((components,), 1 / components))
        self.register_buffer("means", torch.zeros(components, dim))
        self.register_buffer("scale_tril", torch.eye(dim).repeat(components, 1, 1))

    def forward(self, y: Tensor | None = None) -> dist.MixtureSameFamily:
        """The distribution, event shape (dim,); ``y`` is not used."""
        normals = dist.MultivariateNormal(self.means, scale_tril=self.scale_tril)
        return dist.MixtureSameFamily(dist.Categorical(self.weights), normals)

    @torch.no_grad()
    def fit(self, codes: Tensor) -> Density:
        """Fit to codes (N, dim) by expectation maximisation; unused components get weight 0.

        Returns:
            the density itself.
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture

        z = codes[:: max(1, len(codes) // MOST)].double().cpu()
        unit = z.std(0, correction=0).clamp(min=1e-12)
        count = min(self.components, len(z))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            found = GaussianMixture(count, reg_covar=1e-4, random_state=0).fit((z / unit).numpy())
        self.weights.zero_()
        self.weights[:count] = torch.from_numpy(found.weights_).to(self.weights)
        self.means[:count] = (torch.from_numpy(found.means_) * unit).to(self.means)
        tril = torch.linalg.cholesky(torch.from_numpy(found.covariances_))
        self.scale_tril[:count] = (unit[:, None] * tril).to(self.scale_tril)
        return self
