"""Log-likelihoods in bits, and squared errors in decibels.

bits per dimension = -log2 p(x) / D,    gain = 10 log10(|noisy - clean|^2 / |denoised - clean|^2)  decibel
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor


def bits_per_dim(log_likelihood: Any, shape: Sequence[float], levels: int | None = None) -> Any:
    """Bits per dimension of a log-likelihood in nats.

    Args:
        log_likelihood: number or tensor, nats per example.
        shape: event shape of the data.
        levels: for data de-quantized from so many levels to [0, 1]: the volume of one level is taken out, so that the
            figure bounds that of the discrete data (Theis et al. 2016). None: as it is.

    Example:
        >>> round(bits_per_dim(-784 * math.log(2), (1, 28, 28)), 6)
        1.0
    """
    size = math.prod(shape)
    nats = log_likelihood - (size * math.log(levels) if levels else 0.0)
    return -nats / (size * math.log(2))


def denoising_gain(clean: Tensor, noisy: Tensor, denoised: Tensor) -> float:
    """How many decibels the squared error fell; negative where it rose, NaN where a picture holds NaN.

    Raises:
        ValueError: tensors of different shapes, or nothing to remove.

    Example:
        >>> import torch
        >>> round(denoising_gain(torch.zeros(4), torch.ones(4), torch.full((4,), 0.1)), 4)
        20.0
    """
    if not clean.shape == noisy.shape == denoised.shape:
        shapes = ", ".join(str(tuple(value.shape)) for value in (clean, noisy, denoised))
        raise ValueError(f"clean, noisy and denoised must have one shape, not {shapes}")
    before, after = ((value.double() - clean.double()).square().sum().item() for value in (noisy, denoised))
    if before == 0:
        raise ValueError("noisy must differ from clean, or there is nothing to gain")
    return math.inf if after == 0 else 10 * math.log10(before / after)
