"""Long evaluations are compiled, and give what eager ones give."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from instances import vae

from ppl_vae import evaluation, models
from ppl_vae.capture import cost
from ppl_vae.capture.repeated import Repeated
from ppl_vae.estimators import log_weights
from ppl_vae.evaluation import importance

X = torch.rand(9, 1, 4, 4, generator=torch.Generator().manual_seed(1)).round()


def test_short_evaluations_are_eager_and_long_ones_are_not():
    model = vae(20, (784,), hidden=(400,)).eval()
    x = torch.zeros(1, 784)

    def weigh(batch, num_particles):
        return log_weights(model.model, model.guide, *batch, num_particles=num_particles)

    with torch.no_grad():
        assert not importance.is_long(model, weigh, (x,), 100 * 1000, (1000, 1))
        assert importance.is_long(model, weigh, (x,), 10_000 * 5000, (5000, 1))
        assert not importance.is_long(model, weigh, (x,), 5000, (5000, 1))  # one piece


class Labelled(torch.nn.Module):
    """A guide whose mean is a number of its own for each label."""

    def __init__(self):
        super().__init__()
        self.means = torch.nn.Parameter(torch.linspace(-1, 1, 3))

    def forward(self, x, y):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.means[y], 1.0))


def labelled(x, y):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.1 * y, 1.0))
        pyro.sample("x", dist.Bernoulli(logits=z[..., None, None, None].expand(*z.shape, 1, 4, 4)).to_event(3), obs=x)


@pytest.mark.parametrize("with_labels", [False, True])
def test_a_compiled_evaluation_sees_the_same_noise(with_labels, monkeypatch):
    model, y = vae(2, (1, 4, 4)), None
    if with_labels:
        model, y = models.Program(labelled, Labelled()), torch.arange(9) % 3
        model.prepare(X, y)
    more = {"num_particles": 70, "memory": 2**16, "y": y}
    eager = evaluation.log_likelihood(model, X, **more)
    monkeypatch.setattr(cost, "WORTH", -1.0)
    monkeypatch.setattr(importance, "FEW", 0)
    made = []
    inner = Repeated._compiled
    monkeypatch.setattr(Repeated, "_compiled", lambda self, batch: made.append(inner(self, batch)) or made[-1])
    found = evaluation.log_likelihood(model, X, **more)
    assert len(made) == 1 and made[0] is not None
    assert torch.allclose(found.value, eager.value, atol=1e-4) and torch.allclose(found.ess, eager.ess, rtol=1e-3)


def test_programs_that_have_no_graph_are_evaluated_eagerly():
    loc = torch.nn.Parameter(torch.zeros(()))

    class Odd(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.loc = loc

        def forward(self, x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(self.loc + float(x.mean()), 1.0))

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Bernoulli(logits=z[..., None, None, None]).to_event(3), obs=x)

    program = models.Program(model, Odd())
    program.prepare(X)
    with pytest.MonkeyPatch.context() as patch:
        eager = evaluation.log_likelihood(program, X, num_particles=40, memory=2**14).value
        patch.setattr(cost, "WORTH", -1.0)
        patch.setattr(importance, "FEW", 0)
        with pytest.warns(UserWarning, match="log-weights are computed eagerly, since the program cannot run on"):
            found = evaluation.log_likelihood(program, X, num_particles=40, memory=2**14)
        assert torch.equal(found.value, eager)


def test_a_compiled_graph_that_is_wrong_is_not_used(monkeypatch):
    model = vae(2, (1, 4, 4))
    more = {"num_particles": 70, "memory": 2**16}
    eager = evaluation.log_likelihood(model, X, **more)
    monkeypatch.setattr(cost, "WORTH", -1.0)
    monkeypatch.setattr(importance, "FEW", 0)
    monkeypatch.setattr(torch, "compile", lambda graph, **_: lambda *inputs: [out + 9.0 for out in graph(*inputs)])
    with pytest.warns(UserWarning, match="computed eagerly, since the compiled graph gives -?[0-9.]+ where"):
        found = evaluation.log_likelihood(model, X, **more)
    assert torch.equal(found.value, eager.value)
