"""Hierarchical models: eight schools under many guides, centred and not; Bayesian linear regression."""

import dataclasses
import functools
import itertools
import math
from operator import attrgetter

import pyro
import pyro.distributions as dist
import torch
from pyro import infer
from pyro.infer import autoguide
from pyro.nn import PyroModule, PyroSample
from pyro_programs.harness import Case, Pair, mean_field, mixed, nodes, trace_elbo
from torch import nn

from ppl_vae import estimators

# Rubin 1981: effects of coaching and their standard errors, whole numbers that are real.
EFFECTS = torch.tensor([28.0, 8, -3, 7, -1, 1, 18, 12])
ERRORS = torch.tensor([15.0, 10, 16, 11, 9, 11, 10, 18])
UNIT = 5.0


class Schools:
    """mu ~ N(0, 1), tau ~ HalfCauchy(1), theta_j ~ N(mu, tau), y_j ~ N(5 theta_j, sigma_j): y is x and sigma is y.

    Args:
        centred: theta is a site; otherwise eta_j ~ N(0, 1) is and theta = mu + tau eta.
        plate: the schools are the data plate; otherwise they are one vector, without any plate.
    """

    def __init__(self, centred, plate):
        self.centred, self.plate, self.seen = centred, plate, set()

    def model(self, y, sigma):
        self.seen |= {y.dtype, sigma.dtype}
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        tau = pyro.sample("tau", dist.HalfCauchy(1.0))
        if self.plate:
            with pyro.plate("schools", len(y)):
                theta = self._theta(mu, tau, lambda fn: fn)
                pyro.sample("obs", dist.Normal(UNIT * theta, sigma), obs=y)
        else:
            mu, tau = mu[..., None], tau[..., None]
            theta = self._theta(mu, tau, lambda fn: fn.expand([*mu.shape[:-1], len(y)]).to_event(1))
            pyro.sample("obs", dist.Normal(UNIT * theta, sigma).to_event(1), obs=y)

    def _theta(self, mu, tau, lay_out):
        if self.centred:
            return pyro.sample("theta", lay_out(dist.Normal(mu, tau)))
        return mu + tau * pyro.sample("eta", lay_out(dist.Normal(torch.zeros(()), 1.0)))

    def evidence(self, y, sigma):
        """log p(y) with mu and log tau on a grid, (1,)."""
        mu, weights = nodes(1, 60)
        step = 0.02
        log_tau = torch.arange(-8.0, 6.0, step).view(-1, 1, 1)
        scale = (UNIT**2 * (2 * log_tau).exp() + sigma**2).sqrt()
        log_p = dist.Normal(UNIT * mu, scale).log_prob(y).sum(-1)  # (taus, mus)
        log_p = log_p + (dist.HalfCauchy(1.0).log_prob(log_tau.exp()) + log_tau)[..., 0] + math.log(step)
        return mixed(log_p.T, weights).logsumexp(0)[None]

    def predictive(self, guide, y, sigma, count=20_000):
        """log E_q(mu, tau) p(y_j | mu, tau), theta integrated out, and its standard error, (8,) each."""
        with pyro.plate("draws", count, dim=-2):
            trace = pyro.poutine.trace(guide).get_trace(y, sigma)
        mu, tau = (trace.nodes[name]["value"].reshape(count, 1) for name in ("mu", "tau"))
        log_p = dist.Normal(UNIT * mu, (UNIT**2 * tau**2 + sigma**2).sqrt()).log_prob(y)
        value = log_p.logsumexp(0) - math.log(count)
        return value, (log_p - value).exp().std(0) / math.sqrt(count)


class ByHand(nn.Module):
    """Mean-field normals of the user's own, a parameter a school."""

    def __init__(self, schools):
        super().__init__()
        self.centred, self.plate = schools.centred, schools.plate
        self.mean, self.scale = nn.Parameter(0.1 * torch.randn(10)), nn.Parameter(0.1 * torch.randn(10))

    def forward(self, y, sigma):
        mean, scale = self.mean, self.scale.exp()
        pyro.sample("mu", dist.Normal(mean[0], 1.2 * scale[0]))
        pyro.sample("tau", dist.LogNormal(mean[1], 1.6 * scale[1]))
        name = "theta" if self.centred else "eta"
        if self.plate:
            with pyro.plate("schools", len(y)):
                pyro.sample(name, dist.Normal(mean[2:], 1.2 * scale[2:]))
        else:
            pyro.sample(name, dist.Normal(mean[2:], 1.2 * scale[2:]).to_event(1))


def sampled():
    """Pyro's closed form leaves out the Jacobian that these guides' Deltas carry: MeanFieldELBO samples it instead."""
    return estimators.MeanFieldELBO(), infer.Trace_ELBO()


def _auto(name, **arguments):
    return lambda schools: getattr(autoguide, name)(schools.model, **arguments)


GUIDES = {
    "hand": ByHand,
    "AutoNormal": _auto("AutoNormal", init_scale=1.2),
    "AutoNormalMessenger": _auto("AutoNormalMessenger", init_scale=1.2, init_loc_fn=autoguide.init_to_median),
    "AutoDelta": _auto("AutoDelta"),
    "AutoDiagonalNormal": _auto("AutoDiagonalNormal", init_scale=1.2),
    "AutoMultivariateNormal": _auto("AutoMultivariateNormal", init_scale=1.2),
    "AutoLowRankMultivariateNormal": _auto("AutoLowRankMultivariateNormal", init_scale=1.2),
    "AutoIAFNormal": _auto("AutoIAFNormal", hidden_dim=[20]),
    "AutoStructured": _auto("AutoStructured", init_scale=1.2),
    "AutoGaussian": _auto("AutoGaussian", init_scale=1.2),
}
LOCAL = ("hand", "AutoNormal", "AutoNormalMessenger")  # whose codes of single schools have a density of their own


def schools(guide, centred, plate):
    model = Schools(centred, plate)
    made = GUIDES[guide](model)
    exact = functools.partial(model.predictive, made) if plate else model.evidence
    pair = Pair(model.model, made, exact)
    pair.seen = model.seen
    return pair


def _schools(guide, centred, plate):
    site = "theta" if centred else "eta"
    refused = None
    if guide == "AutoDelta":
        refused = f"fixes site {site}" if plate else "fixes site (mu|tau|theta|eta)"
    elif plate and guide not in LOCAL:
        refused = f"draws site {site} from .*AutoNormal"
    pairs = (trace_elbo, mean_field) if guide in ("hand", "AutoNormalMessenger") else (trace_elbo, sampled)
    build = functools.partial(schools, guide, centred, plate)
    sizes = {"size": None if plate else 1, "particles": 150 if plate else 20_000}
    return Case(build, (EFFECTS, ERRORS), pairs, refused, bound=centred, **sizes)


def named(guide, centred, plate):
    return f"schools-{guide}-{'centred' if centred else 'free'}-{'plate' if plate else 'vector'}"


SCHOOLS = {named(*key): _schools(*key) for key in itertools.product(GUIDES, (True, False), (True, False))}


class Regression(PyroModule):
    """Linear regression with normal weights and bias, batches drawn from 60 rows.

    Args:
        scale: of the noise; None: LogNormal.
        own: so many rows are drawn from all by the program itself; None: x is the batch.
    """

    rows = 60

    def __init__(self, scale=None, own=None):
        super().__init__()
        self.linear = PyroModule[nn.Linear](3, 1)
        self.linear.weight = PyroSample(dist.Normal(0.0, 1.0).expand([1, 3]).to_event(2))
        self.linear.bias = PyroSample(dist.Normal(0.0, 3.0).expand([1]).to_event(1))
        self.scale, self.own = scale, own

    def forward(self, x, y):
        scale = pyro.sample("scale", dist.LogNormal(-1.0, 0.5)) if self.scale is None else self.scale
        mean = self.linear(x).squeeze(-1)
        with pyro.plate("data", self.rows, subsample_size=self.own or len(x)) as chosen:
            mean, y = (t if self.own is None else t[chosen] for t in (mean, y))
            pyro.sample("y", dist.Normal(mean, scale), obs=y)


def regression(guide, scale=None, own=None, **arguments):
    model = Regression(scale, own)
    if guide != "AutoIAFNormal":
        values = {"linear.weight": torch.tensor([[0.9, -1.8, 0.6]]), "linear.bias": torch.tensor([0.4])}
        arguments["init_loc_fn"] = autoguide.init_to_value(values=values | {"scale": torch.tensor(0.8)})
    made = getattr(autoguide, guide)(model, **arguments)

    def exact(x, y, count=20_000):
        if guide == "AutoMultivariateNormal" and scale is not None:
            q = made.get_posterior()
            inputs = torch.cat([x, torch.ones(len(x), 1)], -1)
            variance = (inputs @ q.covariance_matrix * inputs).sum(-1)
            return dist.Normal(inputs @ q.loc, (variance + scale**2).sqrt()).log_prob(y)
        names = {"linear.weight": 3, "linear.bias": 1, "scale": 1}
        if guide == "AutoNormalMessenger":  # runs the model, whose layer takes one draw of its weights at a time
            means, scales = ({name: attrgetter(name)(table) for name in names} for table in (made.locs, made.scales))
            drawn = {name: means[name] + scales[name] * torch.randn(count, *means[name].shape) for name in names}
            drawn["scale"] = drawn["scale"].exp()
        else:
            with pyro.plate("draws", count, dim=-2):
                sites = pyro.poutine.trace(made).get_trace(x, y).nodes
            drawn = {name: sites[name]["value"] for name in names if name in sites}
        weight, bias, noise = (drawn[name].reshape(-1, size) for name, size in names.items())
        mean = weight @ x.T + bias
        log_p = dist.Normal(mean, noise).log_prob(y)
        value = log_p.logsumexp(0) - math.log(len(log_p))
        return value, (log_p - value).exp().std(0) / math.sqrt(len(log_p))

    return Pair(model, made, exact)


INPUTS, NOISE = (torch.randn(60, 4, generator=torch.Generator().manual_seed(1))).split([3, 1], -1)
TARGETS = INPUTS @ torch.tensor([1.0, -2.0, 0.5]) + 0.5 + 0.3 * NOISE.squeeze(-1)


def _regression(guide, **arguments):
    pairs = (trace_elbo, mean_field if guide == "AutoNormalMessenger" else sampled)
    build = functools.partial(regression, guide, **arguments)
    return Case(build, (INPUTS, TARGETS), pairs, rows=20, size=60, batch_size=20, particles=80)


REGRESSIONS = {
    f"regression-{guide}": _regression(guide)
    for guide in (
        "AutoNormal",
        "AutoDiagonalNormal",
        "AutoMultivariateNormal",
        "AutoLowRankMultivariateNormal",
        "AutoIAFNormal",
        "AutoStructured",
        "AutoNormalMessenger",
        "AutoDelta",
    )
}
REGRESSIONS["regression-exact"] = _regression("AutoMultivariateNormal", scale=0.8, init_scale=0.3)
REGRESSIONS["regression-own-batches"] = dataclasses.replace(
    _regression("AutoNormal", own=20), refused=r"data.*60.*subsample_size=len\(x\)", rows=None, batch_size=None
)

CASES = SCHOOLS | REGRESSIONS
