"""Penalties on the decoder's weights: w |parameters|^2, or layers of spectral norm 1."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from .base import Coder, Pass, Penalty, Weighted


class DecoderL2(Weighted):
    """Sum of the squares of all parameters of the decoder, times a weight.

    Args:
        weight: of the penalty, in units of the reconstruction error.

    Raises:
        ValueError: a negative weight.

    Source: Ghosh et al. 2020, "From variational to deterministic autoencoders".

    Example:
        >>> from ppl_vae import models, networks
        >>> ae = models.Autoencoder(networks.MLP(6, [8]), networks.MLP(3, [8]), 3, 6, penalty=DecoderL2(0.1))
        >>> ae.penalised(torch.rand(5, 6))[1]["l2"].shape
        torch.Size([])
    """

    term = "l2"

    def __init__(self, weight: float = 0.01) -> None:
        super().__init__(weight)

    def forward(self, seen: Pass) -> Tensor:
        """Penalty, a scalar."""
        parts = (seen.model.decoder, seen.model.to_data)
        return self.weight * torch.stack([p.square().sum() for part in parts for p in part.parameters()]).sum()


class SpectralNorm(Penalty):
    """Divides the weight of every linear and convolutional layer of the decoder by its spectral norm; adds no cost.

    Source: Miyato et al. 2018; Ghosh et al. 2020, "From variational to deterministic autoencoders".

    Example:
        >>> from ppl_vae import models, networks
        >>> ae = models.Autoencoder(networks.MLP(6, [8]), networks.MLP(3, [8]), 3, 6, penalty=SpectralNorm())
        >>> for _ in range(100):  # power iterations
        ...     _ = ae.penalised(torch.zeros(1, 6))
        >>> round(torch.linalg.matrix_norm(ae.to_data.layer.weight, 2).item(), 2)
        1.0
    """

    def forward(self, seen: Pass) -> None:
        """No cost; in training mode one step of the power iterations."""
        for module in [*seen.model.decoder.modules(), *seen.model.to_data.modules()]:
            if isinstance(module, parametrize.ParametrizationList) and module.training:
                for part in module:
                    if isinstance(part, _UnitNorm):
                        part.step(module.original)

    def attach(self, model: Coder) -> None:
        """Add the division to the weights of the layers."""
        for module in [*model.decoder.modules(), *model.to_data.modules()]:
            if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                outputs = 1 if isinstance(module, nn.ConvTranspose2d) else 0
                parametrize.register_parametrization(module, "weight", _UnitNorm(module.weight, outputs))


class _UnitNorm(nn.Module):
    """A weight divided by its spectral norm, which one power iteration per training step estimates.

    torch's own parametrisation cannot be captured as a graph and updates its state inside ``torch.func``, which forbids
    it.
    """

    u: Tensor

    def __init__(self, weight: Tensor, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.register_buffer("u", F.normalize(torch.randn(weight.shape[outputs]), dim=0))
        for _ in range(16):
            self.step(weight)

    def forward(self, weight: Tensor) -> Tensor:
        matrix, u, v = self._iterated(weight)
        return weight / (u @ matrix @ v)

    def step(self, weight: Tensor) -> None:
        self.u.copy_(self._iterated(weight)[1])

    def _iterated(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The weight as a matrix, and its singular vectors after one more power iteration."""
        matrix = weight.movedim(self.outputs, 0).flatten(1)
        with torch.no_grad():
            v = F.normalize(matrix.mT @ self.u, dim=0)
            return matrix, F.normalize(matrix @ v, dim=0), v
