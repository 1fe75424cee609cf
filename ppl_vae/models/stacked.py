"""The stacked autoencoder: layer by layer, each trained to give back the codes of the layer below; then all together.

    h_0 = x,  h_l = f_l(h_{l-1}),  h'_{l-1} = g_l(h_l),  loss of layer l: |h_{l-1} - h'_{l-1}|^2

With ``beside=True`` each encoder after the first also gets the data: h_l = f_l(h_{l-1}, x).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..checks import check_size
from ..networks import MLP, full_precision
from .autoencoder import Autoencoder
from .hooks import Layer, Layered


class _Up(nn.Module):
    """activation(W h + b), or activation(W h + V x + b) if the layer also gets the data."""

    def __init__(self, linear: nn.Module, activation: nn.Module, beside: nn.Module | None) -> None:
        super().__init__()
        self.linear, self.activation, self.beside = linear, activation, beside

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        out = self.linear(h)
        return self.activation(out if self.beside is None else out + self.beside(x.flatten(1)))


class StackedAutoencoder(Autoencoder, Layered):
    """A deep autoencoder that ``fit`` pre-trains greedily, one layer after the other, before it trains all of it.

    Args:
        encoder: a ``networks.MLP`` from the data.
        decoder: its mirror image, ``networks.MLP(dim, [*reversed(hidden)])``.
        dim: size of the code.
        shape: event shape of the data.
        output: "sigmoid" for data in [0, 1], "identity" for real data.
        pretrain: epochs of pre-training for each layer; 0 for none.
        beside: whether each encoder after the first gets the data as well as the previous code.
        scale: units of what the networks and the loss see, "standard", "unit" or None, as of ``Autoencoder``.

    Raises:
        TypeError: networks that are no MLPs.
        ValueError: layers that do not mirror each other.

    Source: Bengio et al. 2007, "Greedy layer-wise training of deep networks".

    Example:
        >>> from ppl_vae import networks
        >>> stack = StackedAutoencoder(networks.MLP(6, [8, 5]), networks.MLP(2, [5, 8]), 2, 6)
        >>> [sum(p.numel() for p in layer.parameters()) for layer, epochs in stack.stages()]
        [110, 93, 27]
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        dim: int,
        shape: int | Sequence[int],
        output: Literal["sigmoid", "identity"] = "sigmoid",
        pretrain: int = 10,
        beside: bool = False,
        scale: Literal["standard", "unit"] | None = None,
    ) -> None:
        super().__init__(encoder, decoder, dim, shape, output, scale=scale)
        self.pretrain = check_size("pretrain", pretrain, least=0)
        up, down = _sizes("encoder", encoder), _sizes("decoder", decoder)
        if up[1:] != down[:0:-1]:
            raise ValueError(f"decoder must mirror the encoder's layers {up[1:]}: {up[:0:-1]}, not {down[1:]}")
        self.depth = len(up)  # the code included
        sizes = [*up[2:], self.dim] if beside and self.depth > 1 else []
        self.beside = nn.ModuleList(nn.Linear(up[0], size, bias=False) for size in sizes)

    def activations(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Codes (B, dim) of x (B, *shape) in the networks' units; there are no penalties on hidden layers."""
        return full_precision(self.codes(x, self.depth)), []

    def codes(self, x: Tensor, layer: int) -> Tensor:
        """Codes (B, d) of x (B, *shape) in the networks' units, in a layer, counted from 0, the data."""
        h = x.flatten(1)
        for index in range(layer):
            h = self._up(index)(h, x)
        return h

    def stages(self) -> list[tuple[Layer, int]]:
        """The layers in the order in which they are trained, from the data up, and for how many epochs each."""
        layers = range(self.depth if self.pretrain else 0)
        return [(Layer(self._below(i), self._up(i), self._down(i), self.in_units), self.pretrain) for i in layers]

    def _below(self, index: int) -> Callable[[Tensor], Tensor]:
        return lambda x: self.codes(x, index)

    def _up(self, index: int) -> _Up:
        last = index == self.depth - 1
        linear, activation = (self.to_code.layer, nn.Identity()) if last else _pair(self.encoder, index)
        return _Up(linear, activation, self.beside[index - 1] if index and len(self.beside) else None)

    def _down(self, index: int) -> nn.Module:
        if index:
            return nn.Sequential(*_pair(self.decoder, self.depth - 1 - index))
        return nn.Sequential(self.to_data.layer, nn.Sigmoid() if self.output == "sigmoid" else nn.Identity())


def _pair(network: Any, index: int) -> tuple[nn.Module, nn.Module]:
    """Linear map and activation of a layer of an MLP, which begins with a Flatten."""
    return network.layers[1 + 2 * index], network.layers[2 + 2 * index]


def _sizes(argument: str, network: Any) -> list[int]:
    """Sizes of an MLP's input and its layers."""
    if not isinstance(network, MLP):
        raise TypeError(f"{argument} must be a networks.MLP to be stacked layer by layer, not {type(network).__name__}")
    layers: Any = network.layers
    return [torch.Size(network.in_shape).numel(), *(layer.out_features for layer in layers[1::2])]
