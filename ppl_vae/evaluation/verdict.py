"""Whether a training went wrong: verdicts on a model from its figures and its rows, with what to try.

    collapsed     the codes carry nothing: the total KL, less that of a predicted label, is below 1 nat, or the gain
                  over the same likelihood fitted without a code is within 2 standard errors of 0. Active units do not
                  tell: 14 of 16 may be active at a KL of 0.8 nats, and a well-trained model may use 4 of 16. Of a model
                  with integer codes the KL is their rate, and it is collapsed too where the code perplexity is below
                  1.1.
    unused        not collapsed, but the code perplexity is below a tenth of the codebook
    costly        the ELBO of a model with integer codes is below the same likelihood fitted without a code
    overfitted    not collapsed, but worse than without a code, or less than half of the gain on training rows is
                  left on rows that the model never saw
    diverged      a figure is NaN or infinite, or a learned scale of the likelihood is below 1/50 of the data's
                  standard deviation for some entry, or above 10 times it on the whole
    untrusted     the median k-hat is above its threshold, or not defined
    undertrained  the validation curve still rises at the end: its best value is among the last tenth of the epochs, and
                  a line through the last fifth rises by more than 2 of its standard errors and by more than 1 % of the
                  whole curve's range and, of the ELBO, 0.05 nats. A run that ``patience`` stopped is not undertrained.

The shell, the report and the comparison say them in these words.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..models import VAE, Discrete, SemiSupervisedVAE
from ..statistics.weights import FEWEST
from .figures import FIGURES, Results, median_khat

LEAST_KL, ERRORS = 1.0, 2.0  # nats in all, and standard errors
STEPS = 2000  # of training and a third of them of a KL warm-up: what six data sets needed
HELD, APART = 0.5, 4.0  # share of the gain that holds on new rows, and standard errors
THIN, WIDE = 1 / 50, 10.0  # learned scales, in standard deviations of the data
RISING, LEAST_RISE = 0.01, 0.05  # of the range of the validation curve, and nats
SAME, HARDLY = 1.1, 0.1  # code perplexity: of codes that are all alike, and its share of a codebook that is hardly used
CURVES = (("elbo", 1.0), ("squared_error", -1.0), ("reconstruction", 1.0))  # terms whose course tells, and their signs
ALIVE = "more revived codes (--quantizer.revive 0.5), codes that start at the data (--quantizer.start kmeans)"
CHEAPER = "more --epochs, a prior that learns which codes go together (--code-prior transformer), fewer codes"
SCALE = "look for entries that hardly vary or repeat others, a fixed scale (--likelihood.scale 0.1), a smaller network"


@dataclass(frozen=True)
class Verdict:
    """One thing that went wrong.

    Attributes:
        name: "collapsed", "overfitted", "unused", "costly", "diverged", "untrusted" or "undertrained".
        sentence: what is wrong, with its numbers, as a sentence.
        advice: what to try, in words and flags of the shell, to follow "Try:".
        serious: whether a comparison places the model after those that are sound: so all but "unused", "costly"
            and "undertrained".
    """

    name: str
    sentence: str
    advice: str
    serious: bool = True

    def __str__(self) -> str:
        return f"{self.sentence} Try: {self.advice}."


def verdict(
    results: Results, rows: Sequence[Mapping[str, Any]] = (), *, model: Any = None, patience: int | None = None
) -> list[Verdict]:
    """What went wrong with a trained model, the worst first; empty where nothing is seen to.

    Args:
        results: figures of held-out data, as ``evaluate(model, data, train=...)`` gives them; those that are missing
            are not judged. Without any, the last row's validation or training terms stand for them.
        rows: ``History.rows`` of the training, or the lines of metrics.jsonl.
        model: the model, if it is at hand: collapse is judged of a VAE and of a model with integer codes only, since
            the KL of a program of one's own may be small for good reasons.
        patience: that of ``fit``, to tell a run that it stopped.

    Source: collapse: Bowman et al. 2016, "Generating sentences from a continuous space", section 3; k-hat: Vehtari et
    al. 2024, "Pareto smoothed importance sampling".

    Example:
        >>> good = {"kl": 4.2, "gain": 3.5, "gain_stderr": 0.2, "active_units": 4}
        >>> verdict(good), [v.name for v in verdict({"kl": 0.79, "gain": 0.5, "gain_stderr": 0.1, "active_units": 14})]
        ([], ['collapsed'])
        >>> print(verdict({"kl": 5.0, "gain": 0.1, "gain_stderr": 0.2})[0].sentence)
        The model is collapsed: it gains 0.10 ± 0.20 nats over the same likelihood fitted without a code.
    """
    main = [row for row in rows if not row.get("stage")]
    last = main[-1] if main else {}
    figures = dict(results) or dict(last.get("valid") or last.get("train") or {})
    found = [*_diverged(figures)]
    if model is None or isinstance(model, VAE | Discrete | SemiSupervisedVAE):
        found += [*_collapsed(figures, main)] or [*_overfitted(figures, main), *_unused(figures)]
    return [*found, *_untrusted(figures), *_undertrained(main, patience)]


def collapsed(verdicts: Sequence[Verdict]) -> bool:
    """Whether one of them is that the model is collapsed.

    Example:
        >>> collapsed(verdict({"kl": 0.3}))
        True
    """
    return any(found.name == "collapsed" for found in verdicts)


def _diverged(figures: Results) -> Iterator[Verdict]:
    for name in ("log_likelihood", "elbo"):
        value = figures.get(name, 0.0)
        if value is None or not math.isfinite(value):
            advice = "a smaller learning rate (--lr 0.0003), clipped gradients (--clip 10), data without extreme values"
            said = "not a number" if value is None or math.isnan(value) else "infinite"
            yield Verdict("diverged", f"The model is diverged: its {FIGURES[name].title} is {said}.", advice)
            return
    least, most = _known(figures, "spread_least"), _known(figures, "spread_most")
    if least is not None and least < THIN:
        said = f"the learned scale of some entry is {least:.2g} of the data's standard deviation, as if it had no noise"
        yield Verdict("diverged", f"The likelihood is diverged: {said}.", SCALE)
    elif most is not None and most > WIDE:
        said = f"its learned scale is {most:.2g} times the data's standard deviation"
        yield Verdict("diverged", f"The likelihood is diverged: {said}.", "a smaller learning rate (--lr 0.0003)")


def _collapsed(figures: Results, rows: Sequence[Mapping[str, Any]]) -> Iterator[Verdict]:
    kl, gain, error = (_known(figures, name) for name in ("kl", "gain", "gain_stderr"))
    said, perplexity, label = [], _known(figures, "code_perplexity"), _known(figures, "label_kl") or 0.0
    if perplexity is not None and perplexity < SAME:
        said.append(f"its codes are nearly all the same, with a code perplexity of {perplexity:.2f}")
    elif kl is not None and kl - label < LEAST_KL:
        beside = "in all" if "label_kl" not in figures else "beside the predicted label"
        carried = max(kl - label, 0.0)
        said.append(f"its codes carry {carried:.2f} nats of information {beside}, less than {LEAST_KL:.0f} nat")
    # A model that is worse than without a code is overfitted; of integer codes the bound alone is compared.
    level = perplexity is None and gain is not None and error is not None and abs(gain) <= ERRORS * error
    if gain is not None and error is not None and (level or (said and gain <= 0)):
        said.append(f"it gains {_signed(gain)} ± {error:.2f} nats over the same likelihood fitted without a code")
    if said:
        yield Verdict("collapsed", f"The model is collapsed: {', and '.join(said)}.", _against_collapse(figures, rows))


def _against_collapse(figures: Results, rows: Sequence[Mapping[str, Any]]) -> str:
    if "code_perplexity" in figures:
        return f"train longer ({_longer(rows, STEPS)}), {ALIVE}"
    last = rows[-1] if rows else {}
    steps = max(2 * last.get("step", 0), STEPS)
    advice = [f"train longer ({_longer(rows, steps)})"]
    beta = last.get("beta", 1.0)
    if beta > 1:
        advice.append(f"a smaller weight of the KL (--beta 1 instead of {beta:g})")
    elif not rows or rows[0].get("beta", 1.0) >= beta:
        advice.append(f"a KL warm-up (--beta linear --beta.steps {steps // 3})")
    if figures.get("log_likelihood_kind") == "density":
        advice.append("a smaller scale of the likelihood (--likelihood.scale 0.1)")
    return ", ".join(advice)


def _unused(figures: Results) -> Iterator[Verdict]:
    perplexity, size = _known(figures, "code_perplexity"), figures.get("num_codes", 0)
    if perplexity is not None and perplexity < HARDLY * size:
        said = f"its {size} codes have a perplexity of {perplexity:.1f}, as if only so many were in use"
        advice = f"{ALIVE}, fewer codes (--quantizer.num-codes {max(2, size // 4)})"
        yield Verdict("unused", f"The codebook is hardly used: {said}.", advice, False)


def _overfitted(figures: Results, rows: Sequence[Mapping[str, Any]]) -> Iterator[Verdict]:
    gain, error = _known(figures, "gain"), _known(figures, "gain_stderr")
    if gain is None or error is None:
        return
    advice = "stop in time (--patience 20 keeps the best weights), a smaller network (--hidden 64), more data"
    if gain < -ERRORS * error:
        if "code_perplexity" in figures:
            said = f"the ELBO is {-gain:.2f} ± {error:.2f} nats below the same likelihood fitted without a code"
            yield Verdict("costly", f"The codes cost more than they tell: {said}.", CHEAPER, False)
            return
        said = f"it loses {-gain:.2f} ± {error:.2f} nats against the same likelihood fitted without a code"
        yield Verdict("overfitted", f"The model is overfitted: {said}.", advice)
        return
    elbo, without = _known(figures, "elbo"), _known(figures, "baseline_log_likelihood")
    trained = _best(rows, "elbo")[1] if rows else None
    if elbo is None or without is None or trained is None:
        return
    there, here = trained - without, elbo - without
    if there > 0 and here < HELD * there and there - here > APART * error:
        said = f"of its gain of {there:.1f} nats on training rows {here:.1f} nats are left on rows that it never saw"
        yield Verdict("overfitted", f"The model is overfitted: {said}.", advice)


def _untrusted(figures: Results) -> Iterator[Verdict]:
    if "khat" not in figures or (figures.get("num_particles") or 0) < FEWEST:  # too few for a k-hat
        return
    khat, limit = median_khat(figures), FIGURES["khat"].limit(figures)
    if not khat <= limit and not math.isnan(limit):
        said = "not defined" if math.isnan(khat) else f"{khat:.2f}, above {limit:.2g}"
        more = f"more importance samples (--num-particles {10 * figures['num_particles']}), a richer posterior"
        yield Verdict("untrusted", f"The log-likelihood is not to be trusted: the median k-hat is {said}.", more)


def _undertrained(rows: Sequence[Mapping[str, Any]], patience: int | None) -> Iterator[Verdict]:
    found = next(((term, sign) for term, sign in CURVES if rows and term in (rows[-1].get("valid") or {})), None)
    if found is None or len(rows) < 2:
        return
    term, sign = found
    curve = sign * np.array([(row.get("valid") or {}).get(term, math.nan) for row in rows], dtype=float)
    if not np.isfinite(curve).all():
        return
    count, best = len(curve), int(curve.argmax())
    if count - best > max(2, math.ceil(count / 10)) or (patience is not None and count - 1 - best >= patience):
        return
    late = curve[-max(5, math.ceil(count / 5)) :]
    rise, error = _rise(late)
    figure = FIGURES[term]
    least = max(RISING * (curve.max() - curve.min()), LEAST_RISE if figure.unit == "nats" else 0.0)
    if rise > max(ERRORS * error, least):
        said = f"the validation {figure.title} still {'rises' if sign > 0 else 'falls'}, by {rise:.2g}"
        said += f"{' ' * bool(figure.unit)}{figure.unit} over the last {len(late)} of {count} epochs"
        yield Verdict("undertrained", f"The training is not over: {said}.", f"train longer ({_longer(rows)})", False)


def _rise(values: np.ndarray) -> tuple[float, float]:
    """How much a line through the values rises from first to last, and its standard error."""
    at = np.arange(len(values)) - (len(values) - 1) / 2
    slope = (at * values).sum() / (at * at).sum()
    left = values - values.mean() - slope * at
    spread = math.sqrt((left * left).sum() / max(1, len(values) - 2))
    return slope * (len(values) - 1), spread / math.sqrt((at * at).sum()) * (len(values) - 1)


def _best(rows: Sequence[Mapping[str, Any]], term: str) -> tuple[int, float | None]:
    """Epoch of the best validation value, or without any the last, and the training value there."""
    seen = [(row.get("valid") or {}).get(term, -math.inf) for row in rows]
    at = max(range(len(rows)), key=lambda i: (seen[i] if not math.isnan(seen[i]) else -math.inf, i))
    return at, _known(rows[at].get("train") or {}, term)


def _longer(rows: Sequence[Mapping[str, Any]], steps: int = 0) -> str:
    """The flag for twice the epochs, or for so many steps where that is more."""
    if not rows:
        return "more --epochs"
    each = max(1, rows[-1].get("step", 0) // len(rows))
    return f"--epochs {max(2 * len(rows), -(-steps // each) if 'step' in rows[-1] else 0)}"


def _known(figures: Mapping[str, Any], name: str) -> float | None:
    value = figures.get(name)
    return None if value is None or not math.isfinite(value) else float(value)


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")
