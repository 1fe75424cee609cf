"""What the ELBO is made of, always at beta = 1: elbo = reconstruction - kl, in nats per example.

An active unit is a code dimension with Var_x(E_q[z_j]) > 0.01 (Burda et al. 2016). Bits per dimension are
-log2 p(x) / D over the D entries that were seen. A mass is taken as it is; for x de-quantized from L levels to [0, 1]
a density p(x) stands for that of x L, D log L nats lower, which bounds the mass of the levels (Theis et al. 2016).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import kl_divergence

from .. import supports
from ..checks import check_size
from ..data import as_split
from ..estimators import MeanFieldELBO
from .importance import check_data, check_shape, evaluating, log_likelihood
from .layout import Layout, layout
from .weights import LogLikelihood

PIECE = 1000  # examples at a time
ACTIVE = 0.01  # variance of a code's posterior mean above which it is an active unit


@dataclass(frozen=True)
class ELBO:
    """Terms of every datum, each (B,), in nats at beta = 1.

    Attributes:
        elbo: reconstruction - kl.
        reconstruction: E_q log p(x | z).
        kl: KL(q(z | x) || p(z)).
    """

    elbo: Tensor
    reconstruction: Tensor
    kl: Tensor


def elbo(model: Any, x: Tensor, y: Tensor | None = None, num_particles: int = 1, seed: int = 0) -> ELBO:
    """ELBO of every datum and its terms; the KL in closed form where Pyro knows it.

    Args:
        model: a module with Pyro programs ``model`` and ``guide``. The KL of latent sites outside the data plate is
            shared out among the N data that the plate stands for.
        x: data (B, *shape).
        y: labels (B, ...), or None.
        num_particles: samples of z for every datum.
        seed: of the samples.

    Raises:
        ValueError: no data, or data outside the likelihood's support.

    Source: Kingma and Welling 2014.

    Example:
        >>> from ppl_vae import likelihoods, models, networks, posteriors, priors
        >>> vae = models.VAE(
        ...     priors.Normal(2),
        ...     posteriors.Normal(networks.MLP(6, [8]), 2),
        ...     likelihoods.Bernoulli(networks.MLP(2, [8]), 6),
        ... )
        >>> terms = elbo(vae, torch.ones(5, 6))
        >>> torch.allclose(terms.elbo, terms.reconstruction - terms.kl)
        True
    """
    x = check_data(model, x)
    with evaluating(model, seed) as device:
        found = layout(model, x, y, device)
        # Of global latents one draw at a time: the layers of a program need not take particles in front of them.
        runs, k = (1, num_particles) if found.vectorised and not found.shared else (num_particles, 1)
        estimator = MeanFieldELBO(num_particles=k, max_plate_nesting=max(1, found.nesting))
        size = found.piece(PIECE // k, len(x))
        parts = []
        for i in range(0, len(x), size):
            batch = [t[i : i + size].to(device) for t in (x, y) if t is not None]
            drawn = [estimator.terms(model.model, model.guide, *batch) for _ in range(runs)]
            names = ("elbo", "reconstruction", "kl")
            parts.append([torch.stack([getattr(t, name) for t in drawn]).mean(0).cpu() for name in names])
    return ELBO(*(torch.cat(column) for column in zip(*parts, strict=True)))


def codes(model: Any, x: Tensor, y: Tensor | None = None, num_particles: int = 100, seed: int = 0) -> Tensor:
    """Posterior means E_q[z] (B, dim), sampled where the family has none in closed form; an autoencoder's codes.

    Args:
        model: a VAE, or a module with ``encode``.
        x: data (B, *shape).
        y: labels (B, ...), or None.
        num_particles: samples for each sampled mean.
        seed: of the samples.

    Raises:
        TypeError: the model has neither ``posterior`` nor ``encode``.
        ValueError: no data, or data of another shape.

    Example:
        >>> from ppl_vae import models, networks
        >>> ae = models.Autoencoder(networks.MLP(6, [8]), networks.MLP(2, [8]), 2, 6)
        >>> codes(ae, torch.ones(5, 6)).shape
        torch.Size([5, 2])
    """
    if not (hasattr(model, "posterior") or hasattr(model, "encode")):
        raise TypeError(f"model must have a posterior or encode to give codes; {type(model).__name__} has neither")
    x = check_shape(model, x)

    def mean(part: Tensor, label: Tensor | None) -> Tensor:
        if not hasattr(model, "posterior"):
            return model.encode(part).cpu()
        q = model.posterior(part, label)
        try:
            return q.mean.cpu()
        except (NotImplementedError, AttributeError):
            return q.sample((num_particles,)).mean(0).cpu()

    with evaluating(model, seed) as device:
        return torch.cat([mean(*_moved(device, x, y, i)) for i in range(0, len(x), PIECE)])


def _moved(device: torch.device, x: Tensor, y: Tensor | None, start: int) -> tuple[Tensor, Tensor | None]:
    """A piece of the data on the device."""
    part = slice(start, start + PIECE)
    return x[part].to(device), None if y is None else y[part].to(device)


def active_units(model: nn.Module, x: Tensor, y: Tensor | None = None, threshold: float = ACTIVE) -> Tensor:
    """Which code dimensions depend on the data: Var_x(E_q[z_j]) > threshold, bool (dim,).

    Raises:
        ValueError: as ``codes``, or codes that are NaN or infinite.

    Source: Burda et al. 2016, "Importance weighted autoencoders", section 5.2.
    """
    return check_codes(codes(model, x, y), "x").var(0, correction=0) > threshold


def check_codes(z: Tensor, where: str) -> Tensor:
    """The codes z (B, dim) of the data ``where``; ValueError if one is NaN or infinite."""
    bad = (~z.isfinite()).any(1).nonzero()
    if len(bad):
        raise ValueError(
            f"the codes of {len(bad)} of the {len(z)} examples of {where} are NaN or infinite, the first in row "
            f"{int(bad[0])}; leave these out, or train a model that takes them"
        )
    return z


def kl_by_dimension(model: Any, x: Tensor, y: Tensor | None = None, num_particles: int = 100, seed: int = 0) -> Tensor:
    """Mean over x of KL(q(z_j | x) || p(z_j)) for every code dimension, (dim,), in nats.

    In closed form where both factorise over dimensions; otherwise the KL between Normals with the mean and variance
    (sampled where they are not known) of each dimension and the prior's: it describes the marginals and does not add
    up to the KL.

    Args:
        model: a VAE.
        x: data (B, *shape).
        y: labels (B, ...), or None.
        num_particles: samples for each moment that is not known.
        seed: of the samples.

    Raises:
        ValueError: no data, or data outside the likelihood's support.
    """

    def moments(p: Any, count: int) -> tuple[Tensor, Tensor]:
        try:
            return p.mean, p.variance
        except (NotImplementedError, AttributeError):
            draws = p.sample((count,))
            return draws.mean(0), draws.var(0)

    def normal_kl(q: Any, p: Any) -> Tensor:
        (q_mean, q_var), (p_mean, p_var) = moments(q, num_particles), moments(p, 10000)
        return 0.5 * ((q_var + (q_mean - p_mean) ** 2) / p_var - 1 - (q_var / p_var).log())

    def divergence(part: Tensor, label: Tensor | None) -> Tensor:
        q, p = model.posterior(part, label), model.prior(label)
        try:
            by_dimension = kl_divergence(q.base_dist, p.expand(q.batch_shape).base_dist)
        except (NotImplementedError, AttributeError):
            by_dimension = None
        if by_dimension is None or by_dimension.shape[-1:] != (model.dim,) or by_dimension.dim() != 2:
            by_dimension = normal_kl(q, p)
        return by_dimension.sum(0).cpu()

    x = check_data(model, x)
    with evaluating(model, seed) as device:
        return sum((divergence(*_moved(device, x, y, i)) for i in range(0, len(x), PIECE)), torch.zeros(())) / len(x)


def reconstruction_error(model: Any, x: Tensor, y: Tensor | None = None) -> Tensor:
    """Squared error |x - x'|^2 of every datum, summed over its seen entries, (B,); x' is the mean of p(x | E_q[z]).

    An average that leaves the prior's support, as on a sphere, is brought onto it first.

    Raises:
        ValueError: no data, or data outside the model's support.

    Example:
        >>> from ppl_vae import models, networks
        >>> ae = models.Autoencoder(networks.MLP(6, [8]), networks.MLP(2, [8]), 2, 6)
        >>> reconstruction_error(ae, torch.ones(5, 6)).shape
        torch.Size([5])
    """
    return _reconstruction_error(model, check_shape(model, x), y, codes(model, x, y))


def _reconstruction_error(model: Any, x: Tensor, y: Tensor | None, z: Tensor) -> Tensor:
    """``reconstruction_error`` at codes that are known."""
    z = supports.onto(model.prior.support, z) if hasattr(model, "prior") else z

    def error(part: Tensor, label: Tensor | None, code: Tensor) -> Tensor:
        out = _mean(model.likelihood(code, label), part) if hasattr(model, "likelihood") else model.decode(code)
        squared = (part - out).square()
        return torch.where(part.isnan(), 0.0, squared).flatten(1).sum(1).cpu()

    with evaluating(model, 0) as device:
        starts = range(0, len(x), PIECE)
        return torch.cat([error(*_moved(device, x, y, i), z[i : i + PIECE].to(device)) for i in starts])


def _mean(p: Any, x: Tensor) -> Tensor:
    """Mean of p(x | z), at the total of x where it is a distribution given that."""
    return p.mean_for(x) if hasattr(p, "mean_for") else p.mean


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


def evaluate(
    model: Any,
    data: Any,
    num_particles: int = 100,
    limit: int | None = None,
    seed: int = 0,
    memory: int = 2**28,
) -> dict[str, Any]:
    """The figures of a trained model on one split, in nats per example at beta = 1.

    Args:
        model: a VAE or an autoencoder.
        data: a split of ``ppl_vae.data``, or what ``fit`` takes for one.
        num_particles: K of the log-likelihood.
        limit: only the first so many examples.
        seed: of the samples.
        memory: bytes for the intermediate tensors of the log-likelihood.

    Returns:
        for a VAE: log_likelihood, log_likelihood_kind ("mass" or "density": figures of the two kinds compare only as
        bits of de-quantized data), log_likelihood_stderr (of the sampling), error_unknown (share of the examples whose
        error is not known), if that is 0 log_likelihood_error (``LogLikelihood.mean_error``, to print after +-), elbo,
        reconstruction, kl, bits_per_dim, active_units, n, num_particles, ess and khat (medians) and
        reconstruction_error; for an autoencoder the last and n; for a ``Program`` the terms and the log-likelihood, of
        kind "posterior predictive" where it has latent sites outside the data plate. Bits per dimension are corrected
        for the volume of a level where the likelihood is a density and the data were de-quantized, and are per seen (of
        a Program: observed) entry. A figure that is not defined for every example is NaN.

    Raises:
        ValueError: no data, a limit below 1, data outside the likelihood's support, or a parameter that holds NaN.
    """
    data = as_split(data, part="test").resolve(getattr(model, "support", None))
    n = len(data) if limit is None else min(check_size("limit", limit), len(data))
    columns: dict[str, list[Tensor]] = {}
    piece, found = _piece(model, data, n)
    for start in range(0, n, piece):
        batch = data.take(slice(start, min(start + piece, n)))
        figures = _figures(model, batch, num_particles, seed + start // piece, memory)
        for name, column in figures.items():
            columns.setdefault(name, []).append(column)
    joined = {name: torch.cat(parts) for name, parts in columns.items()}
    mean = {name: column.double().mean().item() for name, column in joined.items() if column.dim() == 1}
    out: dict[str, Any] = {}
    if "log_likelihood" in joined:
        for name in ("log_likelihood", "elbo", "reconstruction", "kl"):
            out[name] = mean[name]
        stderr = joined["variance"].double().sum().sqrt().item() / n
        estimate = (joined[name] for name in ("log_likelihood", "stderr", "ess", "khat"))
        likelihood = LogLikelihood(*estimate, num_particles, stderr)
        out["log_likelihood_stderr"] = stderr
        out["error_unknown"] = (~likelihood.error_known).double().mean().item()
        out |= {} if math.isnan(likelihood.mean_error) else {"log_likelihood_error": likelihood.mean_error}
        out |= _bits(model, mean, data, found)
        out |= {name: joined[name].median().item() for name in ("ess", "khat")}
        out["num_particles"] = num_particles
    if "codes" in joined and "log_likelihood" in joined:
        active = (joined["codes"].var(0, correction=0) > ACTIVE).sum()
        out["active_units"] = int(active) if joined["codes"].isfinite().all() else math.nan
    if "reconstruction_error" in mean:
        out["reconstruction_error"] = mean["reconstruction_error"]
    return {**out, "n": n}


def _piece(model: Any, data: Any, n: int) -> tuple[int, Layout | None]:
    """Examples to evaluate at a time, and the layout of a Program."""
    if not hasattr(model, "guide") or hasattr(model, "posterior"):
        return PIECE, None
    batch = data.take(slice(0, 1 if getattr(model, "prepared", True) else n))
    with evaluating(model, 0) as device:
        found = layout(model, batch[0], batch[1] if len(batch) > 1 else None, device)
    return found.piece(PIECE, n), found


def _bits(model: Any, mean: dict[str, float], data: Any, found: Layout | None) -> dict[str, Any]:
    """Bits per seen entry, with the volume of a level taken out of a density; and what the log-likelihood is of."""
    likelihood = getattr(model, "likelihood", None)
    mass = getattr(likelihood, "mass", False)
    seen = mean["seen"] if found is None or found.entries == math.prod(data.shape) else found.entries
    bits = bits_per_dim(mean["log_likelihood"], (seen or math.nan,), None if mass else data.levels)
    kind = None if likelihood is None else "mass" if mass else "density"
    kind = "posterior predictive" if found is not None and found.shared else kind
    return {"bits_per_dim": bits, **({} if kind is None else {"log_likelihood_kind": kind})}


def _figures(model: Any, batch: tuple[Tensor, ...], num_particles: int, seed: int, memory: int) -> dict[str, Tensor]:
    """Per-datum figures that the model has: of a Program only those of its bound."""
    x, y = batch[0], batch[1] if len(batch) > 1 else None
    out: dict[str, Tensor] = {}
    if hasattr(model, "posterior") or hasattr(model, "encode"):
        out["codes"] = codes(model, x, y)
        out["reconstruction_error"] = _reconstruction_error(model, check_shape(model, x), y, out["codes"])
    if hasattr(model, "guide"):
        terms = elbo(model, x, y, seed=seed)
        likelihood = log_likelihood(model, x, num_particles, seed=seed, y=y, memory=memory)
        out |= {"elbo": terms.elbo, "reconstruction": terms.reconstruction, "kl": terms.kl}
        out |= {"log_likelihood": likelihood.value, "stderr": likelihood.stderr}
        out |= {"ess": likelihood.ess, "khat": likelihood.khat}
        # Of the sum over the piece, whose data may share their draws; shared out among them.
        out["variance"] = torch.full_like(terms.elbo, len(x) * likelihood.mean_stderr**2)
        out["seen"] = (~x.isnan()).reshape(len(x), -1).sum(1)
    return out
