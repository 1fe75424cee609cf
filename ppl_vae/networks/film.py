"""FiLM: y scales and shifts the features of every hidden layer.

h -> (1 + g_l(y)) h + b_l(y)        g_l, b_l linear in the features of y, 0 at the start
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy

from .base import Network, event_shape, fold, stated
from .condition import Condition
from .conditioned import Conditioned


class FiLM(Conditioned):
    """A network of x and y: feature-wise linear modulation of a network of x alone, which it equals at the start.

    Every linear layer, convolution and batch normalisation is modulated, before its activation; of a convolution and
    the batch normalisation behind it only the latter. The inner network takes x alone, unlike that of ``Conditioned``.

    Args:
        network: module of x, such as ``MLP(16)`` or ``Conv((1, 28, 28))``.
        condition: what y is: ``Label`` or ``Vector``.
        shape: event shape of x; needed if the network does not state its ``in_shape``.

    Raises:
        TypeError: not a network, or not a condition.
        ValueError: a condition on pictures, a network of another input shape or without a layer to modulate.

    Source: Perez et al. 2018, "FiLM: visual reasoning with a general conditioning layer".

    Example:
        >>> from ppl_vae import networks
        >>> network = FiLM(networks.MLP(16, [32]), networks.Label(10))
        >>> network.in_shape, network(torch.zeros(5, 16), torch.arange(5)).shape
        ((16,), torch.Size([5, 32]))
    """

    def __init__(self, network: nn.Module, condition: Condition, shape: int | Sequence[int] | None = None) -> None:
        Network.__init__(self)  # the inner network's size is that of x, which Conditioned would refuse
        if not isinstance(network, nn.Module) or isinstance(network, Conditioned):
            raise TypeError(f"network must be a torch.nn.Module that is not itself conditional, not {network!r}")
        if not isinstance(condition, Condition):
            raise TypeError(f"condition must be networks.Label or Vector, not {condition!r}")
        if len(condition.shape) != 1:
            raise ValueError(f"FiLM takes y as a networks.Label or Vector, not {condition!r}; use networks.Conditioned")
        takes = stated(network, "in_shape")
        if shape is None and takes is None:
            raise ValueError("shape is needed, since the network does not state its in_shape")
        self.layers, self.condition = network, condition
        self.in_shape = takes if shape is None and takes is not None else event_shape("shape", shape)
        self.takes, self.flat = self.in_shape, len(self.in_shape) == 1
        if takes not in (None, self.in_shape):
            raise ValueError(self.refusal(self.in_shape))
        self._names = [name for name, _ in _modulated(network)]
        if not self._names:
            raise ValueError(f"network {type(network).__name__} has no hidden layer that y could scale and shift")
        sizes = (_channels(layer) for _, layer in _modulated(network))
        self.moves = nn.ParameterList(torch.zeros(condition.size, 2 * size) for size in sizes)
        out_shape = stated(network, "out_shape")
        if out_shape is not None:
            self.out_shape = out_shape

    @classmethod
    def around(
        cls, network: type[Network], condition: Condition, shape: int | Sequence[int], *args: Any, **kwargs: Any
    ) -> Self:
        """Build a network class for x of this shape.

        Args:
            network: a class whose first argument is its input shape, such as ``MLP`` or ``Conv``.
            condition: what y is.
            shape: event shape of x.
            args: further arguments of the class.
            kwargs: keyword arguments of the class.

        Example:
            >>> from ppl_vae import networks
            >>> FiLM.around(networks.MLP, networks.Label(10), (1, 8, 8), [32]).takes
            (1, 8, 8)
        """
        return cls(network(shape, *args, **kwargs), condition, shape)  # type: ignore[call-arg]

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Features (..., *out_shape) of x (..., *in_shape) and y (..., *event), whose leading dimensions broadcast."""
        seen = self.condition(self.condition.needed(y)).to(x.dtype)
        x, n = self._checked(x), len(self.in_shape)
        lead = torch.broadcast_shapes(x.shape[: x.dim() - n], seen.shape[:-1])
        x, seen = x.expand(*lead, *self.in_shape), seen.expand(*lead, -1).reshape(-1, self.condition.size)
        layers = [self.layers.get_submodule(name) for name in self._names]
        # Hooks reach the layers inside any network; they are there only during this call.
        hooks = [
            layer.register_forward_hook(partial(_move, seen @ move))
            for layer, move in zip(layers, self.moves, strict=True)
        ]
        try:
            out = fold(self.layers, x.reshape(-1, *self.in_shape), n)
        finally:
            for hook in hooks:
                hook.remove()
        return out.reshape(*lead, *out.shape[1:])

    def refusal(self, shape: Sequence[int]) -> str:
        """The message for a wrong input size: what the inner network must take."""
        takes = stated(self.layers, "in_shape") or self.in_shape
        return f"network must take {tuple(shape)}, the shape of x, under FiLM, not {takes}"


def _move(by: Tensor, _: nn.Module, __: Any, h: Tensor) -> Tensor:
    """H (B, channels, ...) scaled and shifted by (B, 2 * channels)."""
    scale, shift = (part.reshape(*part.shape, *[1] * (h.dim() - 2)) for part in by.to(h.dtype).chunk(2, -1))
    return (1 + scale) * h + shift


def _modulated(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Names and layers to modulate: of a layer and the batch normalisation behind it, the latter."""
    if isinstance(network, nn.Linear | _ConvNd | _BatchNorm):
        yield "", network
    for prefix, parent in network.named_modules():
        children = list(parent.named_children())
        followed = [*(child for _, child in children[1:]), None] if isinstance(parent, nn.Sequential) else []
        for i, (name, child) in enumerate(children):
            normalised = bool(followed) and isinstance(followed[i], _BatchNorm)
            if isinstance(child, nn.Linear | _ConvNd | _BatchNorm) and not normalised:
                yield f"{prefix}.{name}".strip("."), child


def _channels(layer: Any) -> int:
    """Channels of what a layer gives."""
    if any(is_lazy(p) for p in layer.parameters()):
        raise ValueError(f"network has a layer without a size, {layer!r}; give it one, or run the network once before")
    if isinstance(layer, nn.Linear):
        return layer.out_features
    return layer.out_channels if isinstance(layer, _ConvNd) else layer.num_features
