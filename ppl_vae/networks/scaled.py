"""A network that sees data in units of their own: (x - shift) / unit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, Self

import torch
from torch import Tensor, nn

from .base import Network, event_shape, fold, stated
from .conditioned import Conditioned
from .table_encoder import TableEncoder
from .units import Units

Map = Callable[[Tensor], Tensor]


class Scaled(Network):
    """A network whose input x is scaled first, for encoders of data in any units; ``fit`` sets the units.

    Inside a ``Conditioned`` network only the entries of x are scaled. Outside of a ``FillMissing`` one, missing entries
    are filled in in these units: a ``fill`` of 0 is the column's mean, or with ``by="unit"`` its minimum.

    Args:
        network: module from (x - shift) / unit to features.
        shape: event shape of x.
        by: "standard" for the mean and standard deviation of every column, or channel of pictures, in the training
            rows; "unit" for their minimum and range.

    Raises:
        TypeError: a network that is no module.
        ValueError: a network of another input shape or that is ``Conditioned``, or another word.

    Source: LeCun et al. 1998, "Efficient backprop", section 4.3.

    Example:
        >>> from ppl_vae import data, networks
        >>> network = Scaled(networks.MLP(2, [8]), 2)
        >>> network.start(data.as_split(torch.tensor([[10.0, 1.0], [30.0, 5.0]])))
        >>> network.units.shift, network.units.unit
        (tensor([20.,  3.]), tensor([10.,  2.]))
    """

    def __init__(
        self, network: nn.Module, shape: int | Sequence[int], by: Literal["standard", "unit"] = "standard"
    ) -> None:
        super().__init__()
        if not isinstance(network, nn.Module):
            raise TypeError(f"network must be a torch.nn.Module, such as networks.MLP(6, [200]), not {network!r}")
        self.in_shape = event_shape("shape", shape)
        if isinstance(network, Conditioned):
            raise ValueError("network is Conditioned, which must be outermost: use Scaled.around(network)")
        takes = stated(network, "in_shape")
        if takes not in (None, self.in_shape):
            raise ValueError(f"network takes {takes}, but shape is {self.in_shape}")
        self.layers, self.units = network, Units(shape, by)
        out_shape = stated(network, "out_shape")
        if out_shape is not None:
            self.out_shape = out_shape

    @classmethod
    def around(cls, network: Network, by: Literal["standard", "unit"] = "standard") -> Self | Conditioned:
        """The network scaled, inside its condition where it is ``Conditioned``.

        Args:
            network: a network that states its ``in_shape``.
            by: as for the class.

        Example:
            >>> from ppl_vae import networks
            >>> Scaled.around(networks.Conditioned(networks.MLP(6 + 10, [8]), networks.Label(10))).takes
            (16,)
        """
        if isinstance(network, Conditioned):
            inner = cls(network.layers, network.takes or network.condition.joined(network.in_shape, network.flat), by)
            return type(network)(inner, network.condition, network.in_shape)
        return cls(network, network.in_shape, by)

    def forward(self, x: Tensor) -> Tensor:
        """Features (..., *out_shape) of x (..., *in_shape)."""
        return fold(self.layers, self.units(self._checked(x)), len(self.in_shape))


def units_of(module: nn.Module, shape: Sequence[int]) -> tuple[Map, Map] | None:
    """Data of an event shape in the units in which a network inside a module sees them, and back; None for their own.

    Example:
        >>> from ppl_vae import networks
        >>> network = networks.TableEncoder(2, [8], kinds={1: "positive"})
        >>> in_units, back = units_of(network, (2,))
        >>> in_units(torch.ones(2)), back(torch.zeros(2))
        (tensor([1., 0.]), tensor([0., 1.]))
    """
    for part in module.modules():
        if isinstance(part, TableEncoder):
            return part.in_units, part.back
        if isinstance(part, Scaled):
            return partial(_in, *part.units.of(torch.Size(shape))), partial(_back, *part.units.of(torch.Size(shape)))
    return None


def middle_of(module: nn.Module, shape: Sequence[int]) -> Tensor | float:
    """Zero of the units in which a network inside a module sees data of an event shape, or 0 where it has none.

    Example:
        >>> from ppl_vae import networks
        >>> middle_of(networks.MLP(2, [8]), (2,))
        0.0
    """
    shape = torch.Size(shape)
    units = units_of(module, shape)
    if units is not None:
        return units[1](torch.zeros(shape))
    found = next((part for part in module.modules() if isinstance(part, Units)), None)
    return 0.0 if found is None else found.of(shape)[0].expand(shape)


def _in(shift: Tensor, unit: Tensor, x: Tensor) -> Tensor:
    return (x - shift) / unit


def _back(shift: Tensor, unit: Tensor, u: Tensor) -> Tensor:
    return shift + unit * u
