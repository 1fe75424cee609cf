"""The autoencoder with noise on its code: x' = d(e(x) + n), E|n|^2 = s R^2, R^2 = mean |e(x) - mean e(x)|^2.

The experiment that shows why noise alone does not make a VAE: nothing draws the codes together, so that draws from any
distribution over codes still fall between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from ..checks import check_weight
from .autoencoder import Autoencoder


class LatentNoiseAutoencoder(Autoencoder):
    """An autoencoder whose decoder sees codes with Normal noise in training, and the codes as they are afterwards.

    R is the root mean square distance of the batch's codes from their centre. The gradient passes through it, so that
    codes cannot outgrow the noise.

    Args:
        encoder: module from x (B, *shape) to features.
        decoder: module from codes (B, dim) to features.
        dim: size of the code.
        shape: event shape of the data.
        output: "sigmoid" for data in [0, 1], "identity" for real data.
        noise: mean squared length of the noise as a share of R^2.

    Raises:
        ValueError: a negative noise.

    Source: Poole, Sohl-Dickstein and Ganguli 2014, "Analyzing noise in autoencoders and deep networks".

    Example:
        >>> from ppl_vae import networks
        >>> ae = LatentNoiseAutoencoder(networks.MLP(6, [8]), networks.MLP(2, [8]), 2, 6)
        >>> ae(torch.rand(5, 6)).shape
        torch.Size([5, 6])
    """

    constrained = True

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        dim: int,
        shape: int | Sequence[int],
        output: Literal["sigmoid", "identity"] = "sigmoid",
        noise: float = 0.05,
    ) -> None:
        super().__init__(encoder, decoder, dim, shape, output)
        self.noise = check_weight("noise", noise)

    def perturb(self, z: Tensor) -> Tensor:
        """Codes (B, dim) with noise."""
        squared = (z - z.mean(0)).square().sum(1).mean()
        scale = (self.noise * squared / self.dim + torch.finfo(z.dtype).tiny).sqrt()  # the gradient at 0 stays finite
        return z + scale * torch.randn_like(z)

    def forward(self, x: Tensor) -> Tensor:
        """Reconstructions (B, *shape) of x; in training mode from codes with noise."""
        z = self.encode(x)
        return self.decode(self.perturb(z) if self.training else z)
