"""Export to ArviZ: the guide's draws as an ``InferenceData``, for its summaries, plots and PSIS.

Draws of a guide are independent, so chains are only a way to cut them. They are draws of q and not of the posterior:
``log_weight`` = log p(x, z) - log q(z | x) re-weights them, as in ``arviz.psislw(data.sample_stats.log_weight)``.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from ..checks import check_size
from ..estimators.program_layout import doubtful_factor
from ..estimators.simulation import Structure, run, structure
from ..estimators.site import Site, frames_of
from ..estimators.sites import Sites
from ..estimators.tracing import sites
from ..models import Pair
from .doors import check_data, evaluating

NUMBERS = 2**22  # numbers of x in the draws of one piece

Named = dict[str, tuple[Tensor, list[str]]]  # values (K, ...) and the names of the dimensions after the first


def to_arviz(
    model: Pair,
    x: Tensor,
    y: Tensor | None = None,
    *,
    num_draws: int = 1000,
    chains: int = 1,
    seed: int = 0,
    predictive: bool = True,
) -> Any:
    """The guide's draws for the data x, and what goes with them, as an ``arviz.InferenceData``.

    Groups, each with dimensions ``chain`` and ``draw``: ``posterior`` (latent sites, drawn from the guide),
    ``log_likelihood`` (nats, by datum), ``sample_stats`` with ``log_weight`` (by datum; of a program with latents
    outside the data plate the sum over the batch), ``posterior_predictive``, ``prior`` and ``prior_predictive``; and
    ``observed_data``. The dimension of data has the name of the data plate.

    Args:
        model: a module with Pyro programs ``model`` and ``guide``.
        x: data (B, *shape).
        y: labels (B, ...), or None.
        num_draws: draws of the guide in each chain.
        chains: how many chains to cut them into; 4 give ArviZ something to compare.
        seed: of the draws.
        predictive: whether to draw data from posterior and prior: chains * num_draws batches of each are held.

    Raises:
        ValueError: ArviZ is not installed, or data outside the likelihood's support.

    Source: Kumar et al. 2019, "ArviZ, a unified library for exploratory analysis of Bayesian models in Python".

    Example:
        >>> from ppl_vae import VAE, likelihoods, networks, priors
        >>> vae = VAE(priors.Normal(2), likelihood=likelihoods.Bernoulli(networks.MLP(2, [8]), 6))
        >>> dict(to_arviz(vae, torch.ones(5, 6), num_draws=9).posterior.sizes)
        {'chain': 1, 'draw': 9, 'data': 5, 'z_dim_0': 2}
    """
    arviz = _arviz()
    check_size("num_draws", num_draws)
    total = num_draws * check_size("chains", chains)
    x, y = check_data(model, x, y, third="num_draws")
    pieces: list[dict[str, Named]] = []
    with evaluating(model, seed) as device:
        batch = tuple(t.to(device) for t in (x, y) if t is not None)
        where = structure(model, batch)
        # Layers of a program with global latents need not take particles in front of their weights.
        size = 1 if where.outside else max(1, min(total, NUMBERS // x.numel()))
        for done in range(0, total, size):
            pieces.append(_piece(model, batch, min(size, total - done), where, predictive))
        observed = _observed(model, batch, where)
    groups: dict[str, Any] = {}
    coords = {where.plate.name: list(range(where.plate.size))}
    for group, named in pieces[0].items():
        joined = {name: torch.cat([piece[group][name][0] for piece in pieces]).cpu() for name in named}
        values = {name: value.reshape(chains, num_draws, *value.shape[1:]).numpy() for name, value in joined.items()}
        dims = {name: names for name, (_, names) in named.items()}
        groups[group] = arviz.dict_to_dataset(values, coords=coords, dims=dims)
    values = {name: value.cpu().numpy() for name, (value, _) in observed.items()}
    dims = {name: names for name, (_, names) in observed.items()}
    groups["observed_data"] = arviz.dict_to_dataset(values, coords=coords, dims=dims, default_dims=[])
    return arviz.InferenceData(**groups)


def _arviz() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of a version to come, once a day
            import arviz
    except ImportError:
        raise ValueError("arviz is not installed; pip install 'ppl_vae[arviz]'") from None
    if not hasattr(arviz, "InferenceData"):
        raise ValueError(f"arviz {arviz.__version__} has no InferenceData; pip install 'ppl_vae[arviz]'")
    return arviz


def _piece(model: Any, batch: tuple[Tensor, ...], count: int, where: Structure, predictive: bool) -> dict[str, Named]:
    """``count`` draws of every group."""
    traced = sites(model.model, model.guide, batch, count, where.nesting)
    latent = {name: _named(traced.model[name], where, count) for name in where.latent}
    density = {site["name"]: (_log_prob(traced, site), [where.plate.name]) for site in traced.observed}
    out = {"posterior": latent, "log_likelihood": density, "sample_stats": _log_weight(traced, where)}
    if predictive:
        free = poutine.uncondition(model.model)
        given = {name: traced.model[name]["value"] for name in where.latent}
        posterior = _trace(poutine.condition(free, data=given), batch, count, where)
        prior = _trace(free, batch, count, where)
        out["posterior_predictive"] = {name: _named(posterior[name], where, count) for name in where.observed}
        out["prior"] = {name: _named(prior[name], where, count) for name in where.latent}
        out["prior_predictive"] = {name: _named(prior[name], where, count) for name in where.observed}
    return out


def _trace(program: Any, batch: tuple[Tensor, ...], count: int, where: Structure) -> dict[str, Site]:
    """Sites of one run, of one particle without a plate for it, as ``sites`` has them."""
    if count > 1:
        return run(program, batch, count, where.nesting)
    nodes: Any = poutine.trace(program).get_trace(*batch).nodes
    return nodes


def _log_prob(traced: Sites, site: Site) -> Tensor:
    return traced.log_prob(site).expand(traced.num_particles, traced.size)


def _log_weight(traced: Sites, where: Structure) -> Named:
    """log p(x, z) - log q(z | x): by datum, or summed over the batch where latents are outside its plate."""
    total: Any = sum(_log_prob(traced, site) for site in traced.model.values())
    if (factor := doubtful_factor(traced, traced.guide)) is not None:
        raise ValueError(factor)
    total = total - sum(_log_prob(traced, site) for site in traced.drawn.values())
    return {"log_weight": (total.sum(1), []) if where.outside else (total, [where.plate.name])}


def _observed(model: Any, batch: tuple[Tensor, ...], where: Structure) -> Named:
    found = {site["name"]: _named(site, where, 1) for site in sites(model.model, model.guide, batch, 1).observed}
    return {name: (value[0], names) for name, (value, names) in found.items()}


def _named(site: Site, where: Structure, count: int) -> tuple[Tensor, list[str]]:
    """Values of a site, particles in front, and the names of its other dimensions: of its plates, then of its event."""
    value, event = site["value"], site["fn"].event_dim
    value = value.unsqueeze(0) if count == 1 else value.movedim(value.dim() - event - 1 - where.nesting, 0)
    plates = value.dim() - 1 - event
    held = {frame.dim: frame.name for frame in frames_of(site).values()}
    names = [held.get(d) for d in range(-plates, 0)] + [f"{site['name']}_dim_{i}" for i in range(event)]
    kept = [size for size, name in zip(value.shape[1:], names, strict=True) if name]
    return value.reshape(len(value), *kept), [name for name in names if name]
