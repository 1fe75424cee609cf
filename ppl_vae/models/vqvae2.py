"""VQ-VAE-2: codes on two grids, a coarse one for the whole and a fine one for what the coarse one leaves open.

    h = e(x), t = q_top(e_top(h)) on the coarse grid, b = q(W [h, up(t)]) on the fine one, p(x | t, b)

up spreads the coarse vectors over the fine grid. The codes of an example are one sequence, those of t first, so that an
autoregressive prior is p(t) p(b | t).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..code_priors import CodePrior
from ..likelihoods import Likelihood
from ..networks import Conv, ConvTranspose, Head, fold, full_precision, stated
from ..parts import build, describe
from ..quantizers import Quantized, Quantizer
from .autoencoder import check_module
from .quantizing import QuantizingModel, check_kind


class VQVAE2(QuantizingModel):
    """Vector-quantised autoencoder with integer codes on two grids of a picture.

    The code of an example has ``n_top + n_bottom`` entries: those of the coarse grid row by row, then those of the fine
    one. The prior of the codes is one over this sequence, such as ``code_priors.Transformer``.

    Args:
        encoder: module from x (B, *shape) to features on the fine grid (channels, height, width), such as
            ``networks.Conv(shape, flatten=False)``.
        quantizer: one of ``ppl_vae.quantizers``, of the vectors on the fine grid.
        likelihood: one of ``ppl_vae.likelihoods``, whose network takes (top dim + bottom dim, height, width): the
            vectors of the coarse grid, spread over the fine one, and those of the fine grid.
        code_prior: one of ``ppl_vae.code_priors`` for codes of any shape, trained in a stage of its own after the
            autoencoder; None for the frequencies of the codes in the training data, place by place.
        top_encoder: module from the features to those on the coarse grid, whose sides are halved, and halved again if
            it is to be smaller; None for one convolution of stride 2 with as many channels.
        top_quantizer: one of ``ppl_vae.quantizers``, of the vectors on the coarse grid, with as many codes as
            ``quantizer``; None for one that is built in the same way.

    Raises:
        TypeError: parts that are not of their kind.
        ValueError: networks that do not take the data or the vectors, a coarse grid that is not the fine one halved,
            quantizers with different numbers of codes, or a prior that does not take a sequence.

    Source: Razavi et al. 2019, "Generating diverse high-fidelity images with VQ-VAE-2".

    Example:
        >>> from ppl_vae import likelihoods, networks, quantizers
        >>> vq = VQVAE2(
        ...     networks.Conv((1, 8, 8), [16], flatten=False),
        ...     quantizers.VectorQuantizer(32, 4),
        ...     likelihoods.Bernoulli(networks.ConvTranspose((4 + 4, 4, 4), [16], (1, 8, 8)), (1, 8, 8)),
        ... )
        >>> codes = vq.encode(torch.rand(5, 1, 8, 8))  # 2 x 2 and 4 x 4
        >>> codes.shape, codes.dtype, vq.decode(codes).shape
        (torch.Size([5, 20]), torch.int64, torch.Size([5, 1, 8, 8]))
    """

    def __init__(
        self,
        encoder: nn.Module,
        quantizer: Quantizer,
        likelihood: Likelihood,
        code_prior: CodePrior | None = None,
        top_encoder: nn.Module | None = None,
        top_quantizer: Quantizer | None = None,
    ) -> None:
        super().__init__(encoder, quantizer, likelihood)
        features = _grid_of("encoder", encoder)
        above = Conv(features, features[:1], flatten=False) if top_encoder is None else top_encoder
        rounding: Quantizer = build(describe(quantizer)) if top_quantizer is None else top_quantizer
        check_module("top_encoder", above, "networks.Conv(features, [channels], flatten=False)")
        check_kind("top_quantizer", rounding, Quantizer)
        if stated(above, "in_shape") not in (None, features):
            raise ValueError(
                f"the top_encoder takes {stated(above, 'in_shape')}, but the encoder's features are {features}"
            )
        if rounding.num_codes != quantizer.num_codes:
            raise ValueError(
                f"quantizer has {quantizer.num_codes} codes and top_quantizer {rounding.num_codes}; they must have "
                "the same number, since one prior is over the codes of both"
            )
        self.fine, self.coarse = features[1:], _grid_of("top_encoder", above)[1:]
        self.top_encoder, self.top_quantizer = above, rounding
        dim, top = quantizer.dim, rounding.dim
        takes, needed = stated(likelihood.network, "in_shape"), (top + dim, *self.fine)
        if takes not in (None, needed):
            raise ValueError(
                f"the likelihood's network takes {takes}, but the vectors of both grids are {needed}: {top} + {dim} "
                f"channels on the grid of the encoder's features"
            )
        self.to_top = Head(above, (top, *self.coarse))
        widths = [top] * _halvings(self.fine, self.coarse)
        self.spread = ConvTranspose((top, *self.coarse), widths, (top, *self.fine), "identity")
        self.to_bottom = nn.Conv2d(features[0] + top, dim, 1)
        self._complete(code_prior)

    @property
    def code_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """Event shape of the codes, (n_top + n_bottom,)."""
        return (sum(self._counts()),)

    @property
    def levels(self) -> list[Quantizer]:
        """The quantizers of the coarse and of the fine grid."""
        return [self.top_quantizer, self.quantizer]

    @property
    def last_layers(self) -> list[Any]:
        """The layers that make the vectors of the coarse and of the fine grid."""
        return [self.to_top.layer, self.to_bottom]

    @property
    def grids(self) -> list[tuple[int, ...]]:
        """The coarse and the fine grid."""
        return [self.coarse, self.fine]

    def _counts(self) -> list[int]:
        """Number of the entries of each level's codes."""
        return [math.prod((*g, *q.code_shape)) for g, q in zip(self.grids, self.levels, strict=True)]

    def encoded(self, level: int, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Vectors (B, *grid, dim) of x (B, *shape) before they are quantised: of level 0, the coarse grid, or 1."""
        h = self.features(x, y)
        top = self._top(h)
        return top if level == 0 else self._bottom(h, self._spread(self.top_quantizer(top).values))

    def quantize(self, x: Tensor, y: Tensor | None = None) -> Quantized:
        """Vectors as the likelihood takes them, codes and costs of x (B, *shape); costs are sums over a grid."""
        h = self.features(x, y)
        top = self.top_quantizer(self._top(h))
        spread = self._spread(top.values)
        bottom = self.quantizer(self._bottom(h, spread))
        costs = {
            f"{name}_{term}": math.prod(grid) * value
            for name, grid, level in (("top", self.coarse, top), ("bottom", self.fine, bottom))
            for term, value in level.loss_terms.items()
        }
        codes = torch.cat([top.codes.flatten(1), bottom.codes.flatten(1)], 1)
        values = torch.cat([spread, bottom.values.movedim(-1, -3)], -3)
        return Quantized(values, codes, costs, (top.perplexity + bottom.perplexity) / 2)

    def cost(self, quantized: Quantized) -> Tensor:
        """What codebooks and commitment of both grids add to the loss, a scalar in nats per example."""
        terms = quantized.loss_terms
        return self.top_quantizer.cost(_of("top_", terms)) + self.quantizer.cost(_of("bottom_", terms))

    def values_at(self, codes: Tensor) -> Tensor:
        """Vectors (..., top dim + bottom dim, height, width) of integer codes (..., n_top + n_bottom)."""
        top, bottom = (
            quantizer.lookup(part.unflatten(-1, (*grid, *quantizer.code_shape)))
            for part, grid, quantizer in zip(codes.split(self._counts(), -1), self.grids, self.levels, strict=True)
        )
        return torch.cat([self._spread(top), bottom.movedim(-1, -3)], -3)

    def _top(self, h: Tensor) -> Tensor:
        (out,) = self.to_top(fold(self.top_encoder, h, 3))
        return out.movedim(-3, -1)

    def _bottom(self, h: Tensor, spread: Tensor) -> Tensor:
        return full_precision(self.to_bottom(torch.cat([h, spread.to(h.dtype)], -3))).movedim(-3, -1)

    def _spread(self, values: Tensor) -> Tensor:
        """Vectors (..., *coarse, dim) of the coarse grid as (..., dim, *fine)."""
        return full_precision(self.spread(values.movedim(-1, -3)))


def _of(prefix: str, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): term for name, term in terms.items() if name.startswith(prefix)}


def _grid_of(name: str, network: nn.Module) -> tuple[int, ...]:
    """Shape (channels, height, width) of a network's features."""
    shape = stated(network, "out_shape")
    if shape is None or len(shape) != 3:
        gives = "does not state the shape of its features, out_shape" if shape is None else f"gives features {shape}"
        raise ValueError(
            f"the {name} {gives}; VQVAE2 needs a grid (channels, height, width), as of networks.Conv(flatten=False)"
        )
    return shape


def _halvings(fine: Sequence[int], coarse: Sequence[int]) -> int:
    """How often the fine grid is halved to make the coarse one."""
    sides, count = tuple(fine), 0
    while sides != tuple(coarse) and max(sides) > 1:
        sides, count = tuple((side + 1) // 2 for side in sides), count + 1
    if sides != tuple(coarse) or count == 0:
        raise ValueError(
            f"the top_encoder's grid is {tuple(coarse)}, but it must be that of the encoder, {tuple(fine)}, with sides "
            "halved once or more (rounded up)"
        )
    return count
