"""Convolutional networks, and mirrored ones from codes to images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..checks import check_size
from .base import Network, activation_layer, event_shape, hidden_sizes, image_shape


def channels_last(x: Tensor) -> Tensor:
    """The images (B, C, H, W), on a CPU in the channels-last memory format.

    Convolutions on a CPU keep this format from layer to layer, forward and backward, and are faster with it.
    """
    if x.device.type != "cpu":
        return x
    if x.shape[1] == 1:  # with one channel both formats have the same order, and only the strides differ
        return x.squeeze(1).unsqueeze(-1).movedim(-1, 1)
    return x.contiguous(memory_format=torch.channels_last)


class ImageLayers(nn.Sequential):
    """Layers for images in the channels-last format."""

    def forward(self, x: Tensor) -> Tensor:
        """Output of the layers for images (B, C, H, W)."""
        return super().forward(channels_last(x))


class Unflatten(nn.Unflatten):
    """Rows to images in the channels-last format."""

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) of rows (B, C * H * W)."""
        return channels_last(super().forward(x))


class Block(nn.Module):
    """x + f(x): activation, 3x3 convolution to half the channels, activation, 1x1 convolution.

    It lets a place see its neighbours too (van den Oord et al. 2017).
    """

    def __init__(self, channels: int, activation: str) -> None:
        super().__init__()
        half = max(1, channels // 2)
        first, second = nn.Conv2d(channels, half, 3, padding=1), nn.Conv2d(half, channels, 1)
        self.body = nn.Sequential(activation_layer(activation), first, activation_layer(activation), second)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, channels, H, W), changed."""
        return x + self.body(x)


class Conv(Network):
    """Encoder: a 3x3 convolution with stride 2 for each hidden size (its channels), each followed by the activation.

    Args:
        in_shape: (channels, height, width).
        hidden: channels of the layers.
        activation: one of ``networks.ACTIVATIONS``.
        flatten: whether the features are one vector; else they are a grid (channels, height, width), as a VQ-VAE needs
            them to keep a code for every place.
        blocks: residual blocks at the smallest size, without normalisation, which let a place of a grid see more of the
            picture than its own patch.

    Example:
        >>> import torch
        >>> Conv((1, 28, 28), [16, 32])(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5, 1568])
        >>> Conv((1, 28, 28), [16, 32], flatten=False).out_shape
        (32, 7, 7)
    """

    pictures = True

    def __init__(
        self,
        in_shape: Sequence[int],
        hidden: Sequence[int] = (32, 64),
        activation: str = "relu",
        flatten: bool = True,
        blocks: int = 0,
    ) -> None:
        super().__init__()
        self.in_shape = image_shape("in_shape", in_shape)
        channels, *sides = self.in_shape
        layers: list[nn.Module] = []
        for size in hidden_sizes(hidden):
            layers += [nn.Conv2d(channels, size, 3, stride=2, padding=1), activation_layer(activation)]
            channels, sides = size, [(side + 1) // 2 for side in sides]
        layers += [Block(channels, activation) for _ in range(check_size("blocks", blocks, least=0))]
        self.out_shape = (channels * math.prod(sides),) if flatten else (channels, *sides)
        self.layers = ImageLayers(*layers, *([nn.Flatten()] if flatten else []))

    @classmethod
    def decoder(
        cls,
        dim: int | Sequence[int],
        hidden: Sequence[int],
        shape: Sequence[int],
        activation: str = "relu",
        flatten: bool = True,
        blocks: int = 0,
    ) -> ConvTranspose:
        """The mirrored network, from codes of size ``dim`` to features with the image's height and width.

        The mirror of an encoder that does not ``flatten`` takes a grid of codes, ``dim`` being (channels, height,
        width).
        """
        return ConvTranspose(dim, hidden, shape, activation, blocks)


class ConvTranspose(Network):
    """Decoder of 3x3 transposed convolutions with stride 2, from a code to (hidden[-1], height, width).

    Args:
        dim: size of the code, or the shape of a grid of codes (channels, height, width), whose height and width are
            those of the smallest layer.
        hidden: channels, widest first; the code is mapped to ``hidden[0]`` channels at the smallest size.
        shape: shape of the decoded image; only height and width are used.
        activation: one of ``networks.ACTIVATIONS``.
        blocks: residual blocks at the smallest size, as of ``Conv``.

    Raises:
        ValueError: a grid of another height or width than the smallest layer's.

    Example:
        >>> import torch
        >>> ConvTranspose(16, [64, 32], (1, 28, 28))(torch.zeros(3, 5, 16)).shape
        torch.Size([3, 5, 32, 28, 28])
        >>> ConvTranspose((16, 7, 7), [64, 32], (1, 28, 28))(torch.zeros(5, 16, 7, 7)).shape
        torch.Size([5, 32, 28, 28])
    """

    def __init__(
        self,
        dim: int | Sequence[int],
        hidden: Sequence[int],
        shape: Sequence[int],
        activation: str = "relu",
        blocks: int = 0,
    ) -> None:
        super().__init__()
        self.in_shape = event_shape("dim", dim)
        _, *target = image_shape("shape", shape)
        hidden = hidden_sizes(hidden)
        sides = [target]
        for _ in hidden:
            sides.append([(side + 1) // 2 for side in sides[-1]])
        sides.reverse()
        if len(self.in_shape) == 1:
            first = nn.Linear(*self.in_shape, hidden[0] * math.prod(sides[0]))
            layers: list[nn.Module] = [first, activation_layer(activation), Unflatten(1, (hidden[0], *sides[0]))]
        else:
            if self.in_shape[1:] != tuple(sides[0]):
                raise ValueError(
                    f"dim {self.in_shape} must have the height and width of the smallest layer, {tuple(sides[0])}: "
                    f"those of {tuple(target)} halved {len(hidden)} times"
                )
            layers = [nn.Conv2d(self.in_shape[0], hidden[0], 3, padding=1), activation_layer(activation)]
        channels = hidden[0]
        layers += [Block(channels, activation) for _ in range(check_size("blocks", blocks, least=0))]
        for size, small, large in zip([*hidden[1:], hidden[-1]], sides, sides[1:], strict=False):
            bottom, right = (b - (2 * a - 1) for a, b in zip(small, large, strict=True))
            layers.append(nn.ConvTranspose2d(channels, size, 3, stride=2, padding=1, output_padding=(bottom, right)))
            layers.append(activation_layer(activation))
            channels = size
        self.out_shape = (channels, *target)
        self.layers = nn.Sequential(*layers) if len(self.in_shape) == 1 else ImageLayers(*layers)
