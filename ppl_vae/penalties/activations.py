"""Penalties on the activations a of a layer, d entries for each example; they make an autoencoder sparse.

    k-sparse:  a' = a on its k largest entries, 0 elsewhere
    L1, L2:    w sum_j |a_j|,  w sum_j a_j^2
    KL:        w sum_j r log(r / m_j) + (1 - r) log((1 - r) / (1 - m_j)),  m_j the mean of a_j over the batch

In a list they apply in order; each cost is that of the activations that the next layer gets, after any ``KSparse``.
"""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from ..checks import check_size
from ..networks import ACTIVATIONS
from ..networks.base import Network
from .base import Coder, Pass, Penalty, Weighted


class ActivationPenalty(Penalty):
    """Base of the penalties on the activations of one layer: the code, or a hidden layer with ``Hidden``."""

    @abstractmethod
    def cost(self, a: Tensor) -> Tensor | None:
        """The term of the loss for activations a (B, d): (B,), a scalar for the batch, or None."""

    def forward(self, seen: Pass) -> Tensor | None:
        """The cost of the code."""
        return self.cost(seen.code)

    def attach(self, model: Coder) -> None:
        """ValueError unless the penalty fits the code."""
        self.check(model.dim, model.code)

    def check(self, size: int, squash: str) -> None:
        """ValueError unless the penalty fits a layer of ``size`` entries with activation function ``squash``."""


class KSparse(ActivationPenalty):
    """Keeps the k largest activations of every example and sets the others to 0, also in the gradient.

    Args:
        k: number of entries kept.

    Raises:
        ValueError: k below 1; when the model is built, k larger than the layer.

    Source: Makhzani and Frey 2014, "k-sparse autoencoders".

    Example:
        >>> KSparse(2).restrict(torch.tensor([[0.1, -3.0, 2.0, 0.5]]))
        tensor([[0.0000, 0.0000, 2.0000, 0.5000]])
    """

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = check_size("k", k)

    def cost(self, a: Tensor) -> None:
        """No cost."""

    def restrict(self, a: Tensor) -> Tensor:
        """Activations (..., d), all but the k largest 0."""
        top = a.topk(self.k, -1)
        return torch.zeros_like(a).scatter(-1, top.indices, top.values)

    def check(self, size: int, squash: str) -> None:
        """ValueError if the layer has fewer than k entries."""
        if self.k > size:
            raise ValueError(f"k must be at most the size of the layer, {size}, not {self.k}")

    def extra_repr(self) -> str:  # noqa: D102
        return f"k={self.k}"


class L1(Weighted, ActivationPenalty):
    """Sum of the absolute activations, times a weight.

    Args:
        weight: of the penalty, in units of the reconstruction error.

    Raises:
        ValueError: a negative weight.

    Source: Olshausen and Field 1996; Ng 2011, "Sparse autoencoder".

    Example:
        >>> L1(0.5).cost(torch.tensor([[1.0, -3.0]]))
        tensor([2.])
    """

    def __init__(self, weight: float = 0.1) -> None:
        super().__init__(weight)

    def cost(self, a: Tensor) -> Tensor:
        """Penalty of each example, (B,)."""
        return self.weight * a.abs().sum(-1)


class L2(Weighted, ActivationPenalty):
    """Sum of the squared activations, times a weight.

    Args:
        weight: of the penalty, in units of the reconstruction error.

    Raises:
        ValueError: a negative weight.

    Example:
        >>> L2(0.5).cost(torch.tensor([[1.0, -3.0]]))
        tensor([5.])
    """

    def __init__(self, weight: float = 0.1) -> None:
        super().__init__(weight)

    def cost(self, a: Tensor) -> Tensor:
        """Penalty of each example, (B,)."""
        return self.weight * a.square().sum(-1)


class KLRate(Weighted, ActivationPenalty):
    """KL divergence from a target rate to the mean activation of every entry over the batch, summed over the entries.

    Args:
        rate: target mean activation, between 0 and 1.
        weight: of the penalty, in units of the reconstruction error.

    Raises:
        ValueError: a rate outside (0, 1), a negative weight; when the model is built, activations outside (0, 1).

    Source: Lee, Ekanadham and Ng 2008; Ng 2011, "Sparse autoencoder".

    Example:
        >>> KLRate(0.25).cost(torch.full((3, 2), 0.25))
        tensor(0.)
    """

    squash = "sigmoid"

    def __init__(self, rate: float = 0.05, weight: float = 0.1) -> None:
        super().__init__(weight)
        if not _is_number(rate) or not 0 < rate < 1:
            raise ValueError(
                f"rate must be a mean activation between 0 and 1, both excluded, such as 0.05, not {rate!r}"
            )
        self.rate = rate

    def cost(self, a: Tensor) -> Tensor:
        """Penalty of the batch, a scalar."""
        mean = a.flatten(0, -2).mean(0)
        tiny = torch.finfo(a.dtype).tiny  # keeps the log of a mean activation of 0 finite
        on, off = mean.clamp(min=tiny).log(), (1 - mean).clamp(min=tiny).log()
        least = self.rate * math.log(self.rate) + (1 - self.rate) * math.log1p(-self.rate)
        return self.weight * (least - self.rate * on - (1 - self.rate) * off).sum()

    def check(self, size: int, squash: str) -> None:
        """ValueError unless the activations lie between 0 and 1."""
        if squash != "sigmoid":
            raise ValueError(
                f"KLRate needs activations between 0 and 1: make its layer's activation 'sigmoid', not {squash!r}"
            )

    def extra_repr(self) -> str:  # noqa: D102
        return f"rate={self.rate:g}, weight={self.weight:g}"


class Hidden(Penalty):
    """A penalty on the activations of a hidden layer of the encoder instead of the code.

    Args:
        penalty: the ``ActivationPenalty`` on the layer.
        layer: which of the encoder's hidden layers, counted from 0. The encoder must be one of ``networks`` that is a
            chain of layers, such as an MLP, or an ``nn.Sequential``.

    Raises:
        TypeError: a penalty of another kind; when the model is built, an encoder that is not a chain of layers.
        ValueError: when the model is built, a layer that does not exist, or that the penalty does not fit.

    Source: Ng 2011, "Sparse autoencoder".

    Example:
        >>> from ppl_vae import models, networks
        >>> encoder, decoder = networks.MLP(6, [8, 5], "sigmoid"), networks.MLP(2, [8])
        >>> ae = models.Autoencoder(encoder, decoder, 2, 6, penalty=[Hidden(KLRate(0.1), 0), Hidden(KSparse(2), 1)])
        >>> ae.penalised(torch.rand(5, 6))[1]["penalty"].shape
        torch.Size([])
    """

    def __init__(self, penalty: ActivationPenalty, layer: int) -> None:
        super().__init__()
        if not isinstance(penalty, ActivationPenalty):
            raise TypeError(f"penalty must be one on activations, such as penalties.L1(0.1), not {penalty!r}")
        self.penalty, self.term = penalty, penalty.term
        self.layer: int = check_size("layer", layer, least=0)

    def forward(self, seen: Pass) -> Tensor | None:
        """The cost of the layer's activations."""
        return self.penalty.cost(seen.hidden[self.layer].flatten(1))

    def restrict(self, a: Tensor) -> Tensor:
        """Activations (B, ...) as the next layer sees them."""
        return self.penalty.restrict(a.flatten(1)).view_as(a)

    def attach(self, model: Coder) -> None:
        """TypeError or ValueError unless the encoder has the layer, and the penalty fits it."""
        layers = chain(model.encoder)
        ends = [index for index, layer in enumerate(layers) if is_activation(layer)]
        if self.layer >= len(ends):
            raise ValueError(f"layer must be below the encoder's {len(ends)} hidden layers, not {self.layer}")
        until = nn.Sequential(*copy.deepcopy(layers[: ends[self.layer] + 1]))
        until = until.to("meta", torch.float32).eval()  # shapes without values
        size = until(torch.zeros(1, *model.shape, device="meta", dtype=torch.float32)).numel()
        squash = next(name for name, cls in ACTIVATIONS.items() if type(layers[ends[self.layer]]) is cls)
        self.penalty.check(size, squash)


def chain(encoder: nn.Module) -> list[nn.Module]:
    """The layers of an encoder that is a chain of layers.

    Raises:
        TypeError: an encoder of another kind.
    """
    if isinstance(encoder, Network) and type(encoder).forward is Network.forward:
        encoder = encoder.layers
    if not isinstance(encoder, nn.Sequential):
        raise TypeError(
            "encoder must be a chain of layers, such as networks.MLP(shape, [200]), for a penalty on a hidden layer, "
            f"not {type(encoder).__name__}"
        )
    return [*encoder]


def is_activation(layer: nn.Module) -> bool:
    """Whether a layer of a chain ends one of its hidden layers."""
    return type(layer) in ACTIVATIONS.values()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
