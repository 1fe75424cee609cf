"""One comparison: our estimator on a program against its reference; the outcome is one of ``KINDS``."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro
import references
import torch
from references import exact, log_mean_exp, mean_field, trace, weighted
from torch import nn

from ppl_vae import estimators as E

KINDS = ("rounding", "4 s.e.", "refused", "third thing")
SEED, ERRORS, PARTICLES = 7, 4.0, 100
DRAWS = (12, 24, 48, 96)  # runs, more where the errors are not yet small
NAMED = re.compile(r"\b(site|plate|scale|factor|beta|batch)(s|es)?\b")

# Traits of programs that an estimator may refuse; ``MUST`` are those at which any number would be wrong.
BROKEN = frozenset({"broken", "one-sided", "summed"})
MAY = BROKEN | {"unobserved", "bare", "drawn by hand"}
HELD = MAY | {"guide factor", "fresh"}
LOCAL = MAY | {"global"}
PATHWISE = BROKEN | {"scored", "rejection"}
LOG = BROKEN | {"global", "uncommon", "inner sampled", "guide observed"}  # weights inside a logarithm
LOG_PATHWISE = LOG | PATHWISE


@dataclass(frozen=True)
class Entry:
    """An estimator of the suite.

    Attributes:
        make: from K and the case.
        reference: loss of a case at K, or None.
        may: traits that it may refuse; a number given all the same must be right.
        must: traits at which it must refuse.
        skips: traits at which there is no reference.
        least: smallest K.
    """

    make: Callable[..., Any]
    reference: Callable[..., Any]
    may: frozenset = MAY
    must: frozenset = BROKEN
    skips: frozenset = frozenset()
    least: int = 1


class Zero(nn.Module):
    """No baseline for NVIL."""

    def __init__(self, size):
        super().__init__()
        self.size = size

    def forward(self, x):
        return x.new_zeros(self.size)


def _log(make, reference, must=LOG, may=frozenset(), least=1):
    # The density of what is drawn by hand is not that of a site; without its path it has no meaning.
    skips = frozenset({"guide factor" if reference in (references.rws, references.tvo) else "drawn by hand"})
    return Entry(make, reference, HELD | may, must, skips, least)


def _miwae(case, k):
    bound = weighted(lambda w: (w.reshape(2, k, -1).logsumexp(1) - math.log(k)).mean(0))
    return bound(case, 2 * k)


BETA, REJECTION = frozenset({"beta"}), frozenset({"rejection"})
ESTIMATORS = {
    "TraceELBO": Entry(lambda k, c: E.TraceELBO(k), trace, MAY | REJECTION),
    "MeanFieldELBO": Entry(lambda k, c: E.MeanFieldELBO(k), mean_field, MAY | REJECTION),
    "STL": Entry(lambda k, c: E.STL(k), references.stl, MAY | {"guide factor", "guide observed"}, PATHWISE),
    "NVIL": Entry(lambda k, c: E.NVIL(k, Zero(c.size)), references.scored, LOCAL | REJECTION),
    "DisARM": Entry(lambda k, c: E.DisARM(4), exact, LOCAL | {"several", "not Bernoulli"}),
    "Enum": Entry(lambda k, c: E.Enum(k), exact, LOCAL - {"summed"} | REJECTION | {"by hand"}, BROKEN - {"summed"}),
    "IWAE": _log(lambda k, c: E.IWAE(k), weighted(log_mean_exp), LOG_PATHWISE),
    "IWAE stl": _log(lambda k, c: E.IWAE(k, "stl"), weighted(log_mean_exp, stl=True), LOG_PATHWISE),
    "MIWAE": _log(lambda k, c: E.MIWAE(k, 2), _miwae, LOG_PATHWISE),
    "CIWAE": _log(
        lambda k, c: E.CIWAE(k, 0.3), weighted(lambda w: 0.3 * w.mean(0) + 0.7 * log_mean_exp(w)), LOG_PATHWISE
    ),
    "Renyi": _log(lambda k, c: E.Renyi(0.5, k), weighted(lambda w: log_mean_exp(0.5 * w) / 0.5), LOG_PATHWISE, least=2),
    "DReG": _log(lambda k, c: E.DReG(k), references.paths(references.dreg_coefficients, log_mean_exp), LOG_PATHWISE),
    "TailAdaptive": _log(
        lambda k, c: E.TailAdaptive(k),
        references.paths(references.tail_coefficients, lambda w: w.mean(0)),
        LOG_PATHWISE | BETA,
        least=2,
    ),
    "RWS": _log(lambda k, c: E.RWS(k), references.rws, LOG | BETA, REJECTION, 2),
    "TVO": _log(lambda k, c: E.TVO(k, 3, 0.1), references.tvo, LOG | BETA, REJECTION, 2),
    "VIMCO": _log(lambda k, c: E.VIMCO(k), references.vimco, LOG, REJECTION, 2),
    # With their own terms at 0 these two are the ELBO.
    "MMD": Entry(
        lambda k, c: E.MMD(k, weight=0.0, alpha=0.0),
        trace,
        HELD | LOG | {"several", "inner", "single", "by datum"},
        PATHWISE,
    ),
    "FreeBits": Entry(
        lambda k, c: E.FreeBits(k, nats=0.0), mean_field, HELD | LOG | {"by datum"}, PATHWISE, frozenset({"sampled kl"})
    ),
}
MEANS = {trace, mean_field, references.stl, references.scored, exact}  # whose mean does not depend on K
OTHERS = tuple(name for name in ESTIMATORS if name != "TraceELBO")


def reference_of(case, name):
    """The estimator's reference, or another of the same mean where Pyro's own is wrong for the case's traits."""
    entry, traits = ESTIMATORS[name], case.traits
    if "exact" in traits and entry.reference in (trace, mean_field, references.scored):
        return exact  # Pyro's score terms leave out the guide's factors, observed and auxiliary sites
    if entry.reference is exact and not traits & {"scored", "summed"}:
        return trace  # nothing to list
    if entry.reference is mean_field and "scored" in traits:
        return exact  # Pyro drops the score
    if entry.reference is mean_field and traits & {"sampled kl", "kl of Pyro's own"}:
        return trace
    return entry.reference


def figures(loss, parameters):
    """Loss and gradient in one vector."""
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True) if loss.requires_grad else [None]
    if gradients == [None]:
        gradients = [None] * len(parameters)
    flat = [torch.zeros_like(p) if g is None else g for g, p in zip(gradients, parameters, strict=True)]
    return torch.cat([loss.detach().reshape(1), *(g.reshape(-1) for g in flat)])


def ours(case, estimator, seed):
    model, guide, parameters = case.programs()
    torch.manual_seed(seed)
    return figures(estimator.differentiable_loss(model, guide, *case.args), parameters)


def theirs(case, reference, k, seed):
    case = case.twin or case if reference is exact else case
    torch.manual_seed(seed)
    with pyro.validation_enabled(False):
        return figures(reference(case, k), case.programs()[2])


def outcome(case, name, k):
    """(kind, what was said) of one comparison."""
    entry = ESTIMATORS[name]
    k = max(k, entry.least)
    try:
        got = ours(case, entry.make(k, case), SEED)
    except (ValueError, TypeError, NotImplementedError) as error:
        return refusal(str(error), bool(case.traits & (entry.may | entry.must)))
    except Exception as error:
        return "third thing", f"{type(error).__name__}: {error}"
    if case.traits & entry.must:
        return "third thing", f"a number, {got[0]:.4g}, where {' and '.join(case.traits & entry.must)} has none"
    return agreement(case, name, k, got)


def refusal(message, allowed):
    if "\n" in message:
        return "third thing", f"more than one line: {message}"
    if not NAMED.search(message):
        return "third thing", f"names no site, plate or scale: {message}"
    return ("refused", message) if allowed else ("third thing", f"refused without need: {message}")


def agreement(case, name, k, got):
    """Equal at the same seed; else equal in the mean, with errors small beside the gradient."""
    reference = reference_of(case, name)
    expected = theirs(case, reference, k, SEED)
    if torch.allclose(got, expected, rtol=1e-7, atol=1e-7):
        return "rounding", ""
    if k > 1 and ESTIMATORS[name].reference in MEANS:
        k = PARTICLES
    powerless = k == 1  # noisy: every second program of a family is looked at with more particles
    fixed = reference is exact and "finite" in case.traits
    estimator, found, wanted = ESTIMATORS[name].make(k, case), [], []  # one, which looks at the programs once
    for draws in DRAWS:
        for seed in range(SEED + len(found), SEED + draws):
            found.append(ours(case, estimator, seed))
            wanted.append(expected if fixed else theirs(case, reference, k, seed))
        off, right = torch.stack(found) - torch.stack(wanted), torch.stack(wanted)[:, 1:].mean(0)
        error, mean = off.std(0) / math.sqrt(draws), off.mean(0).abs()
        within = bool((mean <= ERRORS * error + 1e-7).all())
        if within and (powerless or draws == DRAWS[-1] or ERRORS * error[1:].norm() < 0.5 * right.norm()):
            return "4 s.e.", ""
        if (mean > 3 * ERRORS * error + 1e-6).any():
            break
    return "third thing", f"off by {mean.tolist()} with errors {error.tolist()} at {right.tolist()}"
