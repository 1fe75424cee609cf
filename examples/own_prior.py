"""A prior of your own: a t distribution with a second, wider one to its right, whose share and shift are learned.

python examples/own_prior.py, or ppl-vae train --data digits --prior examples/own_prior.py:SkewedT --prior.df 5
"""

import pyro.distributions as dist
import torch
from torch import nn
from torch.distributions import constraints

from ppl_vae import SVI, VAE, data, evaluation, fit, likelihoods, networks, priors


class SkewedT(priors.Prior):
    """Independent codes of two t distributions, the second shifted and wider.

    Args:
        dim: size of the code.
        df: degrees of freedom.
        skew: shift of the second distribution at the start.
    """

    support = constraints.independent(constraints.real, 1)

    def __init__(self, dim: int, df: float = 4.0, skew: float = 1.0) -> None:
        super().__init__(dim)
        self.df = df
        self.shift = nn.Parameter(torch.full((dim,), float(skew)))
        self.logits = nn.Parameter(torch.tensor([1.0, 0.0]).repeat(dim, 1))

    def forward(self, y=None):
        shift = torch.stack([torch.zeros_like(self.shift), self.shift], -1)
        each = dist.StudentT(self.df, shift, 1 + shift.abs())
        return dist.MixtureSameFamily(dist.Categorical(logits=self.logits), each).to_event(1)


if __name__ == "__main__":
    torch.manual_seed(0)
    digits = data.load("digits", binarize="dynamic")
    for prior in (priors.Normal(8), SkewedT(8)):
        vae = VAE(prior, likelihood=likelihoods.Bernoulli(networks.MLP(8, [64]), digits.shape))
        fit(SVI(vae), digits.train, epochs=10, lr=3e-3, progress=False)
        print(type(prior).__name__, evaluation.log_likelihood(vae, digits.test.x.round(), num_particles=100))
