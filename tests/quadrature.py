"""Models of one datum whose K-sample bounds are integrals over a few normal variables, done by Gauss-Hermite rules.

Each model has its parameters once for every one of R equal data, so that a single backward pass gives R independent
draws of value and gradient; ``exact`` gives what they should average to.
"""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import torch

from ppl_vae import handlers

DOUBLE = torch.float64


class Replicated:
    """Parameters ``values`` by name, once for each of ``size`` data; the guide's are in ``encoder``."""

    values: dict
    encoder: tuple
    x0 = 2.0

    def __init__(self, size=1, **changed):
        values = {**self.values, **changed}
        self.p = {name: torch.full((size,), value, dtype=DOUBLE, requires_grad=True) for name, value in values.items()}
        self.x = torch.full((size,), self.x0, dtype=DOUBLE)

    @property
    def decoder(self):
        return tuple(name for name in self.p if name not in self.encoder)

    def __getattr__(self, name):
        try:
            return self.__dict__["p"][name]
        except KeyError:
            raise AttributeError(name) from None


class Line(Replicated):
    """z ~ N(0, 1), x | z ~ N(w z + b, 0.6^2), q(z | x) = N(a x + c, t^2)."""

    values = {"w": 0.9, "b": 0.3, "a": 0.35, "c": -0.2, "t": 0.7}
    encoder = ("a", "c", "t")
    dims, noise = 1, 0.6

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Normal(self.w * z + self.b, self.noise), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.a * x + self.c, self.t))

    def log_w(self, eps, beta):
        """(K, G) from standard normal (K, 1, G)."""
        z = self.a * self.x0 + self.c + self.t * eps[:, 0]
        return normal(self.x0, self.w * z + self.b, self.noise) + beta * (
            normal(z, 0.0, 1.0) - normal(eps[:, 0], 0.0, 1.0) + self.t.log()
        )

    def evidence(self):
        """log p(x)."""
        return normal(self.x0, self.b, (self.w**2 + self.noise**2).sqrt())

    @classmethod
    def at_posterior(cls, size=1):
        """The same with the exact posterior as guide."""
        w, b = cls.values["w"], cls.values["b"]
        precision = 1 + w**2 / cls.noise**2
        slope = w / cls.noise**2 / precision
        return cls(size, a=slope, c=-slope * b, t=precision**-0.5)


class Chain(Replicated):
    """z1 ~ N(0, 1), z2 | z1 ~ N(r z1, 0.8^2), x ~ N(w z2 + v z1 + b, 0.6^2); q(z1 | x) q(z2 | z1, x), the second's mean
    and scale both made of z1."""

    values = {"r": 0.7, "w": 0.9, "v": -0.4, "b": 0.2, "a": 0.3, "t": 0.7, "d": 0.5, "e": 0.3, "h": 0.15, "s": 0.6}
    encoder = ("a", "t", "d", "e", "h", "s")
    dims, noise = 2, 0.6

    def model(self, x):
        with pyro.plate("data", len(x)):
            z1 = pyro.sample("z1", dist.Normal(x.new_zeros(()), 1.0))
            z2 = pyro.sample("z2", dist.Normal(self.r * z1, 0.8))
            pyro.sample("x", dist.Normal(self.w * z2 + self.v * z1 + self.b, self.noise), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            z1 = pyro.sample("z1", dist.Normal(self.a * x, self.t))
            pyro.sample("z2", dist.Normal(self.d * z1 + self.e * x, self.s * (self.h * z1).exp()))

    def log_w(self, eps, beta):
        """(K, G) from standard normal (K, 2, G)."""
        z1 = self.a * self.x0 + self.t * eps[:, 0]
        scale = self.s * (self.h * z1).exp()
        z2 = self.d * z1 + self.e * self.x0 + scale * eps[:, 1]
        log_q = normal(eps, 0.0, 1.0).sum(1) - self.t.log() - scale.log()
        log_p = normal(z1, 0.0, 1.0) + normal(z2, self.r * z1, 0.8)
        return normal(self.x0, self.w * z2 + self.v * z1 + self.b, self.noise) + beta * (log_p - log_q)

    @classmethod
    def at_posterior(cls, size=1):
        """The same with the exact posterior as guide, where b = 0."""
        r, w, v = (cls.values[name] for name in "rwv")
        # z2 | z1, x, and x | z1 with z2 integrated out.
        precision = 1 / 0.64 + w**2 / cls.noise**2
        slope = w / cls.noise**2 / precision
        total = w * r + v
        variance = cls.noise**2 + w**2 * 0.64
        first = 1 + total**2 / variance
        d = r / 0.64 / precision - slope * v
        return cls(size, b=0.0, a=total / variance / first, t=first**-0.5, d=d, e=slope, h=0.0, s=precision**-0.5)


def normal(value, mean, scale):
    """Log-density."""
    scale = torch.as_tensor(scale, dtype=DOUBLE)
    return -0.5 * ((value - mean) / scale) ** 2 - scale.log() - 0.5 * math.log(2 * math.pi)


def grid(dims, nodes):
    """Points (dims, G) and weights (G,) of the standard normal in so many dimensions."""
    points, weights = (torch.from_numpy(v) for v in np.polynomial.hermite_e.hermegauss(nodes))
    weights = weights / weights.sum()
    points = torch.cartesian_prod(*[points] * dims).reshape(-1, dims).T
    return points, torch.cartesian_prod(*[weights] * dims).reshape(-1, dims).prod(-1)


def exact(family, bound, k, beta=1.0, nodes=None):
    """E bound(log w_1, ..., log w_K) and its gradient by parameter; ``bound`` takes (K, G) to (G,)."""
    pair = family()
    dims = family.dims * k
    points, weights = grid(dims, nodes or {1: 100, 2: 60, 3: 36, 4: 22}[dims])
    value = (weights * bound(pair.log_w(points.reshape(k, family.dims, -1), beta))).sum()
    gradients = torch.autograd.grad(value, list(pair.p.values()))
    return value.detach(), {name: g[0] for name, g in zip(pair.p, gradients, strict=True)}


def draws(estimator, pair, beta=1.0, seed=0):
    """R draws of the surrogate's value (R,) and of its gradient by parameter, (R,) each."""
    torch.manual_seed(seed)
    model, guide = (handlers.scale_latents(fn, beta) for fn in (pair.model, pair.guide))
    surrogate = estimator.terms(model, guide, pair.x).surrogate
    gradients = torch.autograd.grad(surrogate.sum(), list(pair.p.values()))
    return surrogate.detach(), dict(zip(pair.p, gradients, strict=True))


def off(values, expected):
    """How many standard errors the mean of draws is away from ``expected``."""
    error = values.std() / math.sqrt(len(values))
    return ((values.mean() - expected) / error).item()
