"""Families of local latents: ``family(sample, p, h, model)`` draws them in model or guide and gives what x depends on.

``sample(name, distribution)`` draws a site, ``p`` holds the parameters, and ``h`` summarises the datum for the guide.
"""

import pyro.distributions as dist
import torch
from pyro.distributions.testing.rejection_gamma import RejectionStandardGamma


def normal(sample, p, h, model):
    return sample("z", dist.Normal(p.mu, 1.0) if model else dist.Normal(p.a * h + p.b, p.c.exp()))


def vector(sample, p, h, model):
    loc = p.mu.expand(2) if model else torch.stack([p.a * h + p.b, p.b * h], -1)
    return sample("z", dist.Normal(loc, 1.0 if model else p.c.exp()).to_event(1)).sum(-1)


def gamma(sample, p, h, model):
    return sample("z", dist.Gamma(2.0, 1.5 * p.mu.exp()) if model else dist.Gamma(2 + (p.a * h).exp(), 2 * p.b.exp()))


def lognormal(sample, p, h, model):
    return sample("z", dist.Gamma(2.0, 1.5 * p.mu.exp()) if model else dist.LogNormal(p.a * h + p.b, 0.5 * p.c.exp()))


def chain(sample, p, h, model):
    u = sample("u", dist.Normal(p.mu, 1.0) if model else dist.Normal(p.a * h, 0.8))
    return sample("z", dist.Normal(0.7 * u, 1.0) if model else dist.Normal(p.b * u + 0.5 * h, p.c.exp()))


def turned(sample, p, h, model):
    """The chain in the other order in the guide, which has no closed-form KL."""
    if model:
        return chain(sample, p, h, model)
    z = sample("z", dist.Normal(p.a * h, 0.8))
    sample("u", dist.Normal(p.b * z, p.c.exp()))
    return z


def bernoulli(sample, p, h, model):
    return sample("z", dist.Bernoulli(logits=p.mu if model else p.a * h + p.b))


def bits(sample, p, h, model):
    logits = p.mu.expand(2) if model else torch.stack([p.a * h + p.b, p.b * h], -1)
    return sample("z", dist.Bernoulli(logits=logits).to_event(1)).sum(-1)


def pair(sample, p, h, model):
    """The bits as two sites."""
    d = sample("d", dist.Bernoulli(logits=p.mu if model else p.a * h + p.b))
    return d + sample("z", dist.Bernoulli(logits=p.mu if model else p.b * h))


def categorical(sample, p, h, model):
    logits = p.mu * torch.arange(3) if model else torch.stack([0 * h, p.a * h + p.b, p.b * h], -1)
    return sample("z", dist.Categorical(logits=logits)).to(h.dtype)


def mixed(sample, p, h, model):
    d = sample("d", dist.Bernoulli(logits=p.mu if model else p.a * h + p.b))
    return sample("z", dist.Normal(d, 1.0) if model else dist.Normal(0.5 * h + p.b * d, p.c.exp()))


def rejection(sample, p, h, model):
    return sample("z", dist.Gamma(2.0, p.mu.exp()) if model else RejectionStandardGamma(1.2 + (p.a * h + p.b).exp()))


LATENTS = {
    f.__name__: f
    for f in (normal, vector, gamma, lognormal, chain, turned, bernoulli, bits, pair, categorical, mixed, rejection)
}
DISCRETE = {"bernoulli", "bits", "pair", "categorical"}  # all latents can be listed
SCORED = DISCRETE | {"mixed"}
