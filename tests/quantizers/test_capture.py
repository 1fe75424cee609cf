"""Captured steps of a model with a quantizer: the bits of eager ones, codebooks and running statistics included."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ppl_vae.objectives import Loss, Objective
from ppl_vae.quantizers import (
    EMA,
    FiniteScalarQuantizer,
    Gradient,
    ProductQuantizer,
    ResidualQuantizer,
    VectorQuantizer,
)
from ppl_vae.training.capture import Captured

MAKE = {
    "ema": lambda: VectorQuantizer(9, 4, update=EMA(0.99), revive=0.5),
    "gradient": lambda: VectorQuantizer(9, 4, update=Gradient(0.99), revive=0.5),
    "cosine": lambda: VectorQuantizer(9, 4, update=Gradient(0.99), metric="cosine", gradient="rotation", revive=0.5),
    "product": lambda: ProductQuantizer(9, 4, 2, update=EMA(0.99), gradient="rotation", revive=0.5),
    "residual": lambda: ResidualQuantizer(9, 4, 2, update=Gradient(0.99), revive=0.5),
    "finite scalar": lambda: FiniteScalarQuantizer((3, 4, 2, 5)),
}


class Coded(Objective):
    """A linear autoencoder with codes."""

    def __init__(self, quantizer):
        super().__init__()
        self.model = nn.ModuleList([nn.Linear(6, 4), quantizer, nn.Linear(4, 6)])

    def at_step(self, step):
        self.model[1].settle()
        return {}

    def forward(self, x):
        encoder, quantizer, decoder = self.model
        out = quantizer(encoder(x))
        error = (decoder(out.values) - x).square().sum(1)
        return Loss(error.mean() + quantizer.cost(out.loss_terms), {"perplexity": out.perplexity.detach()})


def trained(name, captured, compiled=False, steps=8):
    torch.manual_seed(0)
    objective = Coded(MAKE[name]())
    for part in objective.modules():
        if isinstance(part, VectorQuantizer):
            part.counts[:3] = 1e-3  # three codes die at once
    batches = torch.randn(steps, 24, 6)
    step = Captured(objective, (batches[0],), compiled=compiled) if captured else None
    optimizer = torch.optim.Adam(objective.parameters(), 0.05)
    losses, found = [], []
    torch.manual_seed(1)
    for i, x in enumerate(batches):
        objective.at_step(i)
        optimizer.zero_grad()
        if step is None:
            loss = objective(x)
            loss.value.backward()
        else:
            loss = step((x,))
        optimizer.step()
        losses.append(loss.value.detach().clone())
        found.append(copy.deepcopy(objective.model[1].state_dict()))
    return torch.stack(losses), objective.state_dict(), found


@pytest.mark.parametrize("name", MAKE)
def test_a_captured_step_has_the_bits_of_an_eager_one(name):
    eager, captured = trained(name, False), trained(name, True)
    assert torch.equal(eager[0], captured[0])
    for key, value in eager[1].items():
        assert torch.equal(value, captured[1][key]), key
    if name != "finite scalar":  # and came back
        counts = [value for key, value in captured[2][0].items() if key.endswith("counts")]
        assert all((value[:3] > 0.5).all() for value in counts)
    if name in ("gradient", "cosine"):
        assert captured[2][0]["dead"][:3].all()
        before = F.normalize(captured[2][0]["candidates"], dim=1) if name == "cosine" else captured[2][0]["candidates"]
        assert torch.allclose(captured[2][1]["codebook"][:3], before[:3], atol=0.11)  # two steps of Adam away


def test_what_a_captured_step_cannot_do_waits_for_settle():
    """A parameter is not changed in a captured step: its dead codes wait, and are not forgotten in the next step."""
    objective, batches = Coded(MAKE["gradient"]()), torch.randn(3, 24, 6)
    q = objective.model[1]
    q.counts[:3] = 1e-3
    step, before = Captured(objective, (batches[0],), compiled=False), q.codebook.detach().clone()
    for x in batches:
        step((x,))
        assert q.dead[:3].all() and torch.equal(q.codebook, before)
    objective.at_step(3)
    assert torch.equal(q.codebook[:3], q.candidates[:3]) and torch.equal(q.codebook[3:], before[3:])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ema", "gradient"])
def test_a_compiled_step_agrees_with_an_eager_one(name):
    eager, compiled = trained(name, False), trained(name, True, compiled=True)
    assert torch.allclose(eager[0], compiled[0], rtol=1e-4)
    for key, value in eager[1].items():
        assert torch.allclose(value, compiled[1][key], rtol=1e-3, atol=1e-4), key
