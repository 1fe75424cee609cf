"""Is the guide right? Calibration of q(z | x) on data whose true codes are known.

    z* ~ p(z),  x* ~ p(x | z*),  z_1 ... z_L ~ q(z | x*)

If q(z | x) is the posterior, z* and the z_l are exchangeable: the rank of z*_j among the draws is uniform on 0 ... L,
for every code dimension j. Ranks concentrated at both ends mean that q is too narrow, in the middle too wide, at one
end biased. Passing is necessary and not sufficient: a guide that returned the prior would pass, so read it
beside the KL and the importance weights, which it would fail (Modrak et al. 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..checks import check_size
from ..estimators.simulation import entry_names, looks, per_datum, run, simulate, structure
from ..models import Codec, Pair
from ..models.protocols import is_pair
from ..statistics.ranks import SBC, VSBC, Coverage
from ..statistics.weights import Khat, khat
from .doors import check_data, check_labels, evaluating

__all__ = ["SBC", "VSBC", "Coverage", "Khat", "coverage", "khat", "sbc", "vsbc"]


def sbc(
    model: Pair,
    x: Tensor | int,
    y: Tensor | None = None,
    *,
    num_datasets: int | None = None,
    num_draws: int = 99,
    seed: int = 0,
) -> SBC:
    """Simulation-based calibration of the guide.

    Data are simulated in batches like x, of which only the shape, the missing entries and the totals of counts matter,
    and the guide is run on them. Ties, as discrete codes have, are broken at random.

    Args:
        model: a module with Pyro programs ``model`` and ``guide``, all latents inside the data plate.
        x: a batch (B, *shape) like the data to simulate, or for a VAE a number of examples.
        y: labels (B, ...) that the data are simulated for, or None.
        num_datasets: N data to simulate, in as many batches of B as it takes; B by default.
        num_draws: L draws of the guide for each.
        seed: of all draws; the caller's generators are left alone.

    Raises:
        ValueError: latents outside the data plate, an observed site that is not x, a guide that gives NaN.

    Source: Cook, Gelman and Rubin 2006; Talts et al. 2018, "Validating Bayesian inference algorithms with
    simulation-based calibration".

    Example:
        >>> from ppl_vae import VAE, likelihoods, networks, priors
        >>> vae = VAE(priors.Normal(2), likelihood=likelihoods.Bernoulli(networks.MLP(2, [8]), 6))
        >>> result = sbc(vae, 100, num_draws=19)
        >>> result.ranks.shape, result.names, result.histogram(bins=10).sum(0).tolist()
        (torch.Size([100, 2]), ('z[0]', 'z[1]'), [100, 100])
    """
    if not is_pair(model):
        raise TypeError(f"model must be a models.Pair, with Pyro programs model and guide, not {type(model).__name__}")
    check_size("num_draws", num_draws)
    n = None if num_datasets is None else check_size("num_datasets", num_datasets, least=2)
    with evaluating(model, seed) as device:
        if isinstance(x, int):
            x, y = _generated(model, x), check_labels(model, y, x, third="num_datasets")
        else:
            x, y = check_data(model, x, y, third="num_datasets")
        batch = tuple(t.to(device) for t in (x, y) if t is not None)
        n = len(x) if n is None else n
        pieces: list[tuple[Tensor, ...]] = []
        names: tuple[str, ...] = ()
        for _ in range(-(-n // len(x))):
            *piece, names = _ranks(model, batch, num_draws)
            pieces.append(tuple(piece))
        ranks, jitter = (torch.cat(column)[:n].cpu() for column in zip(*pieces, strict=True))
    return SBC(ranks, num_draws, names, jitter)


def vsbc(model: Pair, x: Tensor | int, y: Tensor | None = None, **more: int) -> VSBC:
    """Variational simulation-based calibration: is the guide biased, whatever its width? Arguments as of ``sbc``.

    Source: Yao, Vehtari, Simpson and Gelman 2018, "Yes, but did it work? Evaluating variational inference".

    Example:
        >>> from ppl_vae import VAE, likelihoods, networks, priors
        >>> vae = VAE(priors.Normal(2), likelihood=likelihoods.Bernoulli(networks.MLP(2, [8]), 6))
        >>> vsbc(vae, 100).p_values.shape
        torch.Size([2])
    """
    return sbc(model, x, y, **more).vsbc()


def coverage(
    model: Pair,
    x: Tensor | int,
    y: Tensor | None = None,
    *,
    levels: Sequence[float] = (0.5, 0.8, 0.9, 0.95),
    **more: int,
) -> Coverage:
    """How often central intervals of the guide, at nominal ``levels``, hold the true code. Others as of ``sbc``.

    Example:
        >>> from ppl_vae import VAE, likelihoods, networks, priors
        >>> vae = VAE(priors.Normal(2), likelihood=likelihoods.Bernoulli(networks.MLP(2, [8]), 6))
        >>> coverage(vae, 100, levels=[0.9]).value.shape
        torch.Size([1, 2])
    """
    return sbc(model, x, y, **more).coverage(levels)


def _generated(model: Any, n: int) -> Tensor:
    if not isinstance(model, Codec):
        raise ValueError(f"x must be a batch like the data to simulate, not {n!r}; only a VAE generates without one")
    return model.model(n=check_size("x", n, least=2)).cpu()


def _ranks(model: Any, batch: tuple[Tensor, ...], num_draws: int) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Ranks and jitter (B, D) of one simulated batch, and the names of their columns."""
    where = structure(model, batch)
    if where.outside:
        raise ValueError(
            f"site {where.outside[0]} is outside the plate {where.plate.name}, so its posterior belongs to all data at "
            "once and the guide was fitted to these data alone; fix it with poutine.condition to calibrate the others"
        )
    if not where.latent:
        raise ValueError("the model has no latent site, so there is no guide to calibrate")
    made, simulated = simulate(model, batch, where)
    if not looks(model.guide, batch, simulated):
        raise ValueError(
            "the guide is the same whatever x is, so it cannot be asked about simulated data; calibration is for a "
            "guide that computes q(z | x) from x"
        )
    drawn = run(model.guide, simulated, num_draws, where.nesting)
    truth = torch.cat([per_datum(made[name], where) for name in where.latent], -1)
    draws = torch.cat([per_datum(drawn[name], where, particles=True) for name in where.latent], -1)
    if draws.isnan().any() or truth.isnan().any():
        raise ValueError("the guide gives NaN on data that the model simulated; check on which of them")
    below, ties = (draws < truth).sum(0), (draws == truth).sum(0)
    ranks = below + (torch.rand(truth.shape, device=truth.device) * (ties + 1)).long().clamp(max=ties)
    names = tuple(entry for name in where.latent for entry in entry_names(made[name], where))
    return ranks, torch.rand(truth.shape, dtype=torch.float64, device=truth.device), names
