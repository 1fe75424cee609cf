"""Sequences: a deep Markov model with masks and annealing, and a hidden Markov model whose states are summed out."""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoDelta, init_to_value
from pyro_programs.harness import Case, enumerated, network, trace_elbo
from torch import nn


def draws(*shape, seed):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


class DMM(nn.Module):
    """Krishnan et al. 2017: a nonlinear chain z_t of one dimension behind binary x_t, read backwards by a GRU.

    x is (B, T, D) and y the lengths (B,). The latents of model and guide are annealed alike.

    Args:
        annealing: scale of the latents.
        handler: masks by ``poutine.mask`` around the sites; otherwise by the distributions' own.
    """

    steps = 4

    def __init__(self, annealing=1.0, handler=False):
        super().__init__()
        self.annealing, self.handler = annealing, handler
        self.z_0, self.z_q = nn.Parameter(0.3 * torch.randn(1)), nn.Parameter(0.3 * torch.randn(1))
        self.transition, self.emission = network(1, 4, 2), network(1, 4, 3)
        self.rnn, self.combine, self.head = nn.GRU(3, 4, batch_first=True), nn.Linear(1, 4), nn.Linear(4, 2)

    def _next(self, z):
        mean, scale = self.transition(z).chunk(2, -1)
        return 0.4 * z + mean, 0.8 * (0.3 * scale).exp()

    def _sample(self, name, fn, mask, obs=None):
        if self.handler:
            with poutine.mask(mask=mask):
                return pyro.sample(name, fn.to_event(1), obs=obs)
        return pyro.sample(name, fn.mask(mask[:, None]).to_event(1), obs=obs)

    def model(self, x, lengths):
        pyro.module("dmm", self)
        mask = torch.arange(x.shape[1]) < lengths[:, None]
        z = self.z_0.expand(len(x), 1)
        with pyro.plate("z_minibatch", len(x)):
            for t in pyro.markov(range(x.shape[1])):
                with poutine.scale(scale=self.annealing):
                    z = self._sample(f"z_{t}", dist.Normal(*self._next(z)), mask[:, t])
                self._sample(f"obs_x_{t}", dist.Bernoulli(logits=self.emission(z)), mask[:, t], x[:, t])

    def guide(self, x, lengths):
        pyro.module("dmm", self)
        mask = torch.arange(x.shape[1]) < lengths[:, None]
        h = self.rnn((x * mask[..., None]).flip(1))[0].flip(1)
        z = self.z_q.expand(len(x), 1)
        with pyro.plate("z_minibatch", len(x)):
            for t in pyro.markov(range(x.shape[1])):
                mean, scale = self.head(0.5 * (self.combine(z).tanh() + h[:, t])).chunk(2, -1)
                with poutine.scale(scale=self.annealing):
                    z = self._sample(f"z_{t}", dist.Normal(mean, 1.2 * (0.3 * scale).exp()), mask[:, t])

    def exact(self, x, lengths):
        """The forward recursion on a grid of z."""
        grid = torch.linspace(-9, 9, 600)[:, None]
        width = (grid[1] - grid[0]).log()
        seen = dist.Bernoulli(logits=self.emission(grid)[:, None, None]).log_prob(x).sum(-1)  # (G, B, T)
        seen = seen.where(torch.arange(x.shape[1]) < lengths[:, None], 0.0).double()
        mean, scale = self._next(grid)
        step = dist.Normal(mean, scale).log_prob(grid.T).double() + width  # from row to column
        forward = dist.Normal(*self._next(self.z_0)).log_prob(grid).double() + width + seen[..., 0]
        for t in range(1, x.shape[1]):
            forward = (step[..., None] + forward[:, None]).logsumexp(0) + seen[..., t]
        return forward.logsumexp(0)


class HMM:
    """Two states, tones of binary notes, both tables global and given points: Pyro's first hidden Markov model.

    The sequences lie along dim -2 and the tones along -1: the rightmost plate is not that of the data.
    """

    sequences, tones, states = 5, 5, 2  # as many tones as sequences: mistaking one for the other is no error of shape

    def __init__(self, own=None):
        self.own = own  # so many sequences are drawn from all by the program itself; None: x is the batch
        table = torch.tensor([[0.7, 0.3], [0.2, 0.8]])
        notes = 0.1 + 0.8 * draws(self.states, self.tones, seed=4)
        block = poutine.block(self.model, expose=["probs_x", "probs_y"])
        self.guide = AutoDelta(block, init_loc_fn=init_to_value(values={"probs_x": table, "probs_y": notes}))

    def model(self, x, lengths):
        probs_x = pyro.sample("probs_x", dist.Dirichlet(0.9 * torch.eye(self.states) + 0.1).to_event(1))
        probs_y = pyro.sample("probs_y", dist.Beta(0.4, 0.9).expand([self.states, self.tones]).to_event(2))
        tones = pyro.plate("tones", self.tones, dim=-1)
        with pyro.plate("sequences", self.sequences, subsample_size=self.own or len(x), dim=-2) as chosen:
            x, lengths = (t if self.own is None else t[chosen] for t in (x, lengths))
            state = 0
            for t in pyro.markov(range(x.shape[1])):
                with poutine.mask(mask=(t < lengths)[:, None]):
                    state = pyro.sample(f"x_{t}", dist.Categorical(probs_x[state]), infer={"enumerate": "parallel"})
                    with tones:
                        pyro.sample(f"y_{t}", dist.Bernoulli(probs_y[state.squeeze(-1)]), obs=x[:, t])

    def loss(self, probs_x, probs_y, x, lengths):
        """-log p(x, tables) / N by the forward algorithm."""
        prior = dist.Dirichlet(0.9 * torch.eye(self.states) + 0.1).log_prob(probs_x).sum()
        prior = prior + dist.Beta(0.4, 0.9).log_prob(probs_y).sum()
        total = 0.0
        for row, length in zip(x, lengths, strict=True):
            forward = torch.tensor([1.0, 0.0])
            for t in range(length):
                forward = (forward @ probs_x) * (probs_y * row[t] + (1 - probs_y) * (1 - row[t])).prod(-1)
            total = total + forward.sum().log()
        return -(prior + total * self.sequences / len(x)) / self.sequences


RAGGED = ((draws(6, DMM.steps, 3, seed=5) < 0.5).float(), torch.tensor([4, 2, 3, 1, 4, 3]))
SONGS = ((draws(HMM.sequences, 8, HMM.tones, seed=6) < 0.4).float(), torch.tensor([8, 5, 8, 3, 6]))

CASES = {
    "dmm": Case(DMM, RAGGED, batch_size=3, particles=4000),
    "dmm-annealed": Case(lambda: DMM(annealing=0.3), RAGGED, batch_size=3, particles=4000),
    "dmm-masked": Case(lambda: DMM(handler=True), RAGGED, (trace_elbo,), batch_size=3, particles=4000),
    "hmm": Case(HMM, SONGS, (enumerated,), refused="x_0.*guide"),
    "hmm-batches": Case(HMM, SONGS, (enumerated,), refused="x_0.*guide", rows=2, size=HMM.sequences, batch_size=2),
    "hmm-own-batches": Case(
        lambda: HMM(own=2), SONGS, (enumerated,), r"sequences.*5.*subsample_size=len\(x\)|x_0.*guide"
    ),
}
