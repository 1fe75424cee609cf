"""The denoising autoencoder: x' = d(e(c(x))), compared with the clean x."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from .autoencoder import Autoencoder


class DenoisingAutoencoder(Autoencoder):
    """An autoencoder whose encoder sees corrupted data in training, and the data as they are in evaluation mode.

    Args:
        encoder: module from x (B, *shape) to features.
        decoder: module from codes (B, dim) to features.
        dim: size of the code; it may exceed the data's.
        shape: event shape of the data.
        corruption: one of ``ppl_vae.corruptions``, or a module from x to corrupted x.
        output: "sigmoid" for data in [0, 1], "identity" for real data.

    Raises:
        TypeError: a corruption that is not an ``nn.Module``.

    Source: Vincent et al. 2008, "Extracting and composing robust features with denoising autoencoders".

    Example:
        >>> import torch
        >>> from ppl_vae import corruptions, networks
        >>> encoder, decoder = networks.MLP(6, [8]), networks.MLP(2, [8])
        >>> DenoisingAutoencoder(encoder, decoder, 2, 6, corruptions.Masking(0.5))(torch.ones(5, 6)).shape
        torch.Size([5, 6])
    """

    constrained = True

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        dim: int,
        shape: int | Sequence[int],
        corruption: nn.Module,
        output: Literal["sigmoid", "identity"] = "sigmoid",
    ) -> None:
        super().__init__(encoder, decoder, dim, shape, output)
        if not isinstance(corruption, nn.Module):
            raise TypeError(
                f"corruption must be a torch.nn.Module, such as corruptions.Masking(0.3), not {corruption!r}"
            )
        self.corruption = corruption

    def forward(self, x: Tensor) -> Tensor:
        """Reconstructions (B, *shape): in training mode of corrupted x, otherwise of x."""
        return super().forward(self.corruption(x) if self.training else x)
