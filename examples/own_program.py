"""Train and evaluate your own Pyro program: probabilistic PCA with a learned noise scale.

python examples/own_program.py
"""

import pyro
import pyro.distributions as dist
import torch
from torch import nn

from ppl_vae import SVI, data, evaluation, fit, models

torch.manual_seed(0)
digits = data.load("digits", binarize="none")
x_train, x_test = digits.train.x.flatten(1), digits.test.x.flatten(1)
encoder = nn.Linear(64, 2 * 8)


def model(x):
    weight = pyro.param("weight", lambda: 0.1 * torch.randn(8, 64))
    mean = pyro.param("mean", x_train.mean(0))
    noise = pyro.param("noise", torch.tensor(0.3), constraint=dist.constraints.positive)
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(8), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z @ weight + mean, noise).to_event(1), obs=x)


def guide(x):
    pyro.module("encoder", encoder)
    location, log_scale = encoder(x).chunk(2, -1)
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(location, log_scale.exp()).to_event(1))


program = models.Program(model, guide)
history = fit(SVI(program), (x_train,), valid=(x_test,), epochs=60, lr=1e-2, schedule="cosine", progress=False)
print("ELBO:", round(history.rows[-1]["valid"]["elbo"], 2), "nats an example; parameters:", len(program.sites))
print(evaluation.log_likelihood(program, x_test, num_particles=1000))
