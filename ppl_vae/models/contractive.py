"""The contractive autoencoder: w |J_e(x)|^2 is added to the loss, J_e the Jacobian of the encoder.

For one sigmoid layer h = sigmoid(W x + b) it is in closed form sum_j (h_j (1 - h_j))^2 sum_i W_ji^2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..checks import check_size, check_weight
from ..networks import MLP
from .autoencoder import Autoencoder, check_code, squashed
from .jacobian import squared_jacobian


class ContractiveAutoencoder(Autoencoder):
    """An autoencoder whose code is made to change little where the data do.

    The squared Frobenius norm of the encoder's Jacobian is exact: in closed form for one sigmoid layer (an encoder
    ``networks.MLP(shape, [])``), else by one backward pass through the encoder for each entry of the code. For large
    codes and encoders ``probes`` random passes estimate it without bias.

    Args:
        encoder: module from x (B, *shape) to features, without batch normalisation.
        decoder: module from codes (B, dim) to features.
        dim: size of the code; it may exceed the data's.
        shape: event shape of the data.
        output: "sigmoid" for data in [0, 1], "identity" for real data.
        weight: of the squared norm, in units of the reconstruction error.
        code: activation of the code, "identity", "sigmoid" or "relu".
        probes: passes of Hutchinson's estimate; none for the exact norm.

    Raises:
        ValueError: a negative weight, or an encoder with batch normalisation.

    Source: Rifai et al. 2011, "Contractive auto-encoders".

    Example:
        >>> import torch
        >>> from ppl_vae import networks
        >>> ae = ContractiveAutoencoder(networks.MLP(6, []), networks.MLP(3, []), 3, 6)
        >>> ae.penalised(torch.rand(5, 6))[1]["contraction"].shape
        torch.Size([5])
    """

    constrained = True

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        dim: int,
        shape: int | Sequence[int],
        output: Literal["sigmoid", "identity"] = "sigmoid",
        weight: float = 0.1,
        code: Literal["identity", "sigmoid", "relu"] = "sigmoid",
        probes: int | None = None,
    ) -> None:
        super().__init__(encoder, decoder, dim, shape, output)
        self.weight, self.code = check_weight("weight", weight), check_code(code)
        self.probes = None if probes is None else check_size("probes", probes)
        if any(isinstance(module, _BatchNorm) for module in encoder.modules()):
            raise ValueError(
                "encoder must have no batch normalisation, which makes the code of an example depend on the others; "
                "networks.MLP and networks.Conv have none"
            )

    def encode(self, x: Tensor) -> Tensor:
        """Codes (B, dim) of x (B, *shape)."""
        return squashed(super().encode(x), self.code)

    def penalised(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Reconstructions (B, *shape) of x, and the weighted squared norm of the encoder's Jacobian, (B,)."""
        one_layer = isinstance(self.encoder, MLP) and len(self.encoder.layers) == 1  # type: ignore[arg-type]
        if one_layer and self.code == "sigmoid" and self.probes is None:
            z = self.encode(x)
            slopes = (z * (1 - z)).square()
            squared = slopes @ self.to_code.layer.weight.square().sum(1)
        else:
            z, squared = squared_jacobian(self.encode, x, self.probes)
        return self.decode(z), {"contraction": self.weight * squared}
