"""A hierarchy of two latents, z2 -> z1 -> x, as your own Pyro program, with the guide q(z1 | x) q(z2 | z1).

python examples/hierarchical.py
"""

import pyro
import pyro.distributions as dist
import torch
from torch import nn

from ppl_vae import SVI, data, estimators, evaluation, fit, handlers, models

torch.manual_seed(0)
digits = data.load("digits", binarize="dynamic")


def network(size_in, size_out):
    return nn.Sequential(nn.Linear(size_in, 128), nn.ReLU(), nn.Linear(128, size_out))


def normal(features):
    location, scale = features.chunk(2, -1)
    return dist.Normal(location, nn.functional.softplus(scale) + 1e-3).to_event(1)


class Hierarchy(nn.Module):
    """p(z2) p(z1 | z2) p(x | z1); 4 and 16 dimensions."""

    def __init__(self):
        super().__init__()
        self.prior_z1, self.decoder = network(4, 2 * 16), network(16, 64)
        self.encoder_z1, self.encoder_z2 = network(64, 2 * 16), network(16, 2 * 4)

    def model(self, x):
        with pyro.plate("data", len(x)):
            z2 = pyro.sample("z2", dist.Normal(torch.zeros(4), 1.0).to_event(1))
            z1 = pyro.sample("z1", normal(self.prior_z1(z2)))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z1)).to_event(1), obs=x.flatten(1))

    def guide(self, x):
        with pyro.plate("data", len(x)):
            z1 = pyro.sample("z1", normal(self.encoder_z1(x.flatten(1))))
            pyro.sample("z2", normal(self.encoder_z2(z1)))


pair = Hierarchy()
program = models.Program(pair.model, pair.guide)
objective = SVI(program, estimators.TraceELBO(), beta=handlers.Linear(steps=300))
history = fit(objective, digits.train, valid=digits.valid, epochs=50, lr=2e-3, schedule="cosine", progress=False)
print("validation ELBO by epoch:", [round(row["valid"]["elbo"], 2) for row in history.rows[9::10]])
for name, value in evaluation.evaluate(program, digits.test, num_particles=500).items():
    print(f"{name:>22}: {value:.3f}" if isinstance(value, float) else f"{name:>22}: {value}")

# Annealed importance sampling does not use the guide; bidirectional bounds say how exact it is.
x = digits.test.resolve(dist.constraints.boolean).take(slice(0, 20))[0]
settings = {"num_chains": 8, "num_temperatures": 60, "leapfrog": 4}
print("20 digits, importance sampling:   ", evaluation.log_likelihood(program, x, num_particles=2000))
print("20 digits, annealed:              ", evaluation.annealed_log_likelihood(program, x, **settings))
print("20 simulated digits, bidirectional:", evaluation.bidirectional(program, x, **settings))
