"""Denoising: what a model makes of corrupted data, and how much nearer it comes to the clean ones.

gain = 10 log10(|noisy - clean|^2 / |denoised - clean|^2)  decibel
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .. import supports
from .importance import check_shape, evaluating
from .terms import PIECE, codes


def denoise(model: Any, x: Tensor, y: Tensor | None = None) -> Tensor:
    """What a model makes of x (B, *shape): the picture of its code, on the CPU.

    Args:
        model: an autoencoder, or a VAE, whose picture is the mean of p(x | E_q[z]).
        x: corrupted data (B, *shape).
        y: labels (B, ...), or None.

    Raises:
        TypeError: a model without codes.
        ValueError: no data, or data of another shape.

    Source: Vincent et al. 2008, "Extracting and composing robust features with denoising autoencoders".

    Example:
        >>> from ppl_vae import models, networks
        >>> ae = models.Autoencoder(networks.MLP(6, [8]), networks.MLP(2, [8]), 2, 6)
        >>> denoise(ae, torch.rand(5, 6)).shape
        torch.Size([5, 6])
    """
    return decoded(model, codes(model, check_shape(model, x), y), y)


def decoded(model: Any, z: Tensor, y: Tensor | None = None) -> Tensor:
    """Pictures (B, *shape) of codes z (B, dim), on the CPU; codes are first brought onto the prior's support."""
    z = supports.onto(model.prior.support, z) if hasattr(model, "prior") else z
    with evaluating(model, 0) as device:
        pieces = []
        for i in range(0, len(z), PIECE):
            part, labels = z[i : i + PIECE].to(device), None if y is None else y[i : i + PIECE].to(device)
            out = model.likelihood(part, labels).mean if hasattr(model, "likelihood") else model.decode(part)
            pieces.append(out.cpu())
    return torch.cat(pieces)


def denoising_gain(clean: Tensor, noisy: Tensor, denoised: Tensor) -> float:
    """How many decibels the squared error fell; negative where it rose, NaN where a picture holds NaN.

    Raises:
        ValueError: tensors of different shapes, or nothing to remove.

    Example:
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
