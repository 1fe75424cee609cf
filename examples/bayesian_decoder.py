"""A decoder with Bayesian weights (global latents of a Pyro program), compared with one with point weights.

The model is the same; the guide of the weights is Pyro's AutoNormal (a posterior) or AutoDelta (the most probable
weights). They are compared by the log posterior-predictive density of held-out images, log E_q(weights) p(x | weights).
A posterior with independent weights need not win; a high k-hat says that its figure is probably too low.

python examples/bayesian_decoder.py
"""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoDelta, AutoNormal
from torch import nn

from ppl_vae import SVI, data, evaluation, fit, models

digits = data.load("digits", binarize="none")
x_train, x_test = digits.train.x.flatten(1)[:150], digits.test.x.flatten(1)
N, DIM = len(x_train), 4


class Decoder(nn.Module):
    """x ~ N(z W + b, 0.2^2) with Normal priors on W and b, and an amortised guide of z."""

    def __init__(self, guide_of_weights):
        super().__init__()
        self.encoder = nn.Linear(64, 2 * DIM)
        settings = {"init_scale": 0.02} if guide_of_weights is AutoNormal else {}
        self.weights = guide_of_weights(poutine.block(self.model, hide=["z", "x"]), **settings)

    def model(self, x):
        weight = pyro.sample("weight", dist.Normal(0.0, 0.2).expand([DIM, 64]).to_event(2))
        bias = pyro.sample("bias", dist.Normal(0.0, 0.5).expand([64]).to_event(1))
        with pyro.plate("data", N, subsample_size=len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(DIM), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ weight + bias, 0.2).to_event(1), obs=x)

    def guide(self, x):
        self.weights(x)
        location, log_scale = self.encoder(x).chunk(2, -1)
        with pyro.plate("data", N, subsample_size=len(x)):
            pyro.sample("z", dist.Normal(location, log_scale.exp()).to_event(1))


for guide_of_weights in (AutoDelta, AutoNormal):
    torch.manual_seed(0)
    pair = Decoder(guide_of_weights)
    program = models.Program(pair.model, pair.guide)
    fit(SVI(program), (x_train,), epochs=200, lr=1e-2, batch_size=50, schedule="cosine", progress=False)
    for split, x in (("train", x_train), ("test", x_test)):
        found = evaluation.log_likelihood(program, x, num_particles=300)
        print(f"{guide_of_weights.__name__:>10}, {split:>5}: {found}")
