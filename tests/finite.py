"""Programs small enough to enumerate, with parameters of every datum's own: one call draws thousands of gradients.

Every row of the batch is the same datum with a copy of the parameters to itself, so the gradient of one row is one draw
of the estimator's gradient; ``exact`` sums over all K-tuples of latent values instead.
"""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from contracts import within

from ppl_vae.handlers import scale_latents

X = 0.7
THETA = [-1.0, 0.5, 2.0]
PHI = [0.4, -0.9, 0.6]


def rows(values, n):
    return torch.tensor(values, dtype=torch.float64).repeat(n, 1).requires_grad_()


class Finite:
    """z with few values: a Categorical, or Bernoulli variables in an event of (3,) ("bits") or () ("bit").

    The model: logits theta, x | z ~ N(the z-th of theta, 1), or N(theta . z, 1); the guide: logits phi x + phi.
    """

    def __init__(self, kind="categorical", n=1, probs=False):
        self.kind, self.probs = kind, probs
        size = 1 if kind == "bit" else 3
        self.theta, self.phi = rows(THETA[-size:], n), rows(PHI[-size:], n)
        self.x = torch.full((n,), X, dtype=torch.float64)
        if kind == "categorical":
            self.values = torch.arange(3)
        else:
            self.values = torch.cartesian_prod(*[torch.tensor([0.0, 1.0]).double()] * size)

    def family(self, logits):
        if self.kind == "categorical":
            return dist.Categorical(logits=logits)
        logits = logits[..., 0] if self.kind == "bit" else logits
        p = dist.Bernoulli(probs=logits.sigmoid()) if self.probs else dist.Bernoulli(logits=logits)
        return p if self.kind == "bit" else p.to_event(1)

    def prior(self):
        return self.family(self.theta)

    def posterior(self, x):
        return self.family(self.phi * x[..., None] + self.phi)

    def likelihood(self, z):
        if self.kind == "categorical":
            mean = self.theta.expand(*z.shape, 3).gather(-1, z[..., None])[..., 0]
        else:
            mean = (self.theta * (z[..., None] if self.kind == "bit" else z)).sum(-1)
        return dist.Normal(mean, 1.0)

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior())
            pyro.sample("x", self.likelihood(z), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.posterior(x))

    def gradient(self, scalar):
        """Gradients of theta and phi side by side, (rows, parameters)."""
        gradients = torch.autograd.grad(scalar, (self.theta, self.phi), allow_unused=True)
        pairs = zip(gradients, (self.theta, self.phi), strict=True)
        return torch.cat([torch.zeros_like(p) if g is None else g for g, p in pairs], -1).detach()

    def listed(self):
        """log p(x, z) in its parts and log q, of every value z: three of (V,)."""
        z = self.values if self.kind in ("categorical", "bit") else self.values[:, None]
        z = z[:, None] if self.kind == "categorical" else z
        log_densities = (
            self.likelihood(z).log_prob(self.x),
            self.prior().log_prob(z),
            self.posterior(self.x).log_prob(z),
        )
        return [log_density.reshape(-1) for log_density in log_densities]

    def exact(self, k, of, beta=1.0):
        """E over K-tuples of z of ``of`` log-weights (K, tuples) -> (tuples,), differentiable."""
        log_x, log_p, log_q = self.listed()
        log_w = log_x + beta * (log_p - log_q)
        tuples = torch.cartesian_prod(*[torch.arange(len(log_q))] * k).reshape(-1, k)
        return (log_q[tuples].sum(1).exp() * of(log_w[tuples].T)).sum()

    def evidence(self):
        log_x, log_p, _ = self.listed()
        return (log_x + log_p).logsumexp(0)


class Mixed(Finite):
    """A Bernoulli d and a Normal c: in the guide c follows d ("cd") or d follows c ("dc"), in the model c follows d."""

    def __init__(self, order, n=1, points=24):
        self.order = order
        self.theta, self.phi = rows([0.5, 1.2, -0.7], n), rows([0.3, -0.4, 0.8, -0.5], n)
        self.x = torch.full((n,), X, dtype=torch.float64)
        noise, weights = (torch.as_tensor(a) for a in np.polynomial.hermite_e.hermegauss(points))
        self.noise, self.noise_weights = noise, (weights / math.sqrt(2 * math.pi))

    def parts(self, fn, order):
        """Sample d and c through ``fn(name, distribution)`` of the guide."""
        a, b, c, s = self.phi.unbind(-1)
        if order == "cd":
            d = fn("d", dist.Bernoulli(logits=a))
            return d, fn("c", dist.Normal(b + c * d, s.exp()))
        z = fn("c", dist.Normal(b, s.exp()))
        return fn("d", dist.Bernoulli(logits=a + c * z)), z

    def joint(self, fn):
        a, b, c = self.theta.unbind(-1)
        d = fn("d", dist.Bernoulli(logits=a))
        z = fn("c", dist.Normal(b * d, 1.0))
        return dist.Normal(z + c * d, 1.0)

    def model(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", self.joint(pyro.sample), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            self.parts(pyro.sample, self.order)

    def listed(self):
        """log of the parts at every d and every quadrature point of c's noise; log q of d alone comes last."""
        d = torch.tensor([0.0, 1.0]).double()[:, None]
        _, b, c, s = self.phi.unbind(-1)
        z = b + self.noise * s.exp() + (c * d if self.order == "cd" else 0 * d)
        values, log_q, log_p = {"d": d.expand(z.shape), "c": z}, {}, {}

        def score(into):
            def fn(name, p):
                into[name] = p.log_prob(values[name])
                return values[name]

            return fn

        self.parts(score(log_q), self.order)
        log_x = self.joint(score(log_p)).log_prob(self.x)
        parts = log_x, sum(log_p.values()), sum(log_q.values()), log_q["d"] + self.noise_weights.log()
        return [part.expand(z.shape).reshape(-1) for part in parts]

    def exact(self, k, of, beta=1.0):
        log_x, log_p, log_q, log_mass = self.listed()
        log_w = log_x + beta * (log_p - log_q)
        tuples = torch.cartesian_prod(*[torch.arange(len(log_q))] * k).reshape(-1, k)
        return (log_mass[tuples].sum(1).exp() * of(log_w[tuples].T)).sum()


def iwae(log_w):
    return log_w.logsumexp(0) - math.log(len(log_w))


def elbo(log_w):
    return log_w.mean(0)


def unbiased(estimator, make, exact, least=0.005, n=20000, beta=1.0, errors=4.0):
    """Value and gradient of an estimator at n equal rows are within 4 standard errors of the exact ones; the draws."""
    one, many = make(1), make(n)
    value = exact(one)
    gradient = one.gradient(value)[0]
    assert gradient.abs().min() > least, gradient
    model, guide = scale_latents(many.model, beta), scale_latents(many.guide, beta)
    surrogate = estimator.terms(model, guide, many.x).surrogate
    draws = many.gradient(surrogate.sum())
    within(surrogate.detach(), value.detach(), errors)
    within(draws, gradient, errors)
    return draws
