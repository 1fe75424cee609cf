"""Digits on demand: a VAE of x given its class, drawn for chosen classes, and a digit rewritten in another class.

python examples/cvae.py
"""

import torch
from sklearn.linear_model import LogisticRegression

from ppl_vae import SVI, data, evaluation, fit, likelihoods, models, networks, posteriors, priors
from ppl_vae.reporting import plots

DIM = 8

torch.manual_seed(0)
digits = data.load("digits", binarize="dynamic")
label = networks.Label(digits.train.labels.count)
encoder = networks.Conditioned.around(networks.MLP, label, digits.shape, [200])
decoder = networks.Conditioned(networks.MLP(DIM + label.size, [200]), label)
cvae = models.CVAE(
    prior=priors.Given(priors.Normal(DIM, learned=True), label),  # p(z | y); priors.Normal(DIM) also works
    posterior=posteriors.Normal(encoder, DIM),
    likelihood=likelihoods.Bernoulli(decoder, digits.shape),
)
fit(SVI(cvae), digits.train, epochs=30, lr=3e-3, progress=False)

y = torch.arange(10).repeat_interleave(20)
made = evaluation.sample_means(cvae, len(y), y)
probe = LogisticRegression(max_iter=2000).fit(digits.train.x.flatten(1), digits.train.y)
print(f"draws that a probe of real digits finds in the class asked for: {probe.score(made.flatten(1), y):.1%}")

x, own = digits.test.x[:10].round(), digits.test.y[:10]  # the handwriting of ten digits, in every class
styles = torch.stack([evaluation.transfer(cvae, x, own, to=torch.full_like(own, to)) for to in range(10)], 1)
plots.save(plots.image_grid(torch.cat([x[:, None], styles], 1).flatten(0, 1), columns=11), "cvae.png")
print("cvae.png: ten digits, each beside all classes in its style")
print(evaluation.log_likelihood(cvae, *digits.test.resolve(cvae.support).take(slice(None)), num_particles=500))
