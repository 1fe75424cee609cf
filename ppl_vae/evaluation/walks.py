"""Walks through the space of codes: lines between examples, one entry at a time, and the whole plane, as pictures.

continuity of a line, decoded in T even steps d_t = |d(z_{t+1}) - d(z_t)|:
max d_t / mean d_t, 1 where the picture changes evenly, T where it jumps at one place
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Independent

from ..checks import check_size
from ..distributions.means import mean_of
from ..models import Codec, Latent
from .coding import check_codec, codes, decode
from .doors import check_data, check_labels, check_real_codes, evaluating, filled_labels

DRAWN = "evaluation.sample_means, pictures of codes drawn from the model's prior"  # instead of a walk through integers


def interpolate(
    model: Codec, x0: Tensor, x1: Tensor, *, y: Tensor | None = None, y1: Tensor | None = None, steps: int = 10
) -> Tensor:
    """Straight lines between the codes of two inputs, decoded to pictures (rows, steps, *shape).

    Without labels the ends are the reconstructions of the inputs.

    Args:
        model: a VAE, an autoencoder, or any ``models.Codec``.
        x0: first inputs (rows, *shape).
        x1: second inputs (rows, *shape).
        y: labels (rows, ...) of x0, at which the whole line is decoded, or None.
        y1: labels of x1; those of x0 by default.
        steps: pictures a row, both ends included.

    Raises:
        TypeError: a model without encoder and decoder, or with integer codes.
        ValueError: fewer than 2 steps, or other shapes.

    Example:
        >>> from ppl_vae import models, networks
        >>> ae = models.Autoencoder(networks.MLP((1, 8, 8), [16]), networks.MLP(2, [16]), 2, (1, 8, 8))
        >>> interpolate(ae, torch.zeros(3, 1, 8, 8), torch.ones(3, 1, 8, 8), steps=7).shape
        torch.Size([3, 7, 1, 8, 8])
    """
    check_size("steps", steps, least=2)
    check_real_codes(model, "interpolate", DRAWN)
    x0, y = check_data(check_codec(model), x0, y, values=False, third="steps")
    x1, y1 = check_data(model, x1, y if y1 is None else y1, values=False, third="steps")
    if x0.shape != x1.shape:
        raise ValueError(f"x1 must have the shape of x0, {tuple(x0.shape)}, not {tuple(x1.shape)}")
    y, y1 = filled_labels(model, x0, y), filled_labels(model, x1, y1)
    z = _line(codes(model, x0, y), codes(model, x1, y1), steps)
    y = None if y is None else y[:, None].expand(-1, steps, *y.shape[1:])
    return decode(model, z, y, like=_line(x0, x1, steps))


def _line(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """Points (B, steps, ...) on the lines from a to b (B, ...)."""
    weights = torch.linspace(0, 1, steps, dtype=a.dtype, device=a.device).reshape(-1, *[1] * (a.dim() - 1))
    return torch.lerp(a[:, None], b[:, None], weights)


def continuity(
    model: Codec, x0: Tensor, x1: Tensor, *, y: Tensor | None = None, y1: Tensor | None = None, steps: int = 50
) -> Tensor:
    """Largest change of the picture over the mean change, along the line between the codes of x0 and x1, (B,).

    A figure lies between 1 and T = ``steps``, into which a line is cut. A line on which nothing changes counts as even:
    1. Where a picture on it is NaN, so is the figure. Other arguments and errors as of ``interpolate``.

    Source: Berthelot et al. 2019, "Understanding and improving interpolation in autoencoders".

    Example:
        >>> from ppl_vae import models, networks
        >>> ae = models.Autoencoder(networks.MLP(6, [8]), networks.MLP(2, [8]), 2, 6)
        >>> found = continuity(ae, torch.rand(4, 6), torch.rand(4, 6))
        >>> bool((found >= 1).all() and (found <= 50).all())
        True
    """
    check_real_codes(model, "continuity", DRAWN)
    pictures = interpolate(model, x0, x1, y=y, y1=y1, steps=check_size("steps", steps, least=2) + 1)
    change = pictures.flatten(2).diff(dim=1).norm(dim=2)
    mean = change.mean(1)
    return torch.where(mean == 0, 1.0, change.amax(1) / mean)


def traverse(
    model: Codec,
    x: Tensor | None = None,
    y: Tensor | None = None,
    *,
    dims: Sequence[int] | None = None,
    values: Tensor | Sequence[float] | None = None,
) -> Tensor:
    """Change one entry of a code at a time, and decode: pictures (dims, steps, *shape).

    Args:
        model: as for ``interpolate``, with codes (B, dim).
        x: inputs (N, *shape): the code of the first is the one changed. The prior's mean when left out.
        y: labels (N, ...), of which the first holds for all pictures, or None.
        dims: which entries; all by default.
        values: what they become (steps,). By default 9 quantiles of the prior from 2% to 98%, or where it has no
            quantiles as many steps over the central 96% of the codes of x.

    Raises:
        TypeError: as of ``interpolate``.
        ValueError: a dimension that is not there; no x or values where they are needed.

    Example:
        >>> from ppl_vae import models, networks
        >>> ae = models.Autoencoder(networks.MLP((1, 8, 8), [16]), networks.MLP(2, [16]), 2, (1, 8, 8))
        >>> traverse(ae, torch.rand(4, 1, 8, 8), dims=[1], values=[-1.0, 0.0, 1.0]).shape
        torch.Size([1, 3, 1, 8, 8])
    """
    check_real_codes(model, "traverse", DRAWN)
    size, given, label = _start(model, x, y)
    dims = list(range(size)) if dims is None else list(dims)
    if any(not 0 <= d < size for d in dims):
        raise ValueError(f"dims must lie between 0 and {size - 1}, not {dims}")
    if values is None:
        grid = _axis_values(model, 9, given, label)
    else:
        grid = torch.as_tensor(values, dtype=torch.float32)[:, None].expand(-1, size)
    z = (_centre(model, label) if given is None else given[0]).repeat(len(dims), len(grid), 1)
    for row, d in enumerate(dims):
        z[row, :, d] = grid[:, d]
    like = None if x is None else x[0].expand(len(dims), len(grid), *x.shape[1:])
    return decode(model, z, _everywhere(label, z), like=like)


def manifold(model: Codec, x: Tensor | None = None, y: Tensor | None = None, *, n: int = 15) -> Tensor:
    """The plane of a 2-d latent space decoded on a grid (n, n, *shape): z1 grows to the right, z2 upwards.

    The grid lies at quantiles of the prior, 2% to 98%, or where it has none over the central 96% of the codes of x.

    Args:
        model: as for ``interpolate``, with codes (B, 2).
        x: inputs (N, *shape), needed where the prior has no quantiles.
        y: labels (N, ...), of which the first holds for all pictures, or None.
        n: points a side.

    Raises:
        TypeError: as of ``interpolate``.
        ValueError: codes of another size, or neither a prior with quantiles nor x.

    Example:
        >>> from ppl_vae import models, networks
        >>> ae = models.Autoencoder(networks.MLP((1, 8, 8), [16]), networks.MLP(2, [16]), 2, (1, 8, 8))
        >>> manifold(ae, torch.rand(9, 1, 8, 8), n=4).shape
        torch.Size([4, 4, 1, 8, 8])
    """
    check_real_codes(model, "manifold", DRAWN)
    size, given, label = _start(model, x, y)
    if size != 2:
        raise ValueError(f"a manifold needs a model with dim 2, not {size}; traverse shows more dimensions")
    values = _axis_values(model, check_size("n", n, least=2), given, label)
    z2, z1 = torch.meshgrid(values[:, 1].flip(0), values[:, 0], indexing="ij")
    z = torch.stack([z1, z2], -1)
    return decode(model, z, _everywhere(label, z))


def _start(model: Codec, x: Tensor | None, y: Tensor | None) -> tuple[int, Tensor | None, Tensor | None]:
    """Size of a code, the codes of x, and the first label as (1, ...)."""
    event = tuple(check_codec(model).code_shape)
    if len(event) != 1:
        raise ValueError(f"model must have codes (B, dim) to change single entries of, not codes of shape {event}")
    if x is None:
        y = check_labels(model, y, 1 if y is None else len(y))
    else:
        x, y = check_data(model, x, y, values=False, third=None)
        y = filled_labels(model, x, y)
    return event[0], None if x is None else codes(model, x, y), None if y is None else y[:1]


def _everywhere(label: Tensor | None, z: Tensor) -> Tensor | None:
    """The one label (1, ...) for each of the codes z (..., dim)."""
    return None if label is None else label[0].expand(*z.shape[:-1], *label.shape[1:])


def _centre(model: Any, label: Tensor | None) -> Tensor:
    """The prior's mean (dim,)."""
    if not isinstance(model, Latent):
        raise ValueError(f"x must be given: a {type(model).__name__} has no prior to start from")
    with evaluating(model, 0) as device:
        mean = mean_of(model.prior(None if label is None else label.to(device)))
        return mean.reshape(-1, mean.shape[-1])[0].cpu()


def _axis_values(model: Any, steps: int, given: Tensor | None, label: Tensor | None) -> Tensor:
    """Values (steps, dim) to show along each axis of the latent space: prior quantiles, else the range of codes."""
    levels = torch.linspace(0.02, 0.98, steps)[:, None]
    if isinstance(model, Latent):
        with evaluating(model, 0) as device:
            base = model.prior(None if label is None else label.to(device))
            while isinstance(base, Independent):
                base = base.base_dist
            shape = tuple(base.batch_shape)
            try:
                if shape and math.prod(shape) == shape[-1] == math.prod(model.code_shape):
                    return base.icdf(levels.to(device).reshape(-1, *[1] * len(shape))).reshape(steps, -1).cpu()
            except NotImplementedError:
                pass
    if given is None or len(given) < 2:
        raise ValueError("values must be given, or two inputs or more as x: the model's prior has no quantiles")
    low, high = torch.quantile(given, torch.tensor([0.02, 0.98], dtype=given.dtype), 0)
    return torch.lerp(low, high, ((levels - 0.02) / 0.96).to(given.dtype))
