"""What a model may add to its training: layers to train before the whole of it, and what is left to do after it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..networks import full_precision
from ..parts import Abstract
from .rbm import RBM


class Layer(nn.Module):
    """One autoencoder of a stack: the codes below -> its own code -> the codes below again.

    Its parameters are those of its own encoder and decoder; the layers below are only used.

    Args:
        below: from data to the codes below.
        up: module from those codes and the data to the layer's code.
        down: module from that code to the codes below.
        in_units: from data to the data as the stack's networks see them.
    """

    def __init__(
        self,
        below: Callable[[Tensor], Tensor],
        up: nn.Module,
        down: nn.Module,
        in_units: Callable[[Tensor], Tensor] = lambda x: x,
    ) -> None:
        super().__init__()
        self.below, self.up, self.down, self.in_units = below, up, down, in_units

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes of the layer below (B, d), and what this layer makes of them."""
        x = self.in_units(x)
        with torch.no_grad():
            h = full_precision(self.below(x))
        return h, full_precision(self.down(self.up(h, x)))


class Machine(NamedTuple):
    """An RBM of a stack, whose weights, transposed, become those of the decoder's layer.

    Attributes:
        rbm: the machine.
        below: from data to the codes it models.
        k: of its contrastive divergence.
        down: the decoder's layer.
    """

    rbm: RBM
    below: Callable[[Tensor], Tensor]
    k: int
    down: nn.Linear

    @torch.no_grad()
    def start(self, mean: Tensor) -> None:
        """Let the biases start anew, at the mean of the codes below."""
        self.rbm.code_bias.zero_()
        self.rbm.start_at(mean)

    @torch.no_grad()
    def finish(self) -> None:
        """Give the decoder the machine's weights, transposed."""
        self.down.weight.copy_(self.rbm.weight.mT)


class Layered(Abstract):
    """A model whose layers are trained one after the other before the whole, such as ``StackedAutoencoder``."""

    @abstractmethod
    def stages(self) -> list[tuple[Layer, int]] | list[tuple[Machine, int]]:
        """The layers in the order in which they are trained, from the data up, and for how many epochs each.

        Listing them changes nothing.
        """


class Concluded(Abstract):
    """A model with something left to do when all is trained, such as the density of ``RegularizedAutoencoder``."""

    @abstractmethod
    def conclude(self, batches: Iterable[Tensor]) -> Any:
        """Do it with the training data, x (B, *shape), one batch after the other; it may be called again."""
