"""The head of a report: what was trained, in a few words, and its numbers with a line of explanation each."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..evaluation.weights import FEWEST, FINITE, trusted_khat

_TERMS = {
    "elbo": ("ELBO", "lower bound on the log-likelihood: reconstruction minus KL"),
    "reconstruction": ("Reconstruction", "how probable the data is, given its own code"),
    "kl": ("KL", "what a code tells beyond the prior"),
    "squared_error": ("Squared error", "distance between an example and its reconstruction; lower is better"),
    "reconstruction_error": ("Squared error", "distance between an example and its reconstruction; lower is better"),
    "loss": ("Loss", "what training made small"),
}


UNDEFINED = "not defined"


@dataclass(frozen=True)
class Number:
    """One of the headline numbers."""

    name: str
    value: str
    unit: str
    meaning: str


def title(model: nn.Module, data: Any) -> str:
    """Model and data, as in "VAE on digits"."""
    name = getattr(data, "name", None)
    return f"{type(model).__name__} on {name}" if name else type(model).__name__


def facts(model: nn.Module, data: Any, rows: Sequence[Mapping[str, Any]], config: Mapping[str, Any]) -> list[str]:
    """What was trained, in a few words each."""
    parts = [name for name in ("prior", "posterior", "likelihood") if isinstance(getattr(model, name, None), nn.Module)]
    facts = [f"{type(getattr(model, name)).__name__} {name}" for name in parts]
    objective = config.get("objective")
    estimator = objective.get("estimator") if isinstance(objective, Mapping) else None
    if isinstance(estimator, Mapping):
        facts.append(f"{str(estimator.get('class') or estimator.get('custom')).rpartition('.')[2]} estimator")
    if getattr(model, "dim", None):
        facts.append(f"{model.dim} latent dimension{'s' * (model.dim != 1)}")
    facts.append(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    if getattr(data, "train", None) is not None:
        facts.append(f"{len(data.train):,} training examples of shape {' × '.join(map(str, data.shape))}")
    return facts + ([f"{len(rows)} epoch{'s' * (len(rows) != 1)}"] if rows else [])


def numbers(
    model: nn.Module, rows: Sequence[Mapping[str, Any]], results: Mapping[str, Any], split: str
) -> Iterator[Number]:
    """The evaluation's results on a split, or without any the last epoch's terms, and the time that training took."""
    where = {"valid": "validation", "train": "training"}.get(split, split)
    if not results and rows:
        where = "validation" if rows[-1].get("valid") else "training"
        results = dict(rows[-1].get("valid") or rows[-1].get("train") or {})
    if "log_likelihood" in results:
        error = _error(results)
        value = _digits(results["log_likelihood"]) + (f" ± {error:.2g}" if error is not None else "")
        predictive = results.get("log_likelihood_kind") == "posterior predictive"
        meaning = f"{'posterior predictive ' * predictive}log p(x) of an example never seen; higher is better"
        if "num_particles" in results:
            meaning += f". By {results['num_particles']:,} importance weights each{_quality(results, error)}"
        yield Number(f"{where.capitalize()} log-likelihood", value, "nats", meaning)
    for term, (name, meaning) in _TERMS.items():
        if term in results and (term in ("elbo", "reconstruction", "kl") or "elbo" not in results):
            unit = "nats" if "elbo" in results else ""
            yield Number(
                f"{where.capitalize()} {name if name.isupper() else name.lower()}",
                _digits(results[term]),
                unit,
                meaning,
            )
    if results.get("bits_per_dim") is not None:
        meaning = "the log-likelihood, shared among the entries of an example; lower is better"
        yield Number("Bits per dimension", _digits(results["bits_per_dim"], 3), "", meaning)
    if "active_units" in results:
        meaning = "latent dimensions in use"
        known = isinstance(results["active_units"], int)
        yield Number("Active units", f"{results['active_units']}" if known else UNDEFINED, f"of {model.dim}", meaning)
    last = rows[-1] if rows else {}
    if last.get("seconds"):
        yield Number("Training time", *_duration(last["seconds"]), f"for {len(rows)} epoch{'s' * (len(rows) != 1)}")
    if last.get("examples_per_second"):
        yield Number("Speed", f"{last['examples_per_second']:,.0f}", "/ s", "training examples a second")


def _digits(value: float | None, decimals: int = 2) -> str:
    """A number, or that it is not defined: in JSON null."""
    if value is None or math.isnan(value):
        return UNDEFINED
    return f"{value:,.{decimals if abs(value) < 1000 else 1}f}".replace("-", "\N{MINUS SIGN}")


def _error(results: Mapping[str, Any]) -> float | None:
    """The error of the log-likelihood, where it is known."""
    error = results.get("log_likelihood_error")
    if error is None and "error_unknown" not in results:  # evaluated before there was one: by the median
        most = min(FINITE, trusted_khat(results.get("num_particles", 1)))
        error = results.get("log_likelihood_stderr") if _khat(results) <= most else None
    return None if error is None or math.isnan(error) else error


def _khat(results: Mapping[str, Any]) -> float:
    """The median of k-hat, NaN where it is not defined."""
    khat = results.get("khat")
    return math.nan if khat is None else torch.as_tensor(khat, dtype=torch.float64).median().item()


def _quality(results: Mapping[str, Any], error: float | None) -> str:
    """What k-hat says of the weights, and where it does not vouch for an error."""
    khat, count, said = _khat(results), results["num_particles"], ""
    if not math.isnan(khat):
        said = f", median k-hat {khat:.2f}"
        said += f" (above {trusted_khat(count):.2g}: not to be trusted)" if khat > trusted_khat(count) else ""
    if error is not None:
        return said
    if count < FEWEST:
        return f"{said}; its error is not known, since k-hat needs {FEWEST} weights"
    share = f" for {results['error_unknown']:.0%} of them" if results.get("error_unknown") is not None else ""
    return f"{said}; its error is not known: k-hat is above {min(FINITE, trusted_khat(count)):.2g} or undefined{share}"


def _duration(seconds: float) -> tuple[str, str]:
    if seconds < 120:
        return f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.1f}", "seconds"
    return (f"{seconds / 60:.0f}", "minutes") if seconds < 7200 else (f"{seconds / 3600:.1f}", "hours")


def command(run: str, config: Mapping[str, Any]) -> str | None:
    """Command that trains the same again from the run's config.json; None for a run that no shell made."""
    if not config.get("shell"):
        return None
    return shlex.join(["ppl-vae", "train", "--config", f"{run}/config.json", "--out", f"{run}-again"])
