"""Compare ELBO estimators on one VAE of real digits: test log-likelihood, and signal-to-noise ratio of the gradients.

python examples/compare_estimators.py
"""

from pathlib import Path

import torch

from ppl_vae import SVI, VAE, compare, data, estimators, evaluation, fit, likelihoods, networks, posteriors, priors

# 1. Train the same model with each, from the same weights and in the same order of data; writes a table and a report.
table = compare(
    data="digits",
    out=Path("runs/estimators"),
    estimator=["mean-field-elbo", "stl", "iwae:num-particles=16", "dreg:num-particles=16", "rws:num-particles=16"],
    seed=[0, 1],
    latent_dim=8,
    hidden=[64],
    lr=3e-3,
    epochs=3,
    progress=False,
)
print("test log-likelihood, nats an example, mean and standard error over seeds:")
for row in table.means:
    print(f"  {row['setting']:<24} {row['log_likelihood']:8.2f} +- {row['log_likelihood_stderr']:.2f}")

# 2. At fixed parameters: with more particles the encoder's signal-to-noise ratio falls with IWAE and rises with DReG.
digits = data.load("digits", binarize="dynamic")
vae = VAE(
    prior=priors.Normal(8),
    posterior=posteriors.Normal(networks.MLP(digits.shape, [64]), 8),
    likelihood=likelihoods.Bernoulli(networks.MLP(8, [64]), digits.shape),
)
fit(SVI(vae), digits.train, epochs=5, lr=3e-3, progress=False)
x = digits.test.x[:16].round()
print("signal-to-noise ratio of the encoder's gradient:")
for name, estimator in (("iwae", estimators.IWAE()), ("dreg", estimators.DReG())):
    found = evaluation.gradients.snr(vae, estimator, x, num_particles=[1, 10, 100], repeats=100)
    values = ", ".join(f"{k}: {float(v):.2f}" for k, v in zip([1, 10, 100], found.snr["encoder"].value, strict=True))
    print(f"  {name:<6} by K  {values}")
assert torch.isfinite(found.bound.value).all()
