"""Codes on a sphere: a uniform prior on S^2 and a power spherical posterior, compared with a Normal of the same size.

python examples/hyperspherical_latents.py
"""

import torch
from sklearn.neighbors import KNeighborsClassifier

from ppl_vae import SVI, VAE, data, evaluation, fit, likelihoods, networks, priors
from ppl_vae.posteriors import natural

digits = data.load("digits", binarize="dynamic")
DIM = 3

for prior in (priors.Hyperspherical(DIM), priors.Normal(DIM)):
    torch.manual_seed(0)
    vae = VAE(
        prior=prior,
        posterior=natural(prior)(networks.MLP(digits.shape, [256]), DIM),
        likelihood=likelihoods.Bernoulli(networks.MLP(DIM, [256]), digits.shape),
    )
    fit(SVI(vae), digits.train, epochs=60, progress=False)
    codes, new = (evaluation.codes(vae, split.x) for split in (digits.train, digits.test))
    accuracy = KNeighborsClassifier(10).fit(codes, digits.train.y).score(new, digits.test.y)
    print(f"{type(prior).__name__}: {evaluation.log_likelihood(vae, digits.test.x, num_particles=500)}")
    print(f"  mean length of a code {new.norm(dim=1).mean():.2f}, 10-nearest-neighbour accuracy {accuracy:.2f}")
