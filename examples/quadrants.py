"""The rest of a digit from its lower left quadrant: y is a part of x, and the model is of the rest.

python examples/quadrants.py
"""

import math

import torch

from ppl_vae import SVI, data, evaluation, fit, likelihoods, models, networks, posteriors, priors
from ppl_vae.reporting import label_plots, plots

DIM = 8

torch.manual_seed(0)
digits = data.load("digits", binarize="dynamic")
pixels = math.prod(digits.shape)

for observed in (1, 2, 3):
    seen = networks.Quadrants(digits.shape, observed)
    decoder = networks.Conditioned(networks.MLP(DIM + pixels, [200]), seen)
    cvae = models.CVAE(
        prior=priors.Given(priors.Normal(DIM, learned=True), seen, networks.MLP(pixels, [100])),
        posterior=posteriors.Normal(networks.MLP(digits.shape, [200]), DIM),  # sees x, of which y is a part
        likelihood=likelihoods.Completed(likelihoods.Bernoulli(decoder, digits.shape), seen),
    )
    fit(SVI(cvae), digits.train, valid=digits.valid, patience=3, epochs=25, lr=3e-3, progress=False)
    x, _ = digits.test.resolve(cvae.support).take(slice(None))
    rest = pixels - int(seen.mask.sum())
    found = evaluation.log_likelihood(cvae, x, num_particles=200)
    print(f"{observed} seen: log p(the other {rest} pixels) = {found.mean:.2f} nats, {-found.mean / rest:.3f} a pixel")
    made = evaluation.completions(cvae, x[:8], n=3)
    figure = label_plots.completions(torch.where(seen.mask, x[:8], 0.5), made, x[:8])
    plots.save(figure, f"quadrants-{observed}.png")
