"""Reduced precision: the matrix products and convolutions of layers in bfloat16, everything else in float32.

A layer rounds its input and its weights to bfloat16, multiplies, and gives float32. What lies between the layers, the
parameters of distributions, samples and log-densities among it, is computed in float32, and so are the weights' own
updates. Products that belong to a distribution (a covariance factor times noise, the layers of a flow) stay in float32
as well: only plain torch layers are changed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

LAYERS = (
    nn.Linear,
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)


@contextmanager
def half_products(module: nn.Module) -> Iterator[None]:
    """Inside, the layers of ``module`` multiply in bfloat16.

    Subclasses of a layer are left alone: they compute something else than it does.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> _ = nn.init.constant_(layer.weight, 1 / 3), nn.init.zeros_(layer.bias)
        >>> with half_products(layer):
        ...     layer(torch.ones(1, 2)).item()
        0.66796875
    """
    layers: list[Any] = [part for part in module.modules() if type(part) in LAYERS and "forward" not in vars(part)]
    for layer in layers:
        layer.forward = functools.partial(_half, layer.forward)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _half(forward: Callable[..., Tensor], x: Tensor, *args: Any) -> Tensor:
    if x.dtype != torch.float32:  # a model in float64 asked for more
        return forward(x, *args)
    with torch.autocast(x.device.type, torch.bfloat16):
        return forward(x, *args).float()
