"""A likelihood of your own: a smooth density with Laplace's tails, which outliers move less than they move a Normal.

python examples/own_likelihood.py, or ppl-vae train --data digits --likelihood examples/own_likelihood.py:SoftLaplace
"""

import pyro.distributions as dist
import torch
from torch import nn
from torch.distributions import constraints

from ppl_vae import SVI, VAE, data, evaluation, fit, likelihoods, networks, priors


class SoftLaplace(likelihoods.Likelihood):
    """Independent entries, proportional to 1 / cosh((x - m) / s); the scale s of each entry is learned.

    Args:
        network: module from codes to features.
        shape: event shape of the data.
        scale: where s starts, as a share of the data's standard deviation.
    """

    support = constraints.real

    def __init__(self, network, shape, scale: float = 0.5) -> None:
        super().__init__(network, shape, parameters=1)
        self.share, self.log_scale = scale, nn.Parameter(torch.zeros(self.shape))

    def forward(self, z, y=None):
        (location,) = self.parameters_of(z, y)
        return dist.SoftLaplace(location, self.log_scale.exp()).to_event(len(self.shape))

    def start_at(self, mean, std=None):
        with torch.no_grad():
            self.log_scale += torch.as_tensor(1.0 if std is None else self.share * std).clamp(min=0.02).log()
        return super().start_at(mean, std)

    def unconstrain(self, mean):
        return mean


if __name__ == "__main__":
    digits = data.load("digits", binarize="none")
    for cls in (likelihoods.Normal, SoftLaplace):
        torch.manual_seed(0)
        vae = VAE(priors.Normal(8), likelihood=cls(networks.MLP(8, [64]), digits.shape))
        fit(SVI(vae), digits.train, epochs=10, lr=3e-3, progress=False)
        print(cls.__name__, evaluation.log_likelihood(vae, digits.test.x, num_particles=100))
