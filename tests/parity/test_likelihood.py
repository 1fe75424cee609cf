"""``evaluation.log_likelihood`` on programs whose p(x) is known: within 4 standard errors of it, or refused in words.

Local latents are Gaussian, or pick a Gaussian each: v of a datum has a mixture of components (weight, mean, variance),
and x is N(t v + g, 1), given g from the guide: the posterior predictive.
"""

import itertools
import math

import automatic
import families
import torch
import written
from compare import NAMED
from latents import DISCRETE
from programs import EXTRAS, INNER
from torch.distributions import MultivariateNormal, Normal

from ppl_vae import evaluation, models

PARTICLES = 1000


def components(latent, p):
    """Weight, mean and variance of what x depends on."""
    on = p["mu"].sigmoid()
    listed = {
        "normal": [(1.0, p["mu"], 1.0)],
        "vector": [(1.0, 2 * p["mu"], 2.0)],
        "chain": [(1.0, 0.7 * p["mu"], 1.49)],
        "turned": [(1.0, 0.7 * p["mu"], 1.49)],
        "bernoulli": [(1 - on, 0.0, 0.0), (on, 1.0, 0.0)],
        "bits": [((1 - on) ** 2, 0.0, 0.0), (2 * on * (1 - on), 1.0, 0.0), (on**2, 2.0, 0.0)],
        "categorical": [(w, i, 0.0) for i, w in enumerate((p["mu"] * torch.arange(3)).softmax(0))],
        "mixed": [(1 - on, 0.0, 1.0), (on, 1.0, 1.0)],
    }
    return listed[latent]


def exact(spec, x, p):
    """log p(x) of every datum: x (B,) or (B, M), p the parameters by name."""
    x = x.reshape(len(x), -1)
    ones, eye = torch.ones(x.shape[1], x.shape[1]), torch.eye(x.shape[1])
    more = (0.5, 1.0) if spec.local and spec.latent not in DISCRETE else (0.0, 0.0)  # w is N(v / 2, 1)
    total = []
    twice = 2 if spec.extra == "deterministic" else 1
    for weight, mean, variance in components(spec.latent, p):
        mean, variance = twice * mean, twice**2 * variance
        slope, tilt = p["t"] + more[0], p["f"] if spec.extra == "factor" else torch.tensor(0.0)
        weight = torch.as_tensor(weight).log() + tilt * mean + tilt**2 * variance / 2
        mean = slope * (mean + tilt * variance) + (p["gm"] if spec.shared else 0.0)
        shared = slope**2 * variance + ((2 * p["gs"]).exp() if spec.shared else 0.0)
        density = MultivariateNormal(mean * torch.ones(x.shape[1]), shared * ones + (1 + more[1]) * eye)
        total.append(weight + density.log_prob(x))
    return torch.stack(total).logsumexp(0)


def judge(name, program, x, expected, may=False, must=False, slack=0.0, count=PARTICLES):
    """None, or what is wrong: a refusal is allowed where it may be, and wanted where it must be."""
    try:
        found = evaluation.log_likelihood(program, x, num_particles=count)
    except (ValueError, TypeError, NotImplementedError) as error:
        said = str(error)
        if "\n" in said or not NAMED.search(said):
            return f"{name}: refused in the wrong words: {said}"
        return None if may or must else f"{name}: refused without need: {said}"
    except Exception as error:
        return f"{name}: {type(error).__name__}: {error}"
    if must:
        return f"{name}: {found.value.tolist()} where there is none"
    off = (found.value.double() - expected).abs()
    bias = 2 * found.stderr.square()  # of the logarithm of a mean, twice its size
    if found.value.shape != expected.shape or not (off <= 4 * found.stderr + bias + slack + 1e-4).all():
        return f"{name}: {found.value.tolist()} +- {found.stderr.tolist()} where {expected.tolist()} is right"
    return None


def of(spec):
    """What is wrong with the log-likelihood of a spec, or None."""
    case = families.build(spec)
    model, guide, _ = case.programs()
    p = {k: v.detach() for k, v in vars(model.__self__.p if hasattr(model, "__self__") else case.p).items()}
    p["c"].zero_()  # guides wide enough for weights of finite variance
    x = case.args[0]
    turned = case.rows == -1 and x.dim() == 2  # evaluation takes the data first
    programs = [lambda x, fn=fn: fn(x.mT if turned else x) for fn in (model, guide)]
    x = x.mT.contiguous() if turned else x
    expected = exact(spec, x, p)
    if spec.mask:
        expected = torch.where(torch.tensor([True, False, True, True, False, True])[: len(x)], expected, 0.0)
    drawn = spec.plate in ("internal", "chosen") or INNER.get(spec.inner, (0, 1.0))[1] != 1
    odd = spec.extra in ("factor", "factor outside", "guide observed", "guide observes x")
    may = drawn or odd or spec.scale[:1] in ("x", "z") or spec.scale == "datum"
    must = spec.extra in ("guide factor", "guide factor unsaid", "auxiliary", "discrete auxiliary")
    count = 100 if spec.shared else PARTICLES  # which are drawn one at a time
    return judge(str(spec), models.Program(*programs), x, expected, may, must, count=count)


def check(specs):
    wrong = [said for spec in specs if (said := of(spec))]
    assert not wrong, "\n".join(wrong)


PLATES = ("sized", "given", "unsized", "rows", "dim", "one", "particles", "internal")
KNOWN = ("normal", "vector", "chain", "turned", "bernoulli", "bits", "categorical", "mixed")


def test_data_plates():
    check(families.grid(plate=PLATES, latent=KNOWN) + families.grid(plate=PLATES, shared=("normal",)))


def test_inner_plates():
    inner = [spec for spec in families.grid(inner=INNER, latent=("normal", "mixed"), local=(False, True))]
    check([spec for spec in inner if families.fits(spec)])


def test_scales_masks_and_helpers():
    check(families.grid(scale=("float", "tensor", "datum", "z float", "x tensor"), latent=("normal", "bernoulli")))
    check(families.grid(mask=("all",), latent=("normal", "mixed")))
    check(families.grid(extra=[e for e in EXTRAS if "hand" not in e], latent=("normal", "bernoulli")))


def test_crossing_plates():
    wrong = []
    for first, dims in itertools.product(("rows", "columns"), ((-1, -2), (-2, -1))):
        for where in (("rows",), ("columns",), ("cells",), ("rows", "cells"), ("columns", "cells")):
            case = written.crossing(first, dims, where, "", False)
            model, guide, parameters = case.programs()
            mu, t, a, b, c = (value.detach() for value in parameters)
            c.zero_()
            other = ({"rows", "columns"} - {first}).pop() in where  # a latent of all data
            axis = 2 + case.rows
            programs = [lambda x, fn=fn, axis=axis: fn(x.movedim(0, axis)) for fn in (model, guide)]
            x = case.args[0].movedim(axis, 0).contiguous()
            ones, eye = torch.ones(x.shape[1], x.shape[1]), torch.eye(x.shape[1])
            covariance = eye + t**2 * ((first in where) * ones + ("cells" in where) * eye)
            mean = (len(where) - other) * t * mu * torch.ones(len(ones))
            if other:  # drawn from the guide, which looks at all data
                mean, covariance = mean + t * (a * x.mean(0) + b), covariance + t**2 * eye
            expected = MultivariateNormal(mean, covariance).log_prob(x)
            count = 200 if other else PARTICLES
            wrong.append(judge(case.name, models.Program(*programs), x, expected, may=other, count=count))
    assert not any(wrong), "\n".join(said for said in wrong if said)


def predictive(guide, x, variance, t):
    """log E_q(g) N(x; t g, variance) and its standard error, from draws of the guide one by one."""
    g = torch.stack([guide(x)["g"].detach() for _ in range(300)])
    log_w = Normal(t * g[:, None], math.sqrt(variance)).log_prob(x)
    relative = log_w.exp().std(0) / log_w.exp().mean(0) / math.sqrt(len(g))
    return log_w.logsumexp(0) - math.log(len(g)), 4 * relative


def test_automatic_guides():
    """A local z of N(g, 1) of the guide's own, or g alone; the number, or a refusal where data have no weights."""
    wrong = []
    for kind, name in itertools.product({**automatic.GUIDES, **automatic.MESSENGERS}, ("g", "z", "gz")):
        if (kind == "AutoGuideList" and name == "z") or (
            kind in ("AutoIAFNormal", "AutoNormalizingFlow") and name == "g"
        ):
            continue
        case = automatic.automatic(kind, name)
        model, guide, (mu, t, *_) = case.programs()
        with torch.no_grad():
            for key, value in guide.named_parameters():
                if "scale" in key:
                    value += 2.0  # wide enough for weights of finite variance
        x, t = case.args[0], t.item()
        variance = 1 + t**2 if "z" in name else 1.0
        if "g" in name:
            expected, slack = predictive(guide, x, variance, t)
        else:
            expected, slack = Normal(0.0, math.sqrt(variance)).log_prob(x), 0.0
        may = name != "g" and kind != "AutoNormal"
        count = 100 if "g" in name else PARTICLES
        wrong.append(judge(case.name, models.Program(model, guide), x, expected, may, slack=slack, count=count))
    assert not any(wrong), "\n".join(said for said in wrong if said)
