"""What every estimator has to give: Pyro's estimator of the same name, or the estimator's own formula on Pyro's traces.

Every reference is a scalar loss, summed over the data, whose value and gradient are the reference's. It draws what our
estimator draws at the same seed: Pyro's plate of particles stands where ours does.
"""

import itertools
import math

import pyro
import torch
from pyro import infer, poutine
from pyro.infer.enum import config_enumerate, get_importance_trace


def pyro_elbo(kind, case, k):
    model, guide, _ = case.programs()
    elbo = kind(num_particles=k, vectorize_particles=True, max_plate_nesting=case.nesting)
    return elbo.differentiable_loss(model, guide, *case.args)


def trace(case, k):
    return pyro_elbo(infer.Trace_ELBO, case, k)


def mean_field(case, k):
    return pyro_elbo(infer.TraceMeanField_ELBO, case, k)


def exact(case, k):
    """Every discrete latent summed over; continuous ones are sampled."""
    model, guide, _ = case.programs()
    several = {} if "finite" in case.traits else {"num_particles": k, "vectorize_particles": True}
    kind = infer.TraceEnum_ELBO(max_plate_nesting=case.nesting, strict_enumeration_warning=False, **several)
    return kind.differentiable_loss(config_enumerate(model), config_enumerate(guide), *case.args)


class Densities:
    """Log-densities of one run with K particles, from Pyro's traces."""

    def __init__(self, case, k):
        self.case, self.k = case, k
        model, guide, _ = case.programs()
        around = pyro.plate("num_particles", k, dim=-1 - case.nesting) if k > 1 else lambda program: program
        self.programs = around(model), around(guide)
        self.whole = None  # the guide's trace with its sub-samples, which Pyro's function takes out
        if not isinstance(poutine.unwrap(guide), poutine.messenger.Messenger):
            self.whole = poutine.trace(self.programs[1], graph_type="flat").get_trace(*case.args)
            self.programs = self.programs[0], poutine.replay(self.programs[1], trace=self.whole)
        self.traces = get_importance_trace("flat", case.nesting + 1, *self.programs, case.args, {})
        self.whole = self.whole or self.traces[1]

    def sites(self, trace, observed=False):
        return [s for s in trace.nodes.values() if s["type"] == "sample" and s["is_observed"] == observed]

    def total(self, sites, scaled=False):
        """Masked log-densities summed over all plates but particles and data, (K, B); times beta, or every scale."""
        rank = self.case.nesting + 1
        keep = {0} if self.case.rows is None else {0, rank + self.case.rows}
        total = torch.zeros(self.k, self.case.size)
        for site in sites:
            value, by = site["unscaled_log_prob"], site["scale"] if scaled else site["infer"].get("beta", 1.0)
            if site["mask"] is not None:
                value = torch.where(torch.as_tensor(site["mask"]), value, torch.zeros(()))
            value = value * by
            value = value.reshape((1,) * (rank - value.dim()) + value.shape)
            value = value.sum([d for d in range(rank) if d not in keep], keepdim=True) if rank > len(keep) else value
            total = total + value.reshape(len(value), -1)
        return total

    def joint(self, trace=None, scaled=False):
        """log p(x | z) + beta log p(z)."""
        trace = trace or self.traces[0]
        return self.total(self.sites(trace, True) + self.sites(trace), scaled)

    def q(self, scaled=False):
        """beta log q(z | x), and what the guide observes or factors in."""
        return self.total(self.sites(self.traces[1]) + self.sites(self.traces[1], True), scaled)

    def fixed(self):
        """At the same latents without their gradient: ``joint`` less the guide's factors, and beta log q(z | x).

        Gradients of the second are scores, whose mean is 0; those of the guide's factors are not.
        """
        trace = self.whole.copy()
        for name, site in list(trace.nodes.items()):
            if site["type"] == "sample":
                trace.nodes[name] = {**site, "value": site["value"].detach()}
        found = [poutine.trace(poutine.replay(fn, trace=trace), graph_type="flat") for fn in self.programs]
        found = [tracer.get_trace(*self.case.args) for tracer in found]
        for each, own in zip(found, self.traces, strict=True):
            each.compute_log_prob()
            for name in set(each.nodes) - set(own.nodes):  # a messenger runs the model's observed sites too
                each.remove_node(name)
        model, guide = found
        return self.joint(model) - self.total(self.sites(guide, True)), self.total(self.sites(guide)), guide

    def scores(self):
        """Unscaled, unmasked score terms, (K, B): a masked site moves what depends on it all the same."""
        sites = [s for s in self.sites(self.traces[1]) if not isinstance(s["score_parts"].score_function, float | int)]
        sites = [
            {**s, "unscaled_log_prob": s["score_parts"].score_function, "scale": 1.0, "mask": None, "infer": {}}
            for s in sites
        ]
        return self.total(sites)

    def loss(self, per_datum):
        """Minus the sum over data of (B,), by the scale that all sites share, N/B included."""
        model = self.traces[0]
        scale = torch.as_tensor((self.sites(model, True) or self.sites(model))[-1]["scale"])
        return -(scale.flatten() * per_datum).sum()


def log_mean_exp(log_w):
    return log_w.logsumexp(0) - math.log(len(log_w))


def weighted(bound, stl=False):
    """Reference of a bound (K, B) -> (B,) on log-weights."""

    def reference(case, k):
        d = Densities(case, k)
        log_w = d.joint() - d.q()
        if stl:
            score = d.fixed()[1]
            log_w = log_w + score - score.detach()
        return d.loss(bound(log_w))

    return reference


def stl(case, k):
    """Pyro's loss without the score of q: the scaled log q of what was drawn, at fixed values, is added back."""
    d = Densities(case, k)
    score = sum(site["log_prob"].sum() for site in d.sites(d.fixed()[2]))
    return d.traces[1].log_prob_sum() / k - d.traces[0].log_prob_sum() / k - (score - score.detach()) / k


def paths(coefficients, value):
    """Reference whose paths and decoder have coefficients of their own, (K, B) each, from log w and beta."""

    def reference(case, k):
        d = Densities(case, k)
        log_w, (joint, score, guide) = d.joint() - d.q(), d.fixed()
        path, decoder = coefficients(log_w.detach(), d.sites(guide)[0]["infer"].get("beta", 1.0))
        climbs = path * (log_w + score) + (decoder - path) * joint
        return d.loss(value(log_w).detach() + (climbs - climbs.detach()).sum(0))

    return reference


def dreg_coefficients(log_w, beta):
    w = log_w.softmax(0)
    return (1 - beta) * w + beta * w**2, w


def tail_coefficients(log_w, beta):
    gamma = 1 / torch.stack([(log_w >= row).double().mean(0) for row in log_w])
    return gamma / gamma.sum(0), torch.full_like(log_w, 1 / len(log_w))


def rws(case, k):
    d = Densities(case, k)
    joint, log_q, _ = d.fixed()
    log_w = (d.joint() - d.q()).detach()
    climbs = log_w.softmax(0) * (joint + log_q)
    return d.loss(log_mean_exp(log_w) + (climbs - climbs.detach()).sum(0))


def tvo(case, k):
    """From three steps, the second at 0.1."""
    d, points = Densities(case, k), (0.0, 0.1, 0.1**0.5, 1.0)
    log_p, log_q, _ = d.fixed()
    f, total = log_p - log_q, 0.0
    for t, after in itertools.pairwise(points):
        w = (t * f.detach()).softmax(0)
        mean = (w * f.detach()).sum(0)
        covariance = w * (f.detach() - mean) * (t * log_p + (1 - t) * log_q) * k / (k - 1)
        climbs = (w * f + covariance).sum(0)
        total = total + (after - t) * (mean + climbs - climbs.detach())
    return d.loss(total)


def vimco(case, k):
    d = Densities(case, k)
    log_w = d.joint() - d.q()
    others = (log_w.sum(0) - log_w).detach() / (k - 1)
    signal = torch.stack([log_mean_exp(torch.cat([log_w[:i], others[i : i + 1], log_w[i + 1 :]])) for i in range(k)])
    signal, score = log_mean_exp(log_w).detach() - signal.detach(), d.scores()
    return d.loss(log_mean_exp(log_w) + (signal * (score - score.detach())).sum(0))


def scored(case, k):
    """ELBO with the score function and no baseline: every datum's own scaled log-weight is its signal."""
    d = Densities(case, k)
    log_w, score = d.joint(scaled=True) - d.q(scaled=True), d.scores()
    return -(log_w + log_w.detach() * (score - score.detach())).mean(0).sum()
