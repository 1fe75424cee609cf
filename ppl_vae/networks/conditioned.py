"""A network of x and y: the features of y are joined to x before the first layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from .base import Network, event_shape, fold, stated
from .condition import Condition
from .mlp import MLP


class Conditioned(Network):
    """A network of x and y: the outermost network of a part that is conditional on y.

    If the inner network takes vectors, x and the features of y are flattened into one; if it takes pictures, the
    features become further channels, a vector as one constant plane per entry. ``in_shape`` is that of x alone.

    Args:
        network: module whose input is x joined with the features of y, such as ``MLP(16 + 10)`` or ``Conv((1 + 10, 28,
            28))``.
        condition: what y is: ``Label``, ``Vector`` or ``Picture``.
        shape: event shape of x; needed if x has several dimensions and the network takes vectors, or if the network
            does not state its ``in_shape``.

    Raises:
        TypeError: not a condition.
        ValueError: a network of the wrong input size; the message says the right one.

    Source: Sohn et al. 2015, "Learning structured output representation using deep conditional generative models".

    Example:
        >>> from ppl_vae import networks
        >>> network = Conditioned(networks.MLP(16 + 10, [32]), networks.Label(10))
        >>> network.in_shape, network(torch.zeros(5, 16), torch.arange(5)).shape
        ((16,), torch.Size([5, 32]))
    """

    def __init__(self, network: nn.Module, condition: Condition, shape: int | Sequence[int] | None = None) -> None:
        super().__init__()
        if not isinstance(network, nn.Module) or isinstance(network, Conditioned):
            raise TypeError(f"network must be a torch.nn.Module that is not itself Conditioned, not {network!r}")
        if not isinstance(condition, Condition):
            raise TypeError(f"condition must be networks.Label, Vector or Picture, not {condition!r}")
        self.layers, self.condition = network, condition
        self.takes = takes = stated(network, "in_shape")
        if shape is None and takes is None:
            raise ValueError("shape is needed, since the network does not state its in_shape")
        self.in_shape = self._outer(takes or ()) if shape is None else event_shape("shape", shape)
        self.flat = len(takes if takes is not None else self.in_shape) == 1
        if takes is not None and takes != condition.joined(self.in_shape, self.flat):
            raise ValueError(self.refusal(self.in_shape))
        out_shape = stated(network, "out_shape")
        if out_shape is not None:
            self.out_shape = out_shape

    @classmethod
    def around(
        cls, network: type[Network], condition: Condition, shape: int | Sequence[int], *args: Any, **kwargs: Any
    ) -> Self:
        """Build an encoder class with the right input size: pictures for convolutions, one vector for others.

        Args:
            network: a class whose first argument is its input shape, such as ``MLP`` or ``Conv``.
            condition: what y is.
            shape: event shape of x.
            args: further arguments of the class.
            kwargs: keyword arguments of the class.

        Example:
            >>> from ppl_vae import networks
            >>> Conditioned.around(networks.MLP, networks.Label(10), (1, 8, 8), [32]).takes
            (74,)
        """
        flat = not (network.pictures and len(event_shape("shape", shape)) == 3)
        return cls(network(condition.joined(shape, flat), *args, **kwargs), condition, shape)  # type: ignore[call-arg]

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Features (..., *out_shape) of x (..., *in_shape) and y (..., *event), whose leading dimensions broadcast."""
        seen = self.condition(self.condition.needed(y)).to(x.dtype)
        x = self._checked(x)
        n, m = len(self.in_shape), len(self.condition.shape)
        own = x.shape[: x.dim() - n]
        lead = torch.broadcast_shapes(own, seen.shape[: seen.dim() - m])
        if math.prod(own) < math.prod(lead) and isinstance(self.layers, MLP) and len(self.layers.layers) > 1:
            return self._shared(self.layers, x.flatten(-n), seen.flatten(-m))
        x, seen = x.expand(*lead, *self.in_shape), seen.expand(*lead, *self.condition.shape)
        if self.flat:
            return fold(self.layers, torch.cat([x.flatten(-n), seen.flatten(-m)], -1), 1)
        if m == 1:
            seen = seen.reshape(*lead, -1, *[1] * (n - 1)).expand(*lead, -1, *self.in_shape[1:])
        return fold(self.layers, torch.cat([x, seen], -n), n)

    def _shared(self, network: MLP, x: Tensor, seen: Tensor) -> Tensor:
        """``forward`` where several y go with one x, as in a sum over classes: x is multiplied once for all of them.

        The first layer is linear, W [x, y] = W [x, 0] + W_y y, so that this is equal to rounding.
        """
        first, size = network.layers[1], seen.shape[-1]
        alone = first(torch.cat([x, x.new_zeros(*x.shape[:-1], size)], -1))
        return fold(network.layers[2:], alone + nn.functional.linear(seen, first.weight[:, -size:]), 1)

    def refusal(self, shape: Sequence[int]) -> str:
        """The message for a wrong input size: what the inner network must take."""
        shape = tuple(shape)
        flat = len(shape) == 1 or len(self.takes or ()) == 1
        needs, takes = self.condition.joined(shape, flat), self.takes or self.in_shape
        beside = f"{'x' if len(shape) == 1 else tuple(shape)} and {self.condition!r}"
        if len(needs) == 1 and len(takes) == 1:
            sizes = f"{needs[0]} = {needs[0] - self.condition.size} + {self.condition.size}"
            return f"network must take {sizes} entries, those of {beside}, not {takes[0]}"
        return f"network must take {needs}, x {shape} joined with {self.condition!r}, not {takes}"

    def _outer(self, takes: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of x if the network takes ``takes``."""
        more = self.condition.size if len(takes) == 1 else self.condition.shape[0]
        if takes[0] <= more:
            raise ValueError(
                f"network must take the entries of x and the {more} of {self.condition!r}, so more than {more}, not "
                f"{takes[0]}"
            )
        return (takes[0] - more, *takes[1:])
