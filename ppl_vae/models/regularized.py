"""The regularised autoencoder (RAE): b |z|^2 / 2 + w R is added to the loss, R a regulariser of the decoder d.

    gradient: R = |J_d(z)|^2        l2: R = |parameters of d|^2        spectral: no R, but layers of spectral norm 1

After training a density is fitted to the codes, so that the model draws new data: z ~ p(z), x' = d(z).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..checks import check_size, check_weight, nearest
from ..penalties import L2, DecoderGradient, DecoderL2, SpectralNorm
from .autoencoder import Autoencoder
from .density import Density
from .hooks import Concluded
from .protocols import Latent

REGULARIZERS = ("gradient", "l2", "spectral")


class RegularizedAutoencoder(Autoencoder, Latent, Concluded):
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
        scale: units of what the networks and the loss see, "standard", "unit" or None, as of ``Autoencoder``.

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

    prior: Any  # a ``Density``

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
        scale: Literal["standard", "unit"] | None = None,
    ) -> None:
        if regularizer not in REGULARIZERS:
            raise ValueError(f"regularizer {regularizer!r} is unknown; {nearest(str(regularizer), REGULARIZERS)}")
        check_weight("weight", weight)
        length = L2(0.5 * check_weight("code_weight", code_weight))
        length.term = "code"
        smooth = {"gradient": DecoderGradient(weight), "l2": DecoderL2(weight), "spectral": SpectralNorm()}
        super().__init__(encoder, decoder, dim, shape, output, penalty=[length, smooth[regularizer]], scale=scale)
        self.prior = Density(self.dim, check_size("components", components))

    @torch.no_grad()
    def conclude(self, batches: Iterable[Tensor]) -> RegularizedAutoencoder:
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
