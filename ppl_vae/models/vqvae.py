"""The VQ-VAE: an encoder whose vectors are rounded to a codebook, and a likelihood of x given the codes.

    v = e(x), a grid of vectors        c = the quantizer's codes of v        p(x | c) = likelihood of its values of c

It is trained by ``objectives.Reconstruction`` on

    -log p(x | c) + sum over the grid of |sg v - q|^2 + commitment * |v - sg q|^2

(sg: no gradient; the codebook's term is absent where it moves by running means), and then its prior p(c) on the codes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from ..checks import check_size
from ..code_priors import CodePrior
from ..likelihoods import Likelihood
from ..networks import Head, event_shape, stated
from ..quantizers import Quantized, Quantizer
from .quantizing import QuantizingModel


class VQVAE(QuantizingModel):
    """Vector-quantised autoencoder: integer codes on a grid, a codebook, any likelihood, and a prior over the codes.

    The grid is that of the likelihood's network: one that takes (dim, height, width), such as
    ``networks.ConvTranspose((16, 7, 7), ...)``, makes a code for every place of a picture; one that takes n * dim
    numbers makes n codes.

    Args:
        encoder: module from x (B, *shape) to features: best (channels, height, width) of the grid, such as
            ``networks.Conv(shape, flatten=False)``, whose vectors are then mapped place by place; else a linear layer
            makes the grid.
        quantizer: one of ``ppl_vae.quantizers``.
        likelihood: one of ``ppl_vae.likelihoods``, whose network takes the quantised vectors.
        code_prior: one of ``ppl_vae.code_priors``, trained in a stage of its own after the autoencoder; None for the
            frequencies of the codes in the training data, place by place, which take no training.
        positions: number of codes, or height and width of their grid, where the likelihood's network does not state its
            ``in_shape``.

    Raises:
        TypeError: parts that are not of their kind.
        ValueError: networks that do not take the data or the vectors, or a prior that does not fit the grid.

    Source: van den Oord et al. 2017, "Neural discrete representation learning".

    Example:
        >>> import torch
        >>> from ppl_vae import likelihoods, networks, quantizers
        >>> vq = VQVAE(
        ...     networks.Conv((1, 8, 8), [16, 32], flatten=False),
        ...     quantizers.VectorQuantizer(32, 4),
        ...     likelihoods.Bernoulli(networks.ConvTranspose((4, 2, 2), [32, 16], (1, 8, 8)), (1, 8, 8)),
        ... )
        >>> codes = vq.encode(torch.rand(5, 1, 8, 8))
        >>> codes.shape, codes.dtype, vq.decode(codes).shape
        (torch.Size([5, 2, 2]), torch.int64, torch.Size([5, 1, 8, 8]))
    """

    def __init__(
        self,
        encoder: nn.Module,
        quantizer: Quantizer,
        likelihood: Likelihood,
        code_prior: CodePrior | None = None,
        positions: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__(encoder, quantizer, likelihood)
        self.grid = _grid(stated(likelihood.network, "in_shape"), quantizer.dim, positions)
        flat = len(self.grid) == 1
        self.to_vectors = Head(encoder, (*self.grid, quantizer.dim) if flat else (quantizer.dim, *self.grid))
        self._complete(code_prior)

    @property
    def code_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """Event shape of the codes: that of the grid, and of the quantizer's codes of one vector."""
        return (*self.grid, *self.quantizer.code_shape)

    @property
    def levels(self) -> list[Quantizer]:
        """The quantizer."""
        return [self.quantizer]

    @property
    def last_layers(self) -> list[Any]:
        """The layer that makes the vectors."""
        return [self.to_vectors.layer]

    @property
    def grids(self) -> list[tuple[int, ...]]:
        """The grid of the vectors."""
        return [self.grid]

    def vectors(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The encoder's vectors (B, *grid, dim) of x (B, *shape), before they are quantised."""
        (out,) = self.to_vectors(self.features(x, y))
        return out if len(self.grid) == 1 else out.movedim(-1 - len(self.grid), -1)

    def encoded(self, level: int, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The same, of the only level."""
        return self.vectors(x, y)

    def quantize(self, x: Tensor, y: Tensor | None = None) -> Quantized:
        """Vectors as the likelihood takes them, codes and costs of x (B, *shape); costs are sums over the grid."""
        found, count = self.quantizer(self.vectors(x, y)), math.prod(self.grid)
        costs = {name: count * term for name, term in found.loss_terms.items()}
        return replace(found, values=self._arranged(found.values), loss_terms=costs)

    def values_at(self, codes: Tensor) -> Tensor:
        """Vectors of integer codes (..., *code_shape): (..., dim, height, width), or (..., n * dim)."""
        return self._arranged(self.quantizer.lookup(codes))

    def _arranged(self, values: Tensor) -> Tensor:
        return values.flatten(-2) if len(self.grid) == 1 else values.movedim(-1, -1 - len(self.grid))


def _grid(takes: tuple[int, ...] | None, dim: int, positions: int | Sequence[int] | None) -> tuple[int, ...]:
    """The grid of vectors of size ``dim`` that a network of input shape ``takes`` needs."""
    asked = None if positions is None else event_shape("positions", positions)
    if takes is None:
        if asked is None:
            raise ValueError(
                "the likelihood's network does not state its in_shape; give positions, such as (7, 7) or 8"
            )
        found = asked
    elif len(takes) == 1 and takes[0] % dim == 0:
        found = (takes[0] // dim,)
    elif len(takes) == 3 and takes[0] == dim:
        found = takes[1:]
    else:
        raise ValueError(
            f"the likelihood's network takes {takes}, but the quantizer's vectors have {dim} entries; it must take "
            f"({dim}, height, width) or a multiple of {dim} numbers"
        )
    if len(found) not in (1, 2) or asked not in (None, found):
        raise ValueError(f"positions is {positions!r}, but the likelihood's network takes a grid of {found}")
    return tuple(check_size("positions", side) for side in found)
