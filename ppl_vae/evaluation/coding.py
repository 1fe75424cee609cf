"""Encoding and decoding, used by all figures, reports and jobs.

A model is asked by its ``encode`` and ``decode``: those of a VAE give the mean of q(z | x, y) and of p(x | z, y), where
codes are first brought onto the prior's support. Counts that are given their total, as those of a multinomial, get the
total of the data that they are a picture of.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ..models import VAE, Codec, Discrete, SemiSupervisedVAE
from . import doors
from .doors import check_data, check_labels, filled_labels, in_pieces

PICTURES = 256  # decoded at a time: where a likelihood has no mean, 256 draws of each are averaged


def check_codec(model: Any) -> Codec:
    """The model; TypeError unless it has an encoder and a decoder."""
    if not isinstance(model, Codec):
        raise TypeError(f"model must be a models.Codec, with encode and decode; {type(model).__name__} is none")
    return model


def codes(model: Codec, x: Tensor, y: Tensor | None = None, *, seed: int = 0) -> Tensor:
    """Codes (B, *code_shape) of x, on the CPU: posterior means, or what an autoencoder encodes, be it integers.

    Args:
        model: a VAE, an autoencoder, or any ``models.Codec``.
        x: data (B, *shape), on any device.
        y: labels (B, ...), or None.
        seed: of the draws that are averaged where a posterior knows no mean.

    Raises:
        TypeError: a model without an encoder.
        ValueError: no data, data of another shape, or labels that do not fit.

    Example:
        >>> from ppl_vae import models, networks
        >>> ae = models.Autoencoder(networks.MLP(6, [8]), networks.MLP(2, [8]), 2, 6)
        >>> codes(ae, torch.ones(5, 6)).shape
        torch.Size([5, 2])
    """
    x, y = check_data(check_codec(model), x, y, values=False, third=None)
    return in_pieces(model, model.encode, x, filled_labels(model, x, y), seed=seed, size=doors.PIECE)


def decode(model: Codec, z: Tensor, y: Tensor | None = None, *, like: Tensor | None = None) -> Tensor:
    """Pictures (..., *shape) of codes z, on the CPU: the likelihood's mean, or what an autoencoder decodes.

    Args:
        model: as for ``codes``.
        z: codes (..., *code_shape); codes outside the prior's support are projected onto it.
        y: labels (..., *event) for each code, or None.
        like: data (..., *shape) whose totals the pictures take, where the likelihood is one given a total.

    Raises:
        TypeError: a model without a decoder.
        ValueError: codes of another shape, or labels that do not fit.

    Example:
        >>> from ppl_vae import models, networks
        >>> ae = models.Autoencoder(networks.MLP(6, [8]), networks.MLP(2, [8]), 2, 6)
        >>> decode(ae, torch.zeros(3, 5, 2)).shape
        torch.Size([3, 5, 6])
    """
    event = tuple(check_codec(model).code_shape)
    lead = z.shape[: max(0, z.dim() - len(event))]
    if tuple(z.shape[len(lead) :]) != event:
        raise ValueError(f"z must be codes (..., {', '.join(map(str, event))}), not of shape {tuple(z.shape)}")
    if y is not None and isinstance(y, Tensor) and y.shape and tuple(y.shape[: len(lead)]) != tuple(lead):
        raise ValueError(f"y must hold a label for each of the codes {tuple(lead)}, not have shape {tuple(y.shape)}")
    y = y.reshape(-1, *y.shape[len(lead) :]) if isinstance(y, Tensor) and y.shape else y
    y = check_labels(model, y, math.prod(lead), partly=False)
    like = None if like is None else like.reshape(-1, *model.shape)

    def pictures(z: Tensor, y: Tensor | None, like: Tensor | None) -> Tensor:
        return model.decode(z, y, like=like)

    flat = in_pieces(model, pictures, z.reshape(-1, *event), y, like, size=PICTURES)
    return flat.reshape(*lead, *model.shape)


def likelihood_at(model: VAE | Discrete | SemiSupervisedVAE, z: Tensor, y: Tensor | None = None) -> TorchDistribution:
    """p(x | z, y) of codes z (..., *code_shape), real or integer."""
    return model.likelihood(z, y) if isinstance(model, VAE) else model.likelihood_at(z, y)


def reconstruct(model: Codec, x: Tensor, y: Tensor | None = None) -> Tensor:
    """Reconstructions of x (B, *shape), with the totals of x, on the CPU.

    For corrupted data they are the denoised data, so the function is also exported as ``denoise``. Arguments and
    errors as of ``codes``.

    Source: Vincent et al. 2008, "Extracting and composing robust features with denoising autoencoders".

    Example:
        >>> from ppl_vae import models, networks
        >>> ae = models.Autoencoder(networks.MLP((1, 8, 8), [16]), networks.MLP(2, [16]), 2, (1, 8, 8))
        >>> reconstruct(ae, torch.rand(5, 1, 8, 8)).shape
        torch.Size([5, 1, 8, 8])
    """
    x, y = check_data(check_codec(model), x, y, values=False, third=None)
    y = filled_labels(model, x, y)
    return decode(model, codes(model, x, y), y, like=x)


denoise = reconstruct


def reconstruction_error(model: Codec, x: Tensor, y: Tensor | None = None) -> Tensor:
    """Squared error |x - x'|^2 of every datum, summed over its seen entries, (B,); x' is its ``reconstruct``.

    Arguments and errors as of ``reconstruct``.

    Example:
        >>> from ppl_vae import models, networks
        >>> ae = models.Autoencoder(networks.MLP(6, [8]), networks.MLP(2, [8]), 2, 6)
        >>> reconstruction_error(ae, torch.ones(5, 6)).shape
        torch.Size([5])
    """
    x, y = check_data(check_codec(model), x, y, values=False, third=None)
    y = filled_labels(model, x, y)
    return error_at(model, x, y, codes(model, x, y))


def error_at(model: Codec, x: Tensor, y: Tensor | None, z: Tensor) -> Tensor:
    """``reconstruction_error`` at codes that are known."""
    squared = (x.cpu() - decode(model, z, y, like=x)).square()
    return torch.where(x.cpu().isnan(), 0.0, squared).flatten(1).sum(1)
