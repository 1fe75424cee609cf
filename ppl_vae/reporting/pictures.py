"""Pictures: the arrays behind the plots, from a trained model.

A VAE's code of x is the mean of q(z | x), its picture of z the mean of p(x | z); an autoencoder's are ``encode`` and
``decode``. Where a distribution knows no mean, 256 draws are averaged. Everything here runs without gradients, in
evaluation mode and with a random state of its own: the model's modes and the process's random numbers are left as they
were. Inputs may lie on any device and go through the model in small batches; results are float32 on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from .. import supports
from ..checks import check_size
from ..data.noise import own_randomness
from ..evaluation import codes
from ..evaluation.importance import evaluating
from ..evaluation.terms import check_codes

BATCH = 256
DRAWS = 256


def decode(model: Any, z: Tensor, y: Tensor | None = None) -> Tensor:
    """Pictures (..., *shape) of codes z (..., dim): the likelihood's mean, or ``decode``.

    Codes that are off the prior's support, as averages and lines between them are on a sphere or among discrete codes,
    are first brought onto it: the decoder has seen no others.

    Args:
        model: a VAE or an autoencoder.
        z: codes (..., dim).
        y: labels (..., *event) for each code, for parts that use them.

    Raises:
        TypeError: the model has neither ``likelihood`` nor ``decode``.
        ValueError: z has another last dimension.
    """
    if not (hasattr(model, "likelihood") or hasattr(model, "decode")):
        raise TypeError(f"model must have a likelihood or decode to show codes; {type(model).__name__} has neither")
    if z.shape[-1] != model.dim:
        raise ValueError(f"z must have {model.dim} entries in its last dimension, not {z.shape[-1]}")

    def picture(z: Tensor, y: Tensor | None = None) -> Tensor:
        return _mean(model.likelihood(z, y)) if hasattr(model, "likelihood") else model.decode(z)

    if hasattr(model, "prior"):
        z = supports.onto(model.prior.support, z)
    lead = z.shape[:-1]
    y = None if y is None else y.flatten(0, len(lead) - 1)
    return _in_batches(model, picture, z.reshape(-1, model.dim), y).reshape(*lead, *model.shape)


def reconstruct(model: Any, x: Tensor, y: Tensor | None = None) -> Tensor:
    """What the model makes of x (N, *shape): ``decode(codes(x))``, of the same shape.

    Example:
        >>> from ppl_vae import models, networks
        >>> ae = models.Autoencoder(networks.MLP((1, 8, 8), [16]), networks.MLP(2, [16]), 2, (1, 8, 8))
        >>> reconstruct(ae, torch.rand(5, 1, 8, 8)).shape
        torch.Size([5, 1, 8, 8])
    """
    return decode(model, codes(model, x, y), y)


def sample_means(vae: Any, n: int, seed: int = 0, y: Tensor | None = None) -> Tensor:
    """Means (n, *shape) of p(x | z) at n draws of the prior; the same seed gives the same pictures.

    Args:
        vae: a model with a prior and a likelihood.
        n: how many.
        seed: of the draws.
        y: labels (n, ...), for parts that use them.

    Raises:
        TypeError: the model has no prior.
        ValueError: n below 1.

    Example:
        >>> from ppl_vae import VAE, likelihoods, networks, posteriors, priors
        >>> q = posteriors.Normal(networks.MLP((1, 8, 8), [16]), 2)
        >>> vae = VAE(priors.Normal(2), q, likelihoods.Bernoulli(networks.MLP(2, [16]), (1, 8, 8)))
        >>> sample_means(vae, 3).shape
        torch.Size([3, 1, 8, 8])
    """
    return decode(vae, prior_draws(vae, n, seed, y), y)


def sample_draws(vae: Any, n: int, seed: int = 0, y: Tensor | None = None) -> Tensor:
    """Draws (n, *shape) from p(x | z) at the codes of `sample_means` with the same n and seed."""
    if not hasattr(vae, "likelihood"):
        raise TypeError(
            f"a {type(vae).__name__} has no likelihood to draw from; take its pictures of codes as they are"
        )
    z = prior_draws(vae, n, seed, y)
    return _in_batches(vae, lambda z, y=None: vae.likelihood(z, y).sample(), z, y, seed=seed + 1)


def interpolate(model: Any, x0: Tensor, x1: Tensor, steps: int = 10) -> Tensor:
    """Straight lines between the codes of two inputs, decoded; the ends are the reconstructions of x0 and x1.

    Args:
        model: a VAE or an autoencoder.
        x0: first inputs (rows, *shape).
        x1: second inputs (rows, *shape).
        steps: pictures a row, both ends included.

    Returns:
        Pictures (rows, steps, *shape).

    Raises:
        ValueError: fewer than 2 steps, or other shapes.

    Example:
        >>> from ppl_vae import models, networks
        >>> ae = models.Autoencoder(networks.MLP((1, 8, 8), [16]), networks.MLP(2, [16]), 2, (1, 8, 8))
        >>> interpolate(ae, torch.zeros(3, 1, 8, 8), torch.ones(3, 1, 8, 8), steps=7).shape
        torch.Size([3, 7, 1, 8, 8])
    """
    check_size("steps", steps, least=2)
    if x0.shape != x1.shape:
        raise ValueError(f"x1 must have the shape of x0, {tuple(x0.shape)}, not {tuple(x1.shape)}")
    weights = torch.linspace(0, 1, steps)[:, None]
    return decode(model, torch.lerp(codes(model, x0)[:, None], codes(model, x1)[:, None], weights))


def traverse(
    model: Any,
    x: Tensor | None = None,
    dims: Sequence[int] | None = None,
    values: Tensor | Sequence[float] | None = None,
) -> Tensor:
    """Change one entry of a code at a time, and decode.

    Args:
        model: a VAE or an autoencoder.
        x: inputs (N, *shape): the code of the first is the one changed. The prior's mean when left out.
        dims: which entries; all by default.
        values: what they become (steps,). By default 9 quantiles of the prior from 2% to 98%, or where it has no
            quantiles as many steps over the central 96% of the codes of x.

    Returns:
        Pictures (dims, steps, *shape).

    Raises:
        ValueError: a dimension that is not there; no x or values where they are needed.

    Example:
        >>> from ppl_vae import models, networks
        >>> ae = models.Autoencoder(networks.MLP((1, 8, 8), [16]), networks.MLP(2, [16]), 2, (1, 8, 8))
        >>> traverse(ae, torch.rand(4, 1, 8, 8), dims=[1], values=[-1.0, 0.0, 1.0]).shape
        torch.Size([1, 3, 1, 8, 8])
    """
    dims = list(range(model.dim)) if dims is None else list(dims)
    if any(not 0 <= d < model.dim for d in dims):
        raise ValueError(f"dims must lie between 0 and {model.dim - 1}, not {dims}")
    given = None if x is None else codes(model, x)
    if values is None:
        grid = _axis_values(model, 9, given)
    else:
        grid = torch.as_tensor(values, dtype=torch.float32)[:, None].expand(-1, model.dim)
    z = (_centre(model) if given is None else given[0]).repeat(len(dims), len(grid), 1)
    for row, d in enumerate(dims):
        z[row, :, d] = grid[:, d]
    return decode(model, z)


def manifold(model: Any, n: int = 15, x: Tensor | None = None) -> Tensor:
    """The plane of a 2-d latent space decoded on an n by n grid: z1 grows to the right, z2 upwards.

    The grid lies at quantiles of the prior, 2% to 98%, or where it has none over the central 96% of the codes of x.

    Args:
        model: a VAE or an autoencoder with ``dim`` 2.
        n: points a side.
        x: inputs (N, *shape), needed where the prior has no quantiles.

    Returns:
        Pictures (n, n, *shape).

    Raises:
        ValueError: ``dim`` is not 2, or there is neither a prior with quantiles nor x.

    Example:
        >>> from ppl_vae import models, networks
        >>> ae = models.Autoencoder(networks.MLP((1, 8, 8), [16]), networks.MLP(2, [16]), 2, (1, 8, 8))
        >>> manifold(ae, 4, x=torch.rand(9, 1, 8, 8)).shape
        torch.Size([4, 4, 1, 8, 8])
    """
    if model.dim != 2:
        raise ValueError(f"a manifold needs a model with dim 2, not {model.dim}; traverse shows more dimensions")
    values = _axis_values(model, check_size("n", n, least=2), None if x is None else codes(model, x))
    z2, z1 = torch.meshgrid(values[:, 1].flip(0), values[:, 0], indexing="ij")
    return decode(model, torch.stack([z1, z2], -1))


def project(codes: Tensor) -> Tensor:
    """Codes (N, dim) in the plane (N, 2): as they are when dim is 2, else the first two principal components.

    Raises:
        ValueError: codes that are NaN or infinite.

    Example:
        >>> project(torch.randn(20, 5)).shape
        torch.Size([20, 2])
    """
    check_codes(codes, "x")
    if codes.shape[1] == 1:
        return torch.cat([codes, torch.zeros_like(codes)], 1)
    if codes.shape[1] == 2 or len(codes) < 2 or bool((codes == codes[0]).all()):
        return codes[:, :2]
    with own_randomness():  # importing scikit-learn draws from Python's random numbers
        from sklearn.decomposition import PCA
    return torch.from_numpy(PCA(2, svd_solver="full").fit_transform(codes.double().numpy())).float()


def _in_batches(
    model: Any, function: Callable[..., Tensor], x: Tensor, y: Tensor | None = None, seed: int = 0
) -> Tensor:
    """``function`` of x (N, ...) and maybe y (N, ...) on the model's device, in small batches, back on the CPU."""
    given = [x] if y is None else [x, y]
    with evaluating(model, seed) as device:
        parts = [function(*(t[i : i + BATCH].to(device) for t in given)) for i in range(0, len(x), BATCH)]
        return torch.cat([part.float().cpu() for part in parts])


def _mean(distribution: TorchDistribution) -> Tensor:
    try:
        return distribution.mean
    except NotImplementedError:
        return distribution.sample((DRAWS,)).mean(0)


def _prior(model: Any, y: Tensor | None = None) -> TorchDistribution:
    if not hasattr(model, "prior"):
        raise TypeError(f"a {type(model).__name__} has no prior to draw from; use a VAE")
    return model.prior(y)


def prior_draws(model: Any, n: int, seed: int = 0, y: Tensor | None = None) -> Tensor:
    """Codes (n, dim) drawn from the prior of a model that has one."""
    check_size("n", n)
    if y is not None and len(y) != n:
        raise ValueError(f"y must hold n = {n} labels, not {len(y)}")
    with evaluating(model, seed) as device:
        prior = _prior(model, None if y is None else y.to(device))
        return prior.sample(() if prior.batch_shape else (n,)).cpu()


def _centre(model: Any) -> Tensor:
    """The prior's mean (dim,)."""
    if not hasattr(model, "prior"):
        raise ValueError(f"x must be given: a {type(model).__name__} has no prior to start from")
    with evaluating(model, 0):
        return _mean(_prior(model)).float().cpu()


def _axis_values(model: Any, steps: int, given: Tensor | None) -> Tensor:
    """Values (steps, dim) to show along each axis of the latent space: prior quantiles, else the range of codes."""
    levels = torch.linspace(0.02, 0.98, steps)[:, None]
    if hasattr(model, "prior"):
        with evaluating(model, 0) as device:
            base = _prior(model)
            while hasattr(base, "base_dist") and hasattr(base, "reinterpreted_batch_ndims"):
                base = base.base_dist
            try:
                if tuple(base.batch_shape) == (model.dim,):
                    return base.icdf(levels.to(device)).float().cpu()
            except NotImplementedError:
                pass
    if given is None or len(given) < 2:
        raise ValueError("values must be given, or two inputs or more as x: the model's prior has no quantiles")
    low, high = torch.quantile(given, torch.tensor([0.02, 0.98]), 0)
    return torch.lerp(low, high, (levels - 0.02) / 0.96)
