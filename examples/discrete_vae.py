"""Discrete VAEs of handwritten digits: many categorical variables by Gumbel-softmax, and a few summed out exactly.

Both are trained as programs and measured as discrete models: the ELBO bounds log p(x), and the KL is the rate, the nats
that a code takes. So they compare with a VQ-VAE, whose rate is -log p(code).
"""

import math

import torch

from ppl_vae import SVI, VAE, data, evaluation, fit, likelihoods, networks, posteriors, priors
from ppl_vae.estimators import Enum, MeanFieldELBO
from ppl_vae.handlers import Linear

EPOCHS = 20  # some seconds; in 150 the first gains another 1.4 nats
digits = data.load("digits", binarize="static")


def discrete(groups, classes, posterior, estimator, **options):
    """A VAE whose code is ``groups`` variables of ``classes`` values, trained."""
    torch.manual_seed(0)
    dim = groups * classes
    vae = VAE(
        priors.OneHotCategorical(dim, groups=groups),
        posterior(networks.MLP(digits.shape, [128]), dim, groups=groups, **options),
        likelihoods.Bernoulli(networks.MLP(dim, [128]), digits.shape),
    )
    objective = SVI(vae, estimator, beta=Linear(steps=100))  # a warm-up, or the KL keeps the codes at the prior
    fit(objective, digits.train, valid=digits.valid, epochs=EPOCHS, lr=5e-3, progress=False)
    return vae


cooling = {"temperature": 1.0, "end_temperature": 0.5, "steps": 200}
models = {
    "gumbel-softmax, 8 of 16": discrete(8, 16, posteriors.GumbelSoftmax, MeanFieldELBO(num_particles=2), **cooling),
    "enumerated, 2 of 5": discrete(2, 5, posteriors.OneHotCategorical, Enum()),
}

print(f"{'':<24} {'ELBO':>8} {'KL':>7} {'bits per dim':>13} {'most nats':>10}")
for name, vae in models.items():
    x = digits.test.x
    terms = evaluation.elbo(vae, x, num_particles=10)
    elbo, kl = terms.elbo.mean().item(), terms.kl.mean().item()
    groups, classes = vae.posterior.arguments["groups"], vae.dim // vae.posterior.arguments["groups"]
    bits = -elbo / math.log(2) / x[0].numel()
    print(f"{name:<24} {elbo:8.2f} {kl:7.2f} {bits:13.3f} {groups * math.log(classes):10.2f}")
