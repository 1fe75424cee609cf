"""The plain autoencoder: z = e(x), x' = d(z), an ``nn.Module`` without Pyro.

Its relatives override ``forward`` where training differs from use (noise), and ``penalised`` where something is added
to the loss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from ..checks import check_size
from ..networks import Head, event_shape, fold
from ..parts import Part


class Autoencoder(Part):
    """Encoder and decoder networks, each followed by a linear head.

    With a code no smaller than the data it can learn the identity, and training warns of it; a penalty or a corruption
    (sparse, denoising, contractive) keeps an overcomplete code from that.

    Args:
        encoder: module from x (B, *shape) to features.
        decoder: module from codes (B, dim) to features.
        dim: size of the code.
        shape: event shape of the data.
        output: "sigmoid" for data in [0, 1], "identity" for real data.

    Raises:
        TypeError: a network that is not an ``nn.Module``.
        ValueError: networks that do not take the data or the codes, or an unknown output.

    Source: Rumelhart, Hinton and Williams 1986; Hinton and Salakhutdinov 2006.

    Example:
        >>> from ppl_vae import networks
        >>> ae = Autoencoder(networks.MLP((1, 8, 8), [32]), networks.MLP(4, [32]), 4, (1, 8, 8))
        >>> ae(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 1, 8, 8])
    """

    constrained = False
    """Whether something other than a small code keeps the model from the identity."""

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        dim: int,
        shape: int | Sequence[int],
        output: Literal["sigmoid", "identity"] = "sigmoid",
    ) -> None:
        super().__init__()
        if output not in ("sigmoid", "identity"):
            raise ValueError(f"output must be 'sigmoid' or 'identity', not {output!r}")
        self.dim, self.shape, self.output = check_size("dim", dim), event_shape("shape", shape), output
        for name, network, takes in (("encoder", encoder, self.shape), ("decoder", decoder, (self.dim,))):
            if not isinstance(network, nn.Module):
                raise TypeError(
                    f"{name} must be a torch.nn.Module, such as networks.MLP(shape, [200]), not {network!r}"
                )
            if tuple(getattr(network, "in_shape", takes)) != takes:
                raise ValueError(f"the {name} takes {network.in_shape}, where {takes} is needed")
        self.encoder, self.decoder = encoder, decoder
        self.to_code = Head(encoder, (dim,))
        self.to_data = Head(decoder, self.shape)

    @property
    def overcomplete(self) -> bool:
        """Whether nothing keeps the model from the identity: neither a small code nor a penalty or corruption."""
        narrowest = min(self.dim, math.prod(getattr(self.encoder, "out_shape", (self.dim,))))
        return not self.constrained and narrowest >= math.prod(self.shape)

    @property
    def support(self) -> constraints.Constraint:
        """Constraint on one entry of the data."""
        return constraints.unit_interval if self.output == "sigmoid" else constraints.real

    def encode(self, x: Tensor) -> Tensor:
        """Codes (B, dim) of x (B, *shape)."""
        return self.to_code(self.encoder(x))[0]

    def decode(self, z: Tensor) -> Tensor:
        """Reconstructions (..., *shape) of codes z (..., dim)."""
        (out,) = self.to_data(fold(self.decoder, z, 1))
        return torch.sigmoid(out) if self.output == "sigmoid" else out

    def forward(self, x: Tensor) -> Tensor:
        """Reconstructions (B, *shape) of x (B, *shape)."""
        return self.decode(self.encode(x))

    def penalised(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Reconstructions (B, *shape) of x, and what is to be added to the loss: (B,) or scalars, by name."""
        return self(x), {}


def squashed(z: Tensor, name: str) -> Tensor:
    """Codes behind their activation: "identity", "sigmoid" or "relu"."""
    return z if name == "identity" else torch.sigmoid(z) if name == "sigmoid" else torch.relu(z)


def check_code(name: str) -> str:
    """ValueError unless ``name`` is an activation that a code may have."""
    if name not in ("identity", "sigmoid", "relu"):
        raise ValueError(f"code must be 'identity', 'sigmoid' or 'relu', not {name!r}")
    return name
