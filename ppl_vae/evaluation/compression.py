"""Compression by codes: their rate in bits and the distortion of what is decoded from them.

Every entry of a code is rounded to one of L values, evenly spaced over its range in the training data, and coded with
the frequencies there (one added to each): the rate is -sum_j log2 p_j(level of z_j), what an arithmetic coder needs;
the distortion is |x - d(rounded z)|^2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..checks import check_size
from ..models import Codec
from ..statistics.finite import check_codes
from .coding import check_codec, codes, error_at
from .doors import check_data, check_real_codes


@dataclass(frozen=True)
class Compression:
    """What a set of data costs, and what is lost.

    Attributes:
        levels: values that an entry of a code may take.
        rate: bits of every example, (B,).
        distortion: squared error of every example, summed over its entries, (B,).
    """

    levels: int
    rate: Tensor
    distortion: Tensor

    def __repr__(self) -> str:
        rate, distortion = self.rate.mean().item(), self.distortion.mean().item()
        said = f"{self.levels} levels, {rate:.2f} bits and squared error {distortion:.4g} per example"
        return f"Compression({said}, n={len(self.rate)})"


def compress(
    model: Codec,
    x: Tensor,
    y: Tensor | None = None,
    *,
    train: Tensor,
    train_y: Tensor | None = None,
    levels: int = 16,
) -> Compression:
    """Rate and distortion of x when codes are rounded to ``levels`` values an entry.

    Args:
        model: an autoencoder or a VAE (its posterior means are the codes).
        x: data (B, *shape).
        y: labels (B, ...), or None; sender and receiver both know them.
        train: data (N, *shape) that ranges and frequencies are taken from: sender and receiver both know them.
        train_y: labels (N, ...) of these, or None.
        levels: values that an entry may take.

    Raises:
        TypeError: a model without an encoder, or one whose codes are whole numbers.
        ValueError: fewer than 2 levels, data of another shape, or codes that are NaN or infinite.

    Source: Theis et al. 2017, "Lossy image compression with compressive autoencoders".

    Example:
        >>> from ppl_vae import models, networks
        >>> ae = models.Autoencoder(networks.MLP(6, [8]), networks.MLP(2, [8]), 2, 6)
        >>> compress(ae, torch.rand(5, 6), train=torch.rand(90, 6), levels=4).rate.shape
        torch.Size([5])
    """
    check_size("levels", levels, least=2)
    check_real_codes(model, "compress", "evaluation.file_sizes, which codes them as they are")
    x, y = check_data(check_codec(model), x, y, values=False, third="levels")
    known = check_codes(codes(model, train, train_y), "train").flatten(1)
    low, high = known.amin(0), known.amax(0)
    step = torch.where(high > low, high - low, 1.0) / (levels - 1)

    def level(z: Tensor) -> Tensor:
        return ((z - low) / step).round().clamp(0, levels - 1).long()

    seen = level(known).T
    counts = torch.ones(len(seen), levels).scatter_add_(1, seen, torch.ones(seen.shape))
    bits = -(counts / counts.sum(1, keepdim=True)).log2()  # (dim, levels)
    z = check_codes(codes(model, x, y), "x")
    chosen = level(z.flatten(1))
    rate = bits.expand(len(chosen), *bits.shape).gather(2, chosen[..., None]).flatten(1).sum(1)
    return Compression(levels, rate, error_at(model, x, y, (low + step * chosen).reshape(z.shape)))
