"""A game and a model of two stages, each as short as they are meant to be."""

import torch
import torch.nn.functional as F
from torch import nn

from ppl_vae.objectives import Loss, Objective, Player, Stage


class Adversarial(Objective):
    """A GAN: the generator makes rows from noise, the critic tells them from the data."""

    watch = None

    def __init__(self, size=16, alternate=False, dropout=0.1):
        super().__init__()
        self.model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, size))
        self.critic = nn.Sequential(nn.Linear(size, 8), nn.Dropout(dropout), nn.LeakyReLU(0.2), nn.Linear(8, 1))
        self.every = 2 if alternate else 1

    def players(self):
        critic = Player("critic", self.critic.parameters(), "rmsprop", lr_factor=0.5, every=self.every)
        return [Player("", (), every=self.every, at=self.every - 1), critic]

    def forward(self, x, noise=None):
        x = x.flatten(1)
        made = self.model(torch.randn(len(x), 3) if noise is None else noise)
        real, fake = self.critic(x), self.critic(made)
        critic = F.softplus(-real) + F.softplus(fake)
        return Loss(F.softplus(-fake).mean(), {"told": (real > fake).float()[:, 0]}, {"critic": critic.mean()})


class Codes(nn.Module):
    """An autoencoder of the codes of another, which it uses and does not train."""

    def __init__(self, model):
        super().__init__()
        self.second, self.scale, self.whole = model["second"], nn.Parameter(torch.ones(8)), (model,)

    def forward(self, x, *_):
        h = self.whole[0]["first"][:3](x.flatten(1)) - self.whole[0]["norm"].running_mean
        return Loss((self.scale * self.second(h) - h).square().sum(1).mean())


class TwoStage(Objective):
    """An autoencoder of the data, then one of its codes, which are centred in between."""

    def __init__(self, names=("data", ""), **options):
        super().__init__()
        first = nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 16))
        second = nn.Sequential(nn.Linear(8, 2), nn.Dropout(0.2), nn.Linear(2, 8))
        self.model = nn.ModuleDict({"first": first, "second": second, "norm": nn.BatchNorm1d(8, affine=False)})
        self.names, self.options, self.calls = names, options, []

    def stages(self):
        hooks = {"begin": lambda train: self.calls.append("begin"), "end": self.centre}
        one, two = ({"epochs": 2, **self.options} if name else {} for name in self.names)
        return [Stage(self.names[0], self, **one, **hooks), Stage(self.names[1], Codes(self.model), **two, **hooks)]

    def centre(self, train):
        self.calls.append("end")
        codes = torch.cat([self.model["first"][:3](x.flatten(1)) for x, *_ in train.batches()])
        self.model["norm"].running_mean.copy_(codes.mean(0) + 0.01 * torch.randn(8))

    def forward(self, x, *_):
        x = x.flatten(1)
        return Loss((self.model["first"](x) - x).square().sum(1).mean())
