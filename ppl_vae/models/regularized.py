"""The regularised autoencoder (RAE): b |z|^2 / 2 + w R is added to the loss, R a regulariser of the decoder d.

    gradient: R = |J_d(z)|^2        l2: R = |parameters of d|^2        spectral: no R, but layers of spectral norm 1

After training a density is fitted to the codes, so that the model draws new data: z ~ p(z), x' = d(z).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..checks import check_size, check_weight, nearest
from .autoencoder import Autoencoder
from .density import Density
from .hooks import Concluded
from .jacobian import squared_jacobian

REGULARIZERS = ("gradient", "l2", "spectral")


class RegularizedAutoencoder(Autoencoder, Concluded):
    """A deterministic autoencoder that samples: a smooth decoder, and a density of the codes.

    Args:
        encoder: module from x (B, *shape) to features.
        decoder: module from codes (B, dim) to features.
        dim: size of the code.
        shape: event shape of the data.
        output: "sigmoid" for data in [0, 1], "identity" for real data.
        regularizer: of the decoder: "gradient" for the squared norm of its Jacobian (estimated by one random backward
            pass), "l2" for that of its parameters, "spectral" for linear and convolutional layers of spectral norm 1.
        weight: of the regulariser, in units of the reconstruction error; no part of "spectral".
        code_weight: b, of the codes' squared length.
        components: Normals in the density of the codes; 1 for a single one.

    Raises:
        ValueError: an unknown regulariser or a negative weight.

    Source: Ghosh et al. 2020, "From variational to deterministic autoencoders".

    Example:
        >>> from ppl_vae import networks
        >>> rae = RegularizedAutoencoder(networks.MLP(6, [8]), networks.MLP(2, [8]), 2, 6)
        >>> _ = rae.conclude([torch.rand(50, 6)])
        >>> rae.decode(rae.prior().sample((5,))).shape
        torch.Size([5, 6])
    """

    constrained = True

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        dim: int,
        shape: int | Sequence[int],
        output: Literal["sigmoid", "identity"] = "sigmoid",
        regularizer: Literal["gradient", "l2", "spectral"] = "gradient",
        weight: float = 0.01,
        code_weight: float = 0.01,
        components: int = 10,
    ) -> None:
        super().__init__(encoder, decoder, dim, shape, output)
        if regularizer not in REGULARIZERS:
            raise ValueError(f"regularizer {regularizer!r} is unknown; {nearest(str(regularizer), REGULARIZERS)}")
        self.regularizer = regularizer
        self.weight = check_weight("weight", weight)
        self.code_weight = check_weight("code_weight", code_weight)
        self.prior = Density(self.dim, check_size("components", components))
        if regularizer == "spectral":
            for module in [*decoder.modules(), self.to_data.layer]:
                if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                    outputs = 1 if isinstance(module, nn.ConvTranspose2d) else 0
                    parametrize.register_parametrization(module, "weight", _UnitNorm(module.weight, outputs))

    def penalised(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Reconstructions (B, *shape) of x, the penalty of the codes (B,) and that of the decoder, (B,) or a scalar."""
        z = self.encode(x)
        penalties = {"code": 0.5 * self.code_weight * z.square().sum(1)}
        if self.regularizer == "gradient":
            out, squared = squared_jacobian(self.decode, z, probes=1)
            return out, penalties | {"gradient": self.weight * squared}
        if self.regularizer == "l2":
            squares = [p.square().sum() for part in (self.decoder, self.to_data) for p in part.parameters()]
            penalties["l2"] = self.weight * torch.stack(squares).sum()
        return self.decode(z), penalties

    @torch.no_grad()
    def conclude(self, batches: Iterable[Any]) -> RegularizedAutoencoder:
        """Fit the density to the codes of the training data.

        Args:
            batches: x (B, *shape), one batch after the other.

        Returns:
            the model itself.
        """
        mode = self.training
        self.eval()
        self.prior.fit(torch.cat([self.encode(x) for x in batches]))
        return self.train(mode)


class _UnitNorm(nn.Module):
    """A weight divided by its spectral norm, which one power iteration a training step keeps up with.

    torch's own parametrisation cannot be captured as a graph. Source: Miyato et al. 2018.
    """

    u: Tensor

    def __init__(self, weight: Tensor, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.register_buffer("u", F.normalize(torch.randn(weight.shape[outputs]), dim=0))
        for _ in range(15):
            self(weight)

    def forward(self, weight: Tensor) -> Tensor:
        matrix = weight.movedim(self.outputs, 0).flatten(1)
        with torch.no_grad():
            v = F.normalize(matrix.mT @ self.u, dim=0)
            u = F.normalize(matrix @ v, dim=0)
            if self.training:
                self.u.copy_(u)
        return weight / (u @ matrix @ v)
