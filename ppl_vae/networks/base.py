"""Base class of the networks, checks of shapes, and folding of leading dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..checks import check_size, nearest
from ..parts import Part

ACTIVATIONS = {
    "relu": nn.ReLU,
    "leaky-relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "identity": nn.Identity,
}


def activation_layer(name: str) -> nn.Module:
    """The layer of an activation by its name."""
    if name not in ACTIVATIONS:
        raise ValueError(f"activation {name!r} is unknown; {nearest(str(name), ACTIVATIONS)}")
    return ACTIVATIONS[name]()


def event_shape(argument: str, value: Any) -> tuple[int, ...]:
    """An event shape, given as one size or several."""
    if not isinstance(value, int | Sequence):
        raise TypeError(f"{argument} must be a whole number or several, such as (1, 8, 8), not {type(value).__name__}")
    sizes = (value,) if isinstance(value, int) else tuple(value)
    return tuple(check_size(argument, size) for size in sizes)


def image_shape(argument: str, value: Any) -> tuple[int, int, int]:
    """The event shape of an image: (channels, height, width)."""
    shape = event_shape(argument, value)
    if len(shape) != 3:
        raise ValueError(f"{argument} must be an image shape (channels, height, width), not {shape}; use networks.MLP")
    return shape


def stated(network: Any, name: str) -> tuple[int, ...] | None:
    """``in_shape`` or ``out_shape`` of a network; None if a network of another kind does not state it."""
    shape = getattr(network, name, None)
    return None if shape is None else tuple(shape)


def hidden_sizes(value: Sequence[int], allow_empty: bool = False) -> list[int]:
    """Sizes of hidden layers, or channels."""
    hidden = [check_size("hidden", size) for size in ([value] if isinstance(value, int) else value)]
    if not hidden and not allow_empty:
        raise ValueError("hidden must hold at least one size for a convolutional network, not []")
    return hidden


def fold(network: nn.Module, x: Tensor, event_dim: int) -> Tensor:
    """Run ``network`` on x (..., *event) as one batch of events and restore the leading dimensions.

    Example:
        >>> fold(nn.Conv2d(1, 4, 3), torch.zeros(5, 2, 1, 8, 8), event_dim=3).shape
        torch.Size([5, 2, 4, 6, 6])
    """
    lead = x.shape[: x.dim() - event_dim]
    if len(lead) == 1:
        return network(x)
    out = network(x.reshape(-1, *x.shape[x.dim() - event_dim :]))
    return out.reshape(*lead, *out.shape[1:])


def full_precision(x: Tensor) -> Tensor:
    """``x`` in float32 if it is half or bfloat16, since densities need at least float32."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class Network(Part):
    """Base of the networks: checks the event shape and folds leading dimensions around ``layers``.

    Attributes:
        in_shape: event shape of the input, a tuple of ints.
        out_shape: shape of the features, ``(features,)`` or ``(channels, height, width)``.
        pictures: whether events must be pictures (channels, height, width).
    """

    _needs: ClassVar[tuple[str, ...]] = ("layers",)
    pictures = False
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    layers: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """Features (..., *out_shape) of x (..., *in_shape)."""
        return fold(self.layers, self._checked(x), len(self.in_shape))

    def _checked(self, x: Tensor) -> Tensor:
        n = len(self.in_shape)
        if x.dim() < n or tuple(x.shape[x.dim() - n :]) != self.in_shape:
            raise ValueError(
                f"{type(self).__name__} was built for events of shape {self.in_shape}, not a tensor {tuple(x.shape)}"
            )
        return x
