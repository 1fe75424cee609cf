"""A VAE on real handwritten digits: parts, training, and a log-likelihood with its error.

python examples/first_vae.py
"""

import torch

from ppl_vae import SVI, VAE, data, estimators, evaluation, fit, handlers, likelihoods, networks, posteriors, priors

torch.manual_seed(0)
digits = data.load("digits", binarize="dynamic")  # ships with scikit-learn, works offline

vae = VAE(
    prior=priors.Normal(16),
    posterior=posteriors.Normal(networks.MLP(digits.shape, [256]), 16),
    likelihood=likelihoods.Bernoulli(networks.MLP(16, [256]), digits.shape),
)
objective = SVI(vae, estimators.MeanFieldELBO(), beta=handlers.Linear(steps=200))
history = fit(objective, digits.train, valid=digits.valid, epochs=60, progress=False)

print("last epoch:", history.rows[-1]["valid"])
print(evaluation.log_likelihood(vae, digits.test.x, num_particles=1000))
print("images drawn from the prior:", tuple(vae.model(n=64).shape))
