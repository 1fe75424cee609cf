"""Pyro's autoguides and messengers on small regressions."""

import itertools
from functools import partial
from types import SimpleNamespace

import pyro
import pyro.distributions as dist
import torch
from programs import B, Case, M, N, data
from pyro import poutine
from pyro.distributions.transforms import affine_autoregressive
from pyro.infer import autoguide as A


def regression(p, x, full=None, latents="gs", inner=False):
    """Global g, s and vector v, a local z, as ``latents`` names them."""
    g = pyro.sample("g", dist.Normal(p.mu, 1.0)) if "g" in latents else torch.zeros(())
    s = pyro.sample("s", dist.Gamma(2.0, 2 * p.t)) if "s" in latents else torch.ones(())
    if "v" in latents:
        g = g + pyro.sample("v", dist.Normal(p.mu, 1.0).expand([2]).to_event(1)).sum(-1)
    rows = -2 if inner else -1
    with pyro.plate("data", full or x.shape[rows], subsample_size=x.shape[rows], dim=rows):
        z = pyro.sample("z", dist.Normal(g, 1.0)) if "z" in latents else g
        if "l" in latents:
            z = z * pyro.sample("l", dist.LogNormal(0.0, 0.5))
        if inner:
            with pyro.plate("inner", M, dim=-1):
                w = pyro.sample("w", dist.Normal(z, 1.0)) if "w" in latents else z
                pyro.sample("x", dist.Normal(p.t * w, s), obs=x)
        else:
            pyro.sample("x", dist.Normal(p.t * z, s), obs=x)


def listed(model):
    guide = A.AutoGuideList(model)
    guide.append(A.AutoNormal(poutine.block(model, expose=["g", "v"])))
    guide.append(A.AutoDelta(poutine.block(model, hide=["g", "v", "x"])))
    return guide


GUIDES = {
    "AutoNormal": A.AutoNormal,
    "AutoDiagonalNormal": A.AutoDiagonalNormal,
    "AutoMultivariateNormal": A.AutoMultivariateNormal,
    "AutoLowRankMultivariateNormal": partial(A.AutoLowRankMultivariateNormal, rank=1),
    "AutoDelta": A.AutoDelta,
    "AutoLaplaceApproximation": A.AutoLaplaceApproximation,
    "AutoIAFNormal": partial(A.AutoIAFNormal, hidden_dim=[16]),
    "AutoNormalizingFlow": partial(
        A.AutoNormalizingFlow, init_transform_fn=partial(affine_autoregressive, hidden_dims=[16])
    ),
    "AutoStructured": A.AutoStructured,
    "AutoGaussian": A.AutoGaussian,
    "AutoGuideList": listed,
}
MESSENGERS = {
    "AutoNormalMessenger": A.AutoNormalMessenger,
    "AutoHierarchicalNormalMessenger": A.AutoHierarchicalNormalMessenger,
    "AutoRegressiveMessenger": A.AutoRegressiveMessenger,
}
EACH = {"AutoNormal", "AutoDelta", *MESSENGERS}  # guides that draw a local latent inside its plate
REGRESSIONS = {
    "g": {"latents": "g"},
    "gs": {},
    "gv": {"latents": "gv"},
    "z": {"latents": "z"},
    "gz": {"latents": "gz"},
    "zl": {"latents": "zl"},
    "gs of more": {"full": N},
    "g inner": {"latents": "g", "inner": True},
    "z inner": {"latents": "z", "inner": True},
    "zw inner": {"latents": "zw", "inner": True},
}


def automatic(kind, name):
    """A case of one of Pyro's automatic guides, on one of the regressions."""
    how = REGRESSIONS[name]
    latents, inner, full = how.get("latents", "gs"), how.get("inner", False), how.get("full")
    x = data(B, M) if inner else data(B)

    def make():
        torch.manual_seed(5)
        pyro.clear_param_store()
        p = SimpleNamespace(mu=torch.tensor(0.3, requires_grad=True), t=torch.tensor(0.8, requires_grad=True))
        model = partial(regression, p, **how)
        guide = {**GUIDES, **MESSENGERS}[kind](model)
        guide(x)  # finds its parameters
        with torch.no_grad():
            for parameter in guide.parameters():
                parameter += 0.1 * torch.rand_like(parameter)
        return model, guide, [p.mu, p.t, *guide.parameters()]

    outside = set(latents) - set("zlw") or kind not in EACH
    traits = {"several", "not Bernoulli", "auxiliary", "sampled kl"} | ({"global"} if outside else set())
    traits |= {"inner"} if inner else set()
    return Case(
        f"{kind} of {name}",
        make,
        (x,),
        frozenset(traits),
        nesting=2 if inner else 1,
        rows=-2 if inner else -1,
        total=full or B,
    )


def autoguides():
    return [
        automatic(kind, name)
        for kind, name in itertools.product(GUIDES, REGRESSIONS)
        if not (kind == "AutoGuideList" and not {"g", "v"} & set(REGRESSIONS[name].get("latents", "gs")))
        and not (kind in ("AutoIAFNormal", "AutoNormalizingFlow") and name in ("g", "g inner"))  # need two dimensions
    ]


def messengers():
    return [automatic(kind, name) for kind, name in itertools.product(MESSENGERS, REGRESSIONS)]
