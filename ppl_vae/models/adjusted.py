"""The covariate-adjusted VAE: a code of what x says beyond y.

    model:  z ~ p(z),  x ~ p(x | z, y)          guide:  z ~ q(z | x, y)

The decoder is given y, so that z need not repeat it; ``objectives.Adjusted`` adds a penalty on what z still says of y:

    dependence = HSIC(z, y) / sqrt(HSIC(z, z) HSIC(y, y))       over the rows of a batch, 0 if independent

HSIC is the unbiased estimate, with the kernel exp(-|z - z'|^2 / C), C the mean of |z - z'|^2, for codes and for
numbers y; for classes the kernel is 1 where they are equal and 0 elsewhere. Of two classes HSIC is the squared MMD
between their codes, up to a factor.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..likelihoods import Likelihood
from ..networks import Label, Vector
from ..posteriors import Posterior
from ..priors import Prior
from .cvae import CVAE

LEAST = 1e-6  # of a denominator, so that codes or labels that are all equal give 0
FEWEST = 4  # rows that the estimate takes


class AdjustedVAE(CVAE):
    """A ``CVAE`` whose code is to be independent of y, such as cells without their batch, or faces without their age.

    Args:
        prior: p(z), such as ``priors.Normal(dim)``, the same for every y.
        posterior: q(z | x, y), with reparameterised draws; None as for a ``VAE``.
        likelihood: p(x | z, y), of a ``networks.Conditioned``.

    Raises:
        ValueError: parts none of which is conditional, y that is neither a class nor numbers, a likelihood that does
            not see y, a prior that depends on y, a posterior without reparameterised draws, or as of ``VAE``.

    Source: Louizos et al. 2016, "The variational fair autoencoder"; Lopez et al. 2018, "Information constraints on
    auto-encoding variational Bayes" (HSIC); Gretton et al. 2005 and Song et al. 2012 (its estimate).

    Example:
        >>> from ppl_vae import likelihoods, networks, priors
        >>> decoder = networks.Conditioned(networks.MLP(2 + 10, [32]), networks.Label(10))
        >>> model = AdjustedVAE(priors.Normal(2), likelihood=likelihoods.Bernoulli(decoder, (1, 8, 8)))
        >>> model.dependence(torch.randn(50, 2), torch.arange(50) % 10).shape
        torch.Size([])
    """

    def __init__(self, prior: Prior, posterior: Posterior | None = None, likelihood: Likelihood | None = None) -> None:
        super().__init__(prior, posterior, likelihood)
        if not isinstance(self.condition, Label | Vector):
            raise ValueError(f"an AdjustedVAE needs y to be a networks.Label or Vector, not {self.condition!r}")
        if not _sees_y(self.likelihood):
            raise ValueError(
                "the likelihood of an AdjustedVAE must see y, which z leaves out: give it a networks.Conditioned"
            )
        if _sees_y(self.prior):
            raise ValueError(
                f"the prior must be the same for every y, not {type(self.prior).__name__}: use its own prior"
            )
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            like = next(self.parameters())
            x = torch.zeros(2, *self.shape, dtype=like.dtype, device=like.device)
            if not self.posterior(x, self.condition.example(2, x)).has_rsample:
                raise ValueError(
                    f"posterior {type(self.posterior).__name__} has no reparameterised draws, as the penalty needs "
                    "them; use one that has, such as posteriors.Normal"
                )

    def dependence(self, z: Tensor, y: Tensor) -> Tensor:
        """Normalised HSIC of codes z (B, dim) and y (B, *event), a scalar; 0 of fewer than 4 rows.

        It has mean about 0 for independent rows, where it may be negative, and is at most about 1.
        """
        if len(z) < FEWEST:
            return z.new_zeros(())
        if isinstance(self.condition, Vector):
            same = gaussian_kernel(self.condition(y).to(z.dtype))
        else:
            same = (y.unsqueeze(0) == y.unsqueeze(1)).to(z.dtype)
        k = gaussian_kernel(z)
        return hsic(k, same) / (hsic(k, k) * hsic(same, same)).clamp(min=LEAST**2).sqrt()


def gaussian_kernel(a: Tensor) -> Tensor:
    """exp(-|a - a'|^2 / C) of all pairs of rows of a (B, D), (B, B); C, the mean of |a - a'|^2, has no gradient."""
    squared = (a.unsqueeze(0) - a.unsqueeze(1)).square().sum(-1)
    return (-squared / squared.detach().mean().clamp(min=LEAST)).exp()


def hsic(k: Tensor, other: Tensor) -> Tensor:
    """Unbiased estimate of the Hilbert-Schmidt independence criterion of two kernel matrices (B, B), B >= 4; a scalar.

    Source: Song et al. 2012, "Feature selection via dependence maximization", equation 5.

    Example:
        >>> same = (torch.arange(8)[:, None] % 2 == torch.arange(8) % 2).float()
        >>> bool(hsic(same, same) > 0.2), hsic(same, torch.ones(8, 8)).abs().item() < 1e-6
        (True, True)
    """
    n = len(k)
    off = 1 - torch.eye(n, dtype=k.dtype, device=k.device)
    k, other = k * off, other * off
    whole = k.sum() * other.sum() / ((n - 1) * (n - 2))
    crossed = 2 * (k.sum(0) * other.sum(0)).sum() / (n - 2)
    return ((k * other).sum() + whole - crossed) / (n * (n - 3))


def _sees_y(part: torch.nn.Module) -> bool:
    return any(isinstance(module, Label | Vector) for module in part.modules())
