"""All figures of a model on data in one dict, which ``ppl-vae evaluate``, the report and comparisons show.

Bits per dimension are -log2 p(x) / D over the D entries that were seen. A mass is taken as it is; for x de-quantized
from L levels to [0, 1] a density p(x) stands for that of x L, D log L nats lower, which bounds the mass of the levels
(Theis et al. 2016).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..checks import check_size
from ..data import as_split
from ..estimators.program_layout import ProgramLayout, program_layout
from ..failing import sentence
from ..likelihoods import Likelihood
from ..models import VAE, AdjustedVAE, Codec, Discrete, Pair, SemiSupervisedVAE
from ..models.protocols import is_pair
from ..statistics import LogLikelihood, bits_per_dim
from . import doors, predictions
from .baseline import Baseline, gain
from .coding import codes, error_at
from .discrete import CodeUsage
from .doors import check_data, counted, evaluating, filled_labels
from .importance import log_likelihood
from .leaking import leakage
from .spreads import spreads
from .terms import ACTIVE, elbo

SPREAD = 200  # examples at which scales of the likelihood are read


def evaluate(
    model: Codec | Pair,
    data: Any,
    *,
    num_particles: int = 100,
    limit: int | None = None,
    seed: int = 0,
    memory: int = 2**28,
    train: Any = None,
) -> dict[str, Any]:
    """The figures of a trained model on one split, in nats per example at beta = 1; ``figures`` says what each is.

    Args:
        model: a VAE, an autoencoder, or any ``models.Codec`` or ``models.Pair``.
        data: a split of ``ppl_vae.data``, or what ``fit`` takes for one.
        num_particles: K of the log-likelihood.
        limit: only the first so many examples.
        seed: of the samples.
        memory: bytes for the intermediate tensors of the log-likelihood.
        train: the training rows, for the figures that compare with the same likelihood fitted to them without a code;
            None leaves these out.

    Returns:
        for a VAE: log_likelihood, log_likelihood_kind ("mass" or "density": figures of the two kinds compare only as
        bits of de-quantized data), log_likelihood_stderr (of the sampling), error_unknown (share of the examples whose
        error is not known), if that is 0 log_likelihood_error (``LogLikelihood.mean_error``, to print after +-), elbo,
        reconstruction, kl, bits_per_dim, elbo_bits_per_dim (of the ELBO), active_units, n, num_particles, ess and khat
        (medians) and reconstruction_error; for an autoencoder the last and n; for a ``models.Discrete`` elbo,
        reconstruction, kl (the rate of its codes), bits_per_dim (of the ELBO too, the only bound there is),
        code_perplexity, codes_used and num_codes beside these; for a ``Program`` the terms and the log-likelihood, of
        kind "posterior predictive" where it has latent sites outside the data plate. Of data with labels also accuracy,
        or prediction_error and explained, of a ``models.Predictor``, which is not given them, and cluster_accuracy,
        nmi and ari of a ``models.Clustering``; of a ``SemiSupervisedVAE`` label_kl, the part KL(q(y | x) || p(y)) of
        kl; of an ``AdjustedVAE`` leakage, where training rows are given. Bits per dimension are corrected for the
        volume of a level where the likelihood is a density and the data were de-quantized, and are per seen (of a
        Program: observed) entry. A figure not defined for every example is NaN.

    Raises:
        TypeError: a model that is neither a ``Codec`` nor a ``Pair``.
        ValueError: no data, a limit below 1, data outside the likelihood's support, labels that do not fit, or a
            parameter that holds NaN.
    """
    if not (isinstance(model, Codec) or is_pair(model)):
        raise TypeError(f"model must be a models.Codec or a models.Pair to be evaluated, not {type(model).__name__}")
    data = as_split(data, part="test").resolve(model.support if isinstance(model, Codec) else None)
    n = len(data) if limit is None else min(check_size("limit", limit), len(data))
    pieces, labels = [], []
    target = model.target if isinstance(model, Codec) else None  # a site of the model, unknown to it here
    size, found = _piece(model, data, n)
    without, why = _without(model, train)
    for start in range(0, n, size):
        batch = data.take(slice(start, min(start + size, n)))
        labels += batch[1:]
        batch = batch if target is None else batch[:1]
        columns = _columns(model, batch, num_particles, seed + start // size, memory)
        pieces.append(columns | ({} if without is None else {"without": without.log_prob(*batch)}))
    joined = {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}
    mean = {name: column.double().mean().item() for name, column in joined.items() if column.dim() == 1}
    out: dict[str, Any] = {}
    if is_pair(model):
        out = {k: mean[k] for k in ("log_likelihood", "elbo", "reconstruction", "kl", "label_kl") if k in mean}
        stderr = joined["variance"].double().sum().sqrt().item() / n
        estimate = (joined[name] for name in ("log_likelihood", "stderr", "ess", "khat"))
        likelihood = LogLikelihood(*estimate, num_particles, stderr)
        out["log_likelihood_stderr"] = stderr
        out["error_unknown"] = (~likelihood.error_known).double().mean().item()
        out |= {} if math.isnan(likelihood.mean_error) else {"log_likelihood_error": likelihood.mean_error}
        out |= _bits(model, mean, data, found)
        out |= {name: joined[name].median().item() for name in ("ess", "khat")}
        out["num_particles"] = num_particles
        out |= why if without is None else _gain(joined["log_likelihood"], joined["without"])
        some = data.take(slice(0, min(n, SPREAD)))[: None if target is None else 1]
        out |= spreads(model, *some, train=train) if train is not None else {}
        if isinstance(model, Codec):
            active = (joined["codes"].var(0, correction=0) > ACTIVE).sum()
            out["active_units"] = int(active) if joined["codes"].isfinite().all() else math.nan
    if isinstance(model, Discrete):
        out = {name: mean[name] for name in ("elbo", "reconstruction", "kl")}
        out |= _bits(model, mean | {"log_likelihood": mean["elbo"]}, data, None)
        usage = CodeUsage(torch.bincount(joined["codes"].flatten(), minlength=model.num_codes))
        out |= {"code_perplexity": usage.perplexity, "codes_used": usage.used, "num_codes": model.num_codes}
        out |= why if without is None else _gain(joined["elbo"], joined["without"])
        out |= spreads(model, *data.take(slice(0, min(n, SPREAD))), train=train) if train is not None else {}
    if isinstance(model, Codec):
        out["reconstruction_error"] = mean["reconstruction_error"]
    out |= predictions.scores(model, joined, torch.cat(labels) if labels else None)
    if isinstance(model, AdjustedVAE) and train is not None:
        out["leakage"] = leakage(model, train, data.take(slice(0, n)), seed=seed).left
    return {**out, "n": n}


def _without(model: Any, train: Any) -> tuple[Baseline | None, dict[str, Any]]:
    """The likelihood fitted without a code, or why it is not."""
    if train is None or not isinstance(model, VAE | Discrete | SemiSupervisedVAE):
        return None, {}
    try:
        return Baseline(model, train), {}
    except (ValueError, TypeError, RuntimeError, NotImplementedError) as error:  # a likelihood of the user's own
        return None, {"gain_unknown": sentence(error)}


def _gain(log_likelihood: Tensor, without: Tensor) -> dict[str, Any]:
    if without.isnan().any() and not log_likelihood.isnan().any():
        return {"gain_unknown": "some examples have a label that no training example has"}
    value, stderr = gain(log_likelihood, without)
    return {"baseline_log_likelihood": without.double().mean().item(), "gain": value, "gain_stderr": stderr}


def _piece(model: Any, data: Any, n: int) -> tuple[int, ProgramLayout | None]:
    """Examples to evaluate at a time, and the layout of a model that is no VAE."""
    if not is_pair(model) or isinstance(model, VAE):
        return doors.PIECE, None
    ready = not isinstance(model, Pair) or model.prepared
    x, *y = data.take(slice(0, 1 if ready else n))
    with evaluating(model, 0) as device:
        found = program_layout(model, x, y[0] if y else None, device)
    return found.piece(doors.PIECE, n), found


def _bits(model: Any, mean: dict[str, float], data: Any, found: ProgramLayout | None) -> dict[str, Any]:
    """Bits per seen entry, with the volume of a level taken out of a density; and what the log-likelihood is of."""
    of_data = isinstance(model, VAE | Discrete | SemiSupervisedVAE)
    mass = of_data and isinstance(model.likelihood, Likelihood) and model.likelihood.mass
    seen = mean["seen"] if found is None or found.entries == math.prod(data.shape) else found.entries
    shape, levels = (seen or math.nan,), None if mass else data.levels
    names = {"bits_per_dim": "log_likelihood", "elbo_bits_per_dim": "elbo"}
    bits = {name: bits_per_dim(mean[of], shape, levels) for name, of in names.items()}
    kind = ("mass" if mass else "density") if of_data else None
    kind = "posterior predictive" if found is not None and found.shared else kind
    return {**bits, **({} if kind is None else {"log_likelihood_kind": kind})}


def _columns(model: Any, batch: tuple[Tensor, ...], num_particles: int, seed: int, memory: int) -> dict[str, Tensor]:
    """Figures by datum: of a Codec its reconstructions, of a Pair its bound and log-likelihood."""
    out: dict[str, Tensor] = {}
    if isinstance(model, Codec):
        x, y = check_data(model, *batch, values=False, third=None)
        y = filled_labels(model, x, y)
        out["codes"] = codes(model, x, y)
        out["reconstruction_error"] = error_at(model, x, y, out["codes"])
        out |= predictions.columns(model, x)
    if isinstance(model, Discrete):
        terms = elbo(model, x, y)
        out |= {"elbo": terms.elbo, "reconstruction": terms.reconstruction, "kl": terms.kl}
        out["seen"] = counted(model, batch[0]).flatten(1).sum(1)
    if is_pair(model):
        terms = elbo(model, *batch, seed=seed)
        likelihood = log_likelihood(model, *batch, num_particles=num_particles, seed=seed, memory=memory)
        out |= {"elbo": terms.elbo, "reconstruction": terms.reconstruction, "kl": terms.kl}
        out |= {"log_likelihood": likelihood.value, "stderr": likelihood.stderr}
        out |= {"ess": likelihood.ess, "khat": likelihood.khat}
        # Of the sum over the piece, whose data may share their draws; shared out among them.
        count = len(terms.elbo)
        out["variance"] = torch.full_like(terms.elbo, count * likelihood.mean_stderr**2)
        out["seen"] = counted(model, batch[0]).reshape(count, -1).sum(1)
    return out
