"""The head of a report: what was trained, in a few words, and its numbers with a line of explanation each."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..data import Data
from ..evaluation.figures import FIGURES, error, median_khat, why_unknown
from ..models import Codec, Discrete, SemiSupervisedVAE

UNDEFINED = "not defined"
SHARES = ("accuracy", "explained", "cluster_accuracy")  # as per cent
OF_LABELS = ("accuracy", "prediction_error", "explained", "cluster_accuracy", "nmi", "ari")
BOUND, OTHERS = ("elbo", "reconstruction", "kl"), ("squared_error", "reconstruction_error", "loss")


@dataclass(frozen=True)
class Number:
    """One of the headline numbers."""

    name: str
    value: str
    unit: str
    meaning: str


def title(model: nn.Module, data: Data | None) -> str:
    """Model and data, as in "VAE on digits"."""
    return type(model).__name__ + (f" on {data.name}" if data is not None and data.name else "")


def facts(
    model: nn.Module, data: Data | None, rows: Sequence[Mapping[str, Any]], config: Mapping[str, Any]
) -> list[str]:
    """What was trained, in a few words each."""
    whole = model.conditional if isinstance(model, SemiSupervisedVAE) else model
    parts = {name: part for name, part in whole.named_children() if name in ("prior", "posterior", "likelihood")}
    facts = [f"{type(part).__name__} {name}" for name, part in parts.items()]
    objective = config.get("objective")
    estimator = objective.get("estimator") if isinstance(objective, Mapping) else None
    if isinstance(estimator, Mapping):
        named = str(estimator.get("class") or estimator.get("custom"))
        facts.append(f"{re.split('[.:]', named)[-1]} estimator")
    if isinstance(model, Discrete):
        facts += dict.fromkeys(type(level).__name__ for level in model.levels)
        facts.append(f"{counted(math.prod(model.code_shape), 'code')} of {model.num_codes} values an example")
    elif isinstance(model, Codec):
        facts.append(counted(math.prod(model.code_shape), "latent dimension"))
    facts.append(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    if data is not None and len(data.train):
        facts.append(f"{len(data.train):,} training examples of shape {' × '.join(map(str, data.shape))}")
    return facts + ([counted(len(rows), "epoch")] if rows else [])


def counted(count: int, what: str) -> str:
    """A count of things, as in "3 epochs"."""
    return f"{count} {what}{'s' * (count != 1)}"


def numbers(
    model: nn.Module, rows: Sequence[Mapping[str, Any]], results: Mapping[str, Any], split: str
) -> Iterator[Number]:
    """The evaluation's results on a split, or without any the last epoch's terms, and the time that training took."""
    if not results and rows:
        split = "valid" if rows[-1].get("valid") else "train"
        results = dict(rows[-1].get("valid") or rows[-1].get("train") or {})
    where = {"valid": "Validation", "train": "Training"}.get(split, split.capitalize())
    if "log_likelihood" in results:
        yield _likelihood(results, where)
    if results.get("gain") is not None and not math.isnan(results["gain"]):
        figure, spread = FIGURES["gain"], results.get("gain_stderr")
        value = _digits(results["gain"]) + (f" ± {spread:.2g}" if spread is not None and spread > 0 else "")
        yield Number(figure.title.capitalize(), value, figure.unit, figure.told(results))
    for name in (name for name in OF_LABELS if name in results):
        figure, share = FIGURES[name], name in SHARES and results[name] is not None
        value = f"{100 * results[name]:.1f}" if share else _digits(results[name])
        yield Number(f"{where} {figure.title}", value, "%" if share else figure.unit, figure.told(results))
    for name in BOUND if "elbo" in results else (*BOUND, *OTHERS):
        if name in results:
            figure = FIGURES[name]
            yield Number(f"{where} {figure.title}", _digits(results[name]), figure.unit, figure.told(results))
    if results.get("bits_per_dim") is not None:
        figure = FIGURES["bits_per_dim"]
        yield Number(figure.title.capitalize(), _digits(results[figure.name], 3), "", figure.told(results))
    if "code_perplexity" in results:
        figure, of = FIGURES["code_perplexity"], f"of {results['num_codes']}"
        yield Number(figure.title.capitalize(), _digits(results[figure.name], 1), of, figure.told())
        figure = FIGURES["codes_used"]
        yield Number(figure.title.capitalize(), f"{results[figure.name]}", of, figure.told())
    if "active_units" in results and isinstance(model, Codec):
        figure, value = FIGURES["active_units"], results["active_units"]
        said = f"{value}" if isinstance(value, int) else UNDEFINED
        yield Number(figure.title.capitalize(), said, f"of {math.prod(model.code_shape)}", figure.told())
    last = rows[-1] if rows else {}
    if last.get("seconds"):
        yield Number("Training time", *_duration(last["seconds"]), f"for {counted(len(rows), 'epoch')}")
    if last.get("examples_per_second"):
        yield Number("Speed", f"{last['examples_per_second']:,.0f}", "/ s", "training examples a second")


def _likelihood(results: Mapping[str, Any], where: str) -> Number:
    """The log-likelihood with its error, and what k-hat says of the weights."""
    figure, khat, spread = FIGURES["log_likelihood"], median_khat(results), error(results)
    value = _digits(results["log_likelihood"]) + (f" ± {spread:.2g}" if spread is not None else "")
    predictive = results.get("log_likelihood_kind") == "posterior predictive"
    meaning = f"{'posterior predictive ' * predictive}log p(x) of an example never seen; {figure.better} is better"
    if "num_particles" in results:
        meaning += f". By {results['num_particles']:,} importance weights each"
        limit = FIGURES["khat"].limit(results)
        meaning += "" if math.isnan(khat) else f", median k-hat {khat:.2f}"
        meaning += f" (above {limit:.2g}: not to be trusted)" if khat > limit else ""
        meaning += "" if spread is not None else f"; its error is not known: {why_unknown(results)}"
    return Number(f"{where} {figure.title}", value, figure.unit, meaning)


def _digits(value: float | None, decimals: int = 2) -> str:
    """A number, or that it is not defined: in JSON null."""
    if value is None or math.isnan(value):
        return UNDEFINED
    return f"{value:,.{decimals if abs(value) < 1000 else 1}f}".replace("-", "\N{MINUS SIGN}")


def _duration(seconds: float) -> tuple[str, str]:
    if seconds < 120:
        return f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.1f}", "seconds"
    return (f"{seconds / 60:.0f}", "minutes") if seconds < 7200 else (f"{seconds / 3600:.1f}", "hours")


def command(run: str, config: Mapping[str, Any]) -> str | None:
    """Command that trains the same again from the run's config.json; None for a run that no shell made."""
    if not config.get("shell"):
        return None
    return shlex.join(["ppl-vae", "train", "--config", f"{run}/config.json", "--out", f"{run}-again"])
