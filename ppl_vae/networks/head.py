"""The last layer, from features to the parameters of a distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ..parts import digest
from .base import fold, full_precision, stated


class Head(nn.Module):
    """Last layer: from features of a network to ``parameters`` tensors of an event shape, in float32 or better.

    A 1x1 convolution if the features are an image with the event's height and width, else a linear layer. If the
    network does not state its ``out_shape``, the layer gets its size at first use.

    Args:
        network: the module whose features are the input.
        shape: event shape of each parameter.
        parameters: number of parameters of the distribution.

    Example:
        >>> import torch
        >>> from ppl_vae import networks
        >>> mean, scale = Head(networks.MLP(4, [8]), (3,), parameters=2)(torch.zeros(5, 8))
        >>> mean.shape
        torch.Size([5, 3])
    """

    def __init__(self, network: nn.Module, shape: Sequence[int], parameters: int = 1) -> None:
        super().__init__()
        self.shape, self.parameters_per_event = tuple(shape), parameters
        features = stated(network, "out_shape")
        self.spatial = (
            features is not None and len(features) == 3 and len(self.shape) == 3 and features[1:] == self.shape[1:]
        )
        self.feature_dim = 1 if features is None else len(features)
        size = math.prod(self.shape) * parameters
        self.layer: Any
        if features is None:
            self.layer = nn.LazyLinear(size)
        elif self.spatial:
            self.layer = nn.Conv2d(features[0], self.shape[0] * parameters, 1)
        else:
            self.layer = nn.Linear(math.prod(features), size)
        self._built = None if features is None else digest(self.layer.bias)

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        """Tuple of ``parameters`` tensors (..., *shape) from features (..., *out_shape)."""
        return self.stacked(features).unbind(-1 - len(self.shape))

    def stacked(self, features: Tensor) -> Tensor:
        """The parameters as one tensor (..., parameters, *shape)."""
        if self.spatial:
            out = full_precision(fold(self.layer, features, 3))
            return out.unflatten(-3, (self.parameters_per_event, self.shape[0]))
        if self.feature_dim > 1:
            features = features.flatten(-self.feature_dim)
        out = full_precision(self.layer(features)).unflatten(-1, (self.parameters_per_event, *self.shape))
        if self._built is None:  # the layer got its size just now
            self._built = digest(self.layer.bias)
        return out

    @property
    def fresh(self) -> bool:
        """Whether the bias is still the initial one: not set, loaded or trained."""
        return self._built is not None and digest(self.layer.bias) == self._built

    def bias(self, index: int = 0) -> Tensor:
        """View of the bias of parameter ``index``: shape (channels, 1, 1) when spatial, else the event shape."""
        part = self.layer.bias.chunk(self.parameters_per_event)[index]
        return part.reshape(-1, 1, 1) if self.spatial else part.reshape(self.shape)
