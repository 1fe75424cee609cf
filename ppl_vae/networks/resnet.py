"""Residual networks (He et al. 2016b), and mirrored ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from .base import Network, activation_layer
from .conv import Conv, ConvTranspose


class _Residual(nn.Module):
    """x + f(x) with two 3x3 convolutions, batch-normalised, pre-activated (He et al. 2016b)."""

    def __init__(self, channels: int, activation: str) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(channels),
            activation_layer(activation),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            activation_layer(activation),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def _with_residuals(layers: Any, activation: str) -> nn.Sequential:
    """The layers with a residual block after the activation of every strided convolution."""
    out: list[nn.Module] = []
    channels = None
    for layer in layers.children():
        out.append(layer)
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            channels = layer.out_channels
        elif channels is not None:
            out.append(_Residual(channels, activation))
            channels = None
    return type(layers)(*out)


class ResNet(Network):
    """``Conv`` with a batch-normalised residual block after every halving.

    Args:
        in_shape: (channels, height, width).
        hidden: channels of the stages.
        activation: one of ``networks.ACTIVATIONS``.
        flatten: whether the features are one vector; else they are a grid (channels, height, width).

    Example:
        >>> import torch
        >>> ResNet((3, 32, 32), [16, 32])(torch.zeros(2, 5, 3, 32, 32)).shape
        torch.Size([2, 5, 2048])
    """

    pictures = True

    def __init__(
        self,
        in_shape: Sequence[int],
        hidden: Sequence[int] = (32, 64),
        activation: str = "relu",
        flatten: bool = True,
    ) -> None:
        super().__init__()
        plain = Conv(in_shape, hidden, activation, flatten)
        self.in_shape, self.out_shape = plain.in_shape, plain.out_shape
        self.layers = _with_residuals(plain.layers, activation)

    @classmethod
    def decoder(
        cls,
        dim: int | Sequence[int],
        hidden: Sequence[int],
        shape: Sequence[int],
        activation: str = "relu",
        flatten: bool = True,
    ) -> ResNetTranspose:
        """The mirrored network, as of ``Conv``."""
        return ResNetTranspose(dim, hidden, shape, activation)


class ResNetTranspose(Network):
    """``ConvTranspose`` with a batch-normalised residual block after every doubling.

    Args:
        dim: size of the code, or the shape of a grid of codes (channels, height, width).
        hidden: channels, widest first.
        shape: shape of the image to be decoded.
        activation: one of ``networks.ACTIVATIONS``.

    Example:
        >>> import torch
        >>> ResNetTranspose(16, [32, 16], (3, 32, 32))(torch.zeros(5, 16)).shape
        torch.Size([5, 16, 32, 32])
    """

    def __init__(
        self, dim: int | Sequence[int], hidden: Sequence[int], shape: Sequence[int], activation: str = "relu"
    ) -> None:
        super().__init__()
        plain = ConvTranspose(dim, hidden, shape, activation)
        self.in_shape, self.out_shape = plain.in_shape, plain.out_shape
        self.layers = _with_residuals(plain.layers, activation)
