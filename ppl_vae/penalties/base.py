"""The base of penalties: functions of one pass through an autoencoder, x -> code -> reconstruction."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor, nn

from ..checks import check_weight
from ..networks import Head
from ..parts import Part


class Coder(Protocol):
    """What a penalty uses of its autoencoder."""

    encoder: nn.Module
    decoder: nn.Module
    to_data: Head
    dim: int
    shape: tuple[int, ...]
    code: str

    @property
    def sigmoid_layer(self) -> Tensor | None:
        """W (dim, entries) where the code is sigmoid(W x + b), else None."""


@dataclass(frozen=True)
class Pass:
    """One pass through an autoencoder, the argument of its penalties.

    Attributes:
        model: the autoencoder.
        x: the encoder's input, (B, *shape); with a corruption, the corrupted data.
        code: its code of x, (B, dim), before any corruption of the code.
        out: the reconstructions, (B, *shape).
        hidden: activations of the encoder's hidden layers, (B, ...) each, if a penalty needs them.
        pull_code: maps v (B, dim) to (v'J,), J the encoder's Jacobian at x, if a penalty needs it.
        pull_out: maps v (B, *shape) to (v'J,), J the decoder's Jacobian at its input, if a penalty needs it.
    """

    model: Coder
    x: Tensor
    code: Tensor
    out: Tensor
    hidden: Sequence[Tensor] = ()
    pull_code: Callable[[Tensor], tuple[Tensor]] | None = None
    pull_out: Callable[[Tensor], tuple[Tensor]] | None = None


class Penalty(Part):
    """Base of the penalties. A call returns the term to add to the loss, (B,) or a scalar for the batch, or None.

    Attributes:
        term: name of the cost in a history; costs with the same name are summed.
        squash: activation function of the code, or of a hidden layer, that fits the penalty.
        layer: hidden layer of the encoder that ``restrict`` applies to, counted from 0; None for the code.
    """

    term: str = "penalty"
    squash: Literal["identity", "sigmoid", "relu"] = "identity"
    layer: int | None = None

    @abstractmethod
    def forward(self, seen: Pass) -> Tensor | None:
        """The term to add to the loss, weight included: (B,), a scalar for the batch, or None."""

    def jacobian(self, model: Coder) -> Literal["encoder", "decoder"] | None:
        """The Jacobian that the call needs: ``Pass.pull_code`` is the encoder's, ``Pass.pull_out`` the decoder's."""
        return None

    def restrict(self, a: Tensor) -> Tensor:
        """Activations (B, ...) of its layer as the next layer gets them."""
        return a

    def attach(self, model: Coder) -> None:
        """Called once, when the model is built: ValueError unless the penalty fits it."""


class Weighted(Penalty):
    """Base of the penalties with a weight.

    Args:
        weight: of the penalty, in units of the reconstruction error.
    """

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = check_weight("weight", weight)

    def extra_repr(self) -> str:
        """The weight."""
        return f"weight={self.weight:g}"
