"""An estimator of your own: of K samples of the code only the best one is trained.

python examples/own_estimator.py, or ppl-vae train --data digits --estimator examples/own_estimator.py:VRMax
"""

import math

import torch

from ppl_vae import SVI, VAE, data, estimators, evaluation, fit, likelihoods, networks, priors


class VRMax(estimators.Importance):
    """The largest log-weight minus log K, which is below the importance-weighted bound of K samples by log K at most.

    Args:
        num_particles: K, samples of the code of every datum.

    Source: Li and Turner 2016, "Renyi divergence variational inference", section 4.2.
    """

    def __init__(self, num_particles: int = 5) -> None:
        super().__init__(num_particles)

    def bound(self, log_w):
        return log_w.amax(0) - math.log(len(log_w))


if __name__ == "__main__":
    digits = data.load("digits", binarize="dynamic")
    for estimator in (estimators.IWAE(5), VRMax(5)):
        torch.manual_seed(0)
        vae = VAE(priors.Normal(8), likelihood=likelihoods.Bernoulli(networks.MLP(8, [64]), digits.shape))
        fit(SVI(vae, estimator), digits.train, epochs=10, lr=3e-3, progress=False)
        found = evaluation.log_likelihood(vae, digits.test.x.round(), num_particles=100)
        print(type(estimator).__name__, found)
