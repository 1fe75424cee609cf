"""A deep Markov model of sequences of unequal lengths (Krishnan et al. 2017) in Pyro: z_1 -> z_2 -> ..., x_t from z_t.

The data are simulated: a light three lamps wide moves around a ring of eight, in either direction, for 4 to 8 steps,
and some lamps fail. Sequences are padded to 8 steps; masks remove the padding from model and guide. The guide reads x
backwards, q(z_t | z_{t-1}, x_t ... x_T). KL annealing scales only the latent sites, in model and guide.

python examples/dmm.py
"""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import nn

from ppl_vae import SVI, estimators, evaluation, fit, handlers, models

LAMPS, STEPS, DIM, HIDDEN = 8, 8, 4, 32


def lights(count, seed):
    """Padded sequences (count, STEPS, LAMPS) of bits, and their lengths (count,)."""
    generator = torch.Generator().manual_seed(seed)
    start, way = torch.randint(LAMPS, (count, 1), generator=generator), torch.rand(count, 1, generator=generator)
    at = start + torch.where(way < 0.5, -1, 1) * torch.arange(STEPS)
    lit = (torch.arange(LAMPS) - at[..., None]).remainder(LAMPS) < 3
    fails = torch.rand(lit.shape, generator=generator) < 0.03
    lengths = torch.randint(4, STEPS + 1, (count,), generator=generator)
    return ((lit ^ fails) & (torch.arange(STEPS) < lengths[:, None])[..., None]).float(), lengths


def network(size_in, size_out):
    return nn.Sequential(nn.Linear(size_in, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, size_out))


def normal(features):
    location, scale = features.chunk(2, -1)
    return dist.Normal(location, nn.functional.softplus(scale) + 1e-3)


class DMM(nn.Module):
    def __init__(self):
        super().__init__()
        self.transition, self.emitter = network(DIM, 2 * DIM), network(DIM, LAMPS)
        self.rnn = nn.GRU(LAMPS, HIDDEN, batch_first=True)
        self.lift, self.combiner = nn.Linear(DIM, HIDDEN), nn.Linear(HIDDEN, 2 * DIM)
        self.z_0 = nn.Parameter(torch.zeros(DIM))
        self.warm_up = handlers.Linear(steps=200, start=0.1)
        self.register_buffer("annealing", torch.tensor(1.0))

    def at_step(self, step):
        """``fit`` calls this before every optimizer step."""
        self.annealing.fill_(self.warm_up(step))

    def model(self, x, lengths):
        pyro.module("dmm", self)
        z = self.z_0
        with pyro.plate("data", len(x)):
            for t in pyro.markov(range(STEPS)):
                with poutine.mask(mask=t < lengths):
                    with poutine.scale(scale=self.annealing):
                        z = pyro.sample(f"z_{t}", normal(self.transition(z)).to_event(1))
                    pyro.sample(f"x_{t}", dist.Bernoulli(logits=self.emitter(z)).to_event(1), obs=x[:, t])

    def guide(self, x, lengths):
        pyro.module("dmm", self)
        # Reverse each sequence but keep its padding at the end: row t of `back` is row length - 1 - t.
        back = (lengths[:, None] - 1 - torch.arange(STEPS)).remainder(STEPS)[..., None]
        hidden = self.rnn(x.gather(1, back.expand_as(x)))[0].gather(1, back.expand(-1, -1, HIDDEN))
        z = self.z_0
        with pyro.plate("data", len(x)):
            for t in pyro.markov(range(STEPS)):
                combined = (self.lift(z).tanh() + hidden[:, t]) / 2
                with poutine.mask(mask=t < lengths), poutine.scale(scale=self.annealing):
                    z = pyro.sample(f"z_{t}", normal(self.combiner(combined)).to_event(1))


def main():
    (x, lengths), (x_test, lengths_test) = lights(500, seed=0), lights(200, seed=1)
    torch.manual_seed(0)
    dmm = DMM()
    program = models.Program(dmm.model, dmm.guide)
    settings = {"epochs": 50, "batch_size": 50, "lr": 1e-2, "schedule": "cosine"}
    fit(SVI(program, estimators.TraceELBO()), (x, lengths), **settings, progress=False)
    steps = lengths_test.sum()
    alone = dist.Bernoulli(x.sum((0, 1)) / lengths.sum()).log_prob(x_test)
    found = evaluation.log_likelihood(program, x_test, y=lengths_test, num_particles=500)
    print("nats a step, of 200 sequences held out:")
    print(f"  each lamp by itself  {(alone.sum(-1) * (torch.arange(STEPS) < lengths_test[:, None])).sum() / steps:.2f}")
    print(f"  deep Markov model    {found.value.sum() / steps:.2f} (median k-hat {found.khat.median():.2f})")
    free = poutine.trace(poutine.uncondition(dmm.model))
    sites = free.get_trace(torch.zeros(3, STEPS, LAMPS), torch.full((3,), STEPS)).nodes
    print("three sequences of the model's own, a step a column:")
    for i in range(3):
        print("  " + "  ".join("".join(".#"[int(lamp)] for lamp in sites[f"x_{t}"]["value"][i]) for t in range(STEPS)))


if __name__ == "__main__":
    main()
