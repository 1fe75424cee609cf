"""The convolutional autoencoder: strided convolutions down to the code, transposed ones back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ..networks import Conv
from .autoencoder import Autoencoder


class ConvAutoencoder(Autoencoder):
    """An ``Autoencoder`` of ``networks.Conv`` and its mirror image.

    Args:
        dim: size of the code.
        shape: (channels, height, width) of the data.
        hidden: channels of the layers, each of which halves the image.
        activation: between the layers, one of ``networks.ACTIVATIONS``.
        output: "sigmoid" for data in [0, 1], "identity" for real data.

    Raises:
        ValueError: data that are no images, or sizes below 1.

    Source: Masci et al. 2011, "Stacked convolutional auto-encoders".

    Example:
        >>> import torch
        >>> ConvAutoencoder(4, (1, 8, 8), [8, 16])(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 1, 8, 8])
    """

    def __init__(
        self,
        dim: int,
        shape: Sequence[int],
        hidden: Sequence[int] = (32, 64),
        activation: str = "relu",
        output: Literal["sigmoid", "identity"] = "sigmoid",
    ) -> None:
        encoder = Conv(shape, hidden, activation)
        decoder = Conv.decoder(dim, [*reversed(hidden)], shape, activation)
        super().__init__(encoder, decoder, dim, shape, output)
