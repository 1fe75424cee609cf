"""Fully connected networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import nn

from .base import Network, activation_layer, event_shape, hidden_sizes


class MLP(Network):
    """Fully connected layers, each followed by the activation.

    Args:
        in_shape_or_dim: event shape, or its only size; events are flattened.
        hidden: sizes of the layers; ``[]`` only flattens: a linear model.
        activation: one of ``networks.ACTIVATIONS``.

    Raises:
        ValueError: a size below 1 or an unknown activation.

    Example:
        >>> import torch
        >>> MLP((1, 8, 8), [32, 16], activation="tanh")(torch.zeros(7, 5, 1, 8, 8)).shape
        torch.Size([7, 5, 16])
    """

    def __init__(
        self, in_shape_or_dim: int | Sequence[int], hidden: Sequence[int] = (200, 200), activation: str = "relu"
    ) -> None:
        super().__init__()
        self.in_shape = event_shape("in_shape_or_dim", in_shape_or_dim)
        sizes = [math.prod(self.in_shape), *hidden_sizes(hidden, allow_empty=True)]
        self.out_shape = (sizes[-1],)
        layers: list[Any] = [nn.Flatten()]
        for size_in, size_out in zip(sizes, sizes[1:], strict=False):
            layers += [nn.Linear(size_in, size_out), activation_layer(activation)]
        self.layers = nn.Sequential(*layers)

    @classmethod
    def decoder(cls, dim: int, hidden: Sequence[int], shape: Sequence[int], activation: str = "relu") -> MLP:
        """Network from codes of size ``dim``; ``shape``, the data's, is not used."""
        return cls(dim, hidden, activation)
