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

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from ..checks import check_size
from ..code_priors import CodePrior, Frequencies
from ..data import Split
from ..distributions.means import mean_of
from ..likelihoods import Likelihood
from ..networks import Condition, Conditioned, Head, condition_of, event_shape, fold, stated
from ..parts import Part
from ..quantizers import Quantized, Quantizer
from .autoencoder import check_module
from .protocols import Discrete

STARTING = 20_000  # vectors of training rows that a codebook starts at; more for a larger one
PER_CODE = 40
PIECE = 256  # rows encoded at a time


class VQVAE(Part, Discrete):
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

    prior: CodePrior  # type: ignore[assignment]

    def __init__(
        self,
        encoder: nn.Module,
        quantizer: Quantizer,
        likelihood: Likelihood,
        code_prior: CodePrior | None = None,
        positions: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        check_module("encoder", encoder, "networks.Conv(shape, flatten=False)")
        kinds = (("quantizer", quantizer, Quantizer), ("likelihood", likelihood, Likelihood))
        for name, part, kind in (*kinds, ("code_prior", code_prior, CodePrior | None)):
            if not isinstance(part, kind):
                raise TypeError(f"{name} must be one of ppl_vae.{name.replace('_', ' ')}s, not {part!r}")
        self.encoder, self.quantizer, self.likelihood = encoder, quantizer, likelihood
        self.shape = likelihood.shape
        if stated(encoder, "in_shape") not in (None, self.shape):
            raise ValueError(
                f"the encoder takes {stated(encoder, 'in_shape')}, but the likelihood's data is {self.shape}"
            )
        self.grid = _grid(stated(likelihood.network, "in_shape"), quantizer.dim, positions)
        flat = len(self.grid) == 1
        self.to_vectors = Head(encoder, (*self.grid, quantizer.dim) if flat else (quantizer.dim, *self.grid))
        self.prior = (Frequencies() if code_prior is None else code_prior).attach(self.code_shape, self.num_codes)
        self._condition = (condition_of(self),)  # in a tuple, which does not register it a second time
        self._try_once()

    @property
    def code_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """Event shape of the codes: that of the grid, and of the quantizer's codes of one vector."""
        return (*self.grid, *self.quantizer.code_shape)

    @property
    def num_codes(self) -> int:  # type: ignore[override]
        """Values that a code may take."""
        return self.quantizer.num_codes

    @property
    def levels(self) -> list[Quantizer]:
        """The quantizer."""
        return [self.quantizer]

    @property
    def support(self) -> constraints.Constraint:  # type: ignore[override]
        """Constraint on one entry of the data."""
        return self.likelihood.support

    @property
    def condition(self) -> Condition | None:  # type: ignore[override]
        """What y is, where a part needs it."""
        return self._condition[0]

    def vectors(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The encoder's vectors (B, *grid, dim) of x (B, *shape), before they are quantised."""
        given = isinstance(self.encoder, Conditioned)
        (out,) = self.to_vectors(self.encoder(x, y) if given else fold(self.encoder, x, len(self.shape)))
        return out if len(self.grid) == 1 else out.movedim(-1 - len(self.grid), -1)

    def quantize(self, x: Tensor, y: Tensor | None = None) -> Quantized:
        """Vectors as the likelihood takes them, codes and costs of x (B, *shape); costs are sums over the grid."""
        found, count = self.quantizer(self.vectors(x, y)), math.prod(self.grid)
        costs = {name: count * term for name, term in found.loss_terms.items()}
        return replace(found, values=self._arranged(found.values), loss_terms=costs)

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Integer codes (B, *code_shape) of x (B, *shape)."""
        return self.quantize(x, y).codes

    def values_at(self, codes: Tensor) -> Tensor:
        """Vectors of integer codes (..., *code_shape): (..., dim, height, width), or (..., n * dim)."""
        return self._arranged(self.quantizer.lookup(codes))

    def _arranged(self, values: Tensor) -> Tensor:
        return values.flatten(-2) if len(self.grid) == 1 else values.movedim(-1, -1 - len(self.grid))

    def decode(self, z: Tensor, y: Tensor | None = None, *, like: Tensor | None = None) -> Tensor:
        """Pictures (..., *shape) of integer codes z (..., *code_shape): the means of p(x | z, y).

        Args:
            z: codes.
            y: labels (..., *event) for each code, for parts that use them.
            like: data (..., *shape) whose totals the pictures get, for a likelihood of counts given their total.

        Raises:
            ValueError: codes that are no whole numbers, of another shape or out of range.
        """
        c = z.long() if torch.compiler.is_compiling() else self.checked(z)  # an exported graph checks nothing
        return mean_of(self.likelihood_at(c, y), like)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Reconstructions (B, *shape) of x (B, *shape): the means of p(x | c, y) at its codes."""
        return mean_of(self.likelihood(self.quantize(x, y).values, y))

    @torch.no_grad()
    def start(self, train: Split) -> None:
        """Start the parts at the training rows, and the codebook at vectors that the encoder makes of some of them."""
        super().start(train)
        mode, device = self.training, self.to_vectors.layer.weight.device
        self.eval()
        wanted = -(-max(STARTING, PER_CODE * self.num_codes) // math.prod(self.grid))
        rows = np.linspace(0, len(train) - 1, min(len(train), wanted)).astype(np.int64)
        found = [
            self.vectors(*(t.to(device) for t in train.take(piece)[: 1 if self.condition is None else 2]))
            for piece in np.array_split(rows, -(-len(rows) // PIECE))
        ]
        self.quantizer.start_at(torch.cat(found).reshape(-1, self.quantizer.dim))
        self.train(mode)

    @torch.no_grad()
    def _try_once(self) -> None:
        """Run every part once on two examples; this also sizes lazy layers."""
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        like: Any = next((p for p in self.parameters() if not torch.nn.parameter.is_lazy(p)), torch.zeros(()))
        x = torch.zeros(2, *self.shape, dtype=like.dtype, device=like.device)
        y = None if self.condition is None else self.condition.example(2, x)
        found = self.likelihood(self.quantize(x, y).values, y)
        for module, mode in modes:
            module.training = mode
        if tuple(found.batch_shape) != (2,) or tuple(found.event_shape) != tuple(self.shape):
            raise ValueError(
                f"likelihood gave batch shape {tuple(found.batch_shape)} and event shape {tuple(found.event_shape)} "
                f"for 2 examples, where (2,) and {tuple(self.shape)} are needed"
            )


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
