"""Which likelihood fits counts best: Poisson, negative binomial, or one of them with extra zeros?

python examples/count_data.py
"""

import torch

from ppl_vae import SVI, VAE, data, evaluation, fit, likelihoods, networks, posteriors, priors

digits = data.load("digits", scale="none", binarize="none")  # a pixel is the number of dark points in a 4 x 4 block
train, test = (split.x.flatten(1) for split in (digits.train, digits.test))

for family in (
    likelihoods.Poisson,
    likelihoods.NegativeBinomial,
    likelihoods.ZeroInflatedPoisson,
    likelihoods.ZeroInflatedNegativeBinomial,
):
    torch.manual_seed(0)
    vae = VAE(
        prior=priors.Normal(8),
        posterior=posteriors.Normal(networks.MLP(64, [128]), 8),
        likelihood=family(networks.MLP(8, [128]), 64),
    )
    fit(SVI(vae), (train,), epochs=20, batch_size=64, progress=False)
    print(f"{family.__name__:30}", evaluation.log_likelihood(vae, test, num_particles=500))
