"""Where values of discrete sites are: what programs must take, what is kept from run to run, what a step costs."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from discrete import X, bit, data, nothing, observe, parameters, refused, words
from pyro import poutine
from torch import nn

from ppl_vae import SVI, models
from ppl_vae.estimators import Enum, TraceELBO
from ppl_vae.training.capture import Captured

REDUCTIONS = {
    "sum(-2)": lambda z: z.sum(-2),
    "sum of a flat one": lambda z: z.mT.reshape(-1, 2).sum(-1),
    **{f"{name}(0)": lambda z, name=name: getattr(z, name)(0) for name in ("sum", "mean", "amax", "amin", "prod")},
}


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("reduced", REDUCTIONS)
def test_a_dimension_that_is_taken_for_a_plate_is_refused(reduced, k):
    """The program reduces over what it believes to be its plate; with particles the particles are refused before."""

    def model(x, observed=True):
        with data(x):
            with pyro.plate("entries", 2, dim=-2):
                z = bit(torch.zeros(2, len(x)), "z")
            if observed:
                observe(REDUCTIONS[reduced](z), x)

    what = "the values of site z are in a dimension of their own, dim -4; .* fail with it" if k == 1 else "particles|x"
    refused(what, model, lambda x: model(x, False), X[0], k)
    refused(what, model, nothing, X[0], k)


@pytest.mark.parametrize("moved", ["unsqueeze", "squeeze"])
def test_programs_with_noise_are_held_to_their_shapes(moved):
    """A dimension that moves has another place, or a size that no plate has, though densities cannot be compared."""

    def model(x):
        with data(x), words(x):
            z = bit(0.3 * x, "z") + 0.1 * torch.randn(())
            if moved == "squeeze":  # for a plate of as many data as z has values
                observe(z.squeeze(), x)
            else:
                with pyro.plate("again", 2, dim=-3):
                    observe(z.unsqueeze(1), x.expand(2, -1, -1))

    said = {"squeeze": r"ValueError: Shape mismatch .* 2 vs 3", "unsqueeze": r"site x has it at dim -6"}[moved]
    refused(rf"the values of site z are in .* fail with it \({said}\)", model, nothing)


@pytest.mark.parametrize("reduced", ["sum(0)", "mean(0)"])
def test_a_dimension_that_came_through_a_continuous_site_is_refused_too(reduced):
    """The program sums draws that follow z over the words; with all values of z it would sum them over these."""

    def guide(x):
        with data(x), words(x):
            z = bit(x, "z")
            pyro.sample("c", dist.Normal(3.0 * z, 0.1))

    def model(x):
        with data(x), words(x):
            bit(0.3 * x, "z")
            c = pyro.sample("c", dist.Normal(0.0 * x, 1.0))
            observe(REDUCTIONS[reduced](c), x)

    match = "the values of site z are .*fail with it .site x at one value of z depends on the others"
    refused(match, model, guide, torch.cat([X, X[:1]]))
    assert TraceELBO().terms(model, guide, X).surrogate.isfinite().all()


def test_a_site_outside_the_plate_is_refused_by_name():
    def model(x):
        with data(x):
            with words(x):
                z = bit(0.3 * x, "z")
            observe(z.sum(-2, keepdim=True), x[:1])

    def guide(x):
        with data(x), words(x):
            bit(x, "z")

    match = (
        "site x is outside the plate words of site z and depends on it.*; use VIMCO, RWS or TraceELBO, which sample z"
    )
    refused(match + "$", model, guide)
    refused(match + ", with a guide that has it too$", model, nothing)
    assert TraceELBO(3).terms(model, guide, X).surrogate.isfinite().all()


class Program(nn.Module):
    """Networks over the values of a site, with or without room for leading dimensions, or dropout."""

    def __init__(self, kind="linear"):
        super().__init__()
        torch.manual_seed(0)
        extra = {"norm": nn.BatchNorm1d(2), "dropout": nn.Dropout(0.5), "linear": nn.Identity()}[kind]
        self.q, self.p = nn.Linear(1, 3), nn.Sequential(nn.Linear(3, 3), extra, nn.Linear(3, 1))

    def model(self, x):
        with data(x), words(x):
            z = pyro.sample("z", dist.OneHotCategorical(torch.ones(3)))
            pyro.sample("x", dist.Normal(self.p(z).squeeze(-1), 1.0), obs=x)

    def guide(self, x):
        with data(x), words(x):
            pyro.sample("z", dist.OneHotCategorical(logits=self.q(x[..., None])))


def test_programs_that_take_no_further_dimension_are_refused():
    program = Program("norm").eval()
    match = "the values of site z are in a dimension of their own, dim -4; .* fail with it .*expected 2D or 3D input"
    refused(match, program.model, program.guide, X.float())


def test_dropout_is_no_reason_to_refuse():
    program = Program("dropout")
    assert Enum().terms(program.model, program.guide, X.float()).surrogate.isfinite().all()


@pytest.mark.parametrize("guided", [True, False])
def test_the_graph_of_a_step_is_the_step(guided):
    class Pair(Program):
        def model(self, texts):
            return super().model(texts.T)

        def guide(self, texts):
            return super().guide(texts.T) if guided else None

    pair = Pair()
    objective = SVI(models.Program(pair.model, pair.guide), Enum())
    batch = (X.float().T.contiguous(),)
    objective.prepare(*batch)
    objective.train()
    captured = Captured(objective, batch, compiled=False)
    expected = objective(*batch)
    expected.value.backward()
    parameters = [p for p in objective.parameters() if p.grad is not None]
    gradients = [p.grad.clone() for p in parameters]
    objective.zero_grad()
    loss = captured(batch)
    assert torch.equal(loss.value, expected.value)
    assert len(parameters) > 2 and all(torch.equal(p.grad, g) for p, g in zip(parameters, gradients, strict=True))


def test_the_layout_follows_the_programs():
    """One estimator for programs that turn into others: sites, their values, and plates that come and go."""
    estimator, a = Enum(), parameters()

    def of(names, size, plates):
        def program(x, observed=True):
            with data(x), words(x) if plates else poutine.scale(scale=1.0):
                total = 0
                for name in names:
                    total = total + pyro.sample(name, dist.Categorical(logits=a[:size]))
                if observed:
                    observe(a[7] * total, x if plates else x[0])

        return program, lambda x: program(x, False)

    for names, size, plates in (("u", 2, True), ("u", 3, True), ("uv", 3, True), ("uv", 3, False), ("u", 3, True)):
        for guide in (of(names, size, plates)[1], nothing):
            model = of(names, size, plates)[0]
            expected = Enum().terms(model, guide, X).surrogate
            assert torch.equal(estimator.terms(model, guide, X).surrogate, expected), (names, size, plates)


def test_plates_without_a_size_have_that_of_their_sites():
    """The values of a site are written out over them, as its draws are, where its distribution has that size."""
    a = parameters()

    def of(**size):
        def model(x):
            with pyro.plate("data", dim=-1, **size), words(x):
                observe(a[1] * bit(a[0], "z") + x.mean(0), x)

        def guide(x):
            with pyro.plate("data", dim=-1, **size), words(x):
                bit(a[2] * x, "z")

        return model, guide

    (model, guide), sized = of(), of(size=2)
    assert torch.equal(Enum().terms(model, guide, X).surrogate, Enum().terms(*sized, X).surrogate)
    refused("site z has one value for all 2 of plate data, which has no size", model, nothing)


def test_sites_that_change_from_run_to_run_are_refused():
    runs = []

    def model(x):
        runs.append(1)
        with data(x), words(x):
            z = bit(0.3 * x, f"z{len(runs)}")
            observe(z, x)

    refused("the discrete sites of the programs were z[0-9]+, and change from run to run", model, nothing)


def test_programs_may_differentiate():
    """Slopes as features, which no run without gradients could give."""

    def model(x):
        z = x.clone().requires_grad_()
        slope = torch.autograd.grad(z.square().sum(), z)[0]
        with data(x), words(x):
            observe(slope * bit(0.3 * x, "z"), x)

    assert Enum().terms(model, nothing, X).surrogate.isfinite().all()
    a = parameters()

    def force(x):
        with data(x), words(x):
            c = pyro.sample("c", dist.Normal(0.0, 1.0).expand(x.shape))
            slope = torch.autograd.grad(c.square().sum(), c, create_graph=True)[0]
            observe(slope * bit(0.3 * x, "z"), x)

    def guide(x):
        with data(x), words(x):
            pyro.sample("c", dist.Normal(a[0] * x, 1.0))

    assert Enum().terms(force, guide, X).surrogate.isfinite().all()


def test_finding_the_layout_leaves_no_trace():
    program = Program("dropout")
    before, states = torch.get_rng_state(), []

    def guide(x):
        states.append(torch.get_rng_state())
        program.guide(x)

    estimator = Enum()
    estimator.terms(program.model, guide, X.float())
    assert len(states) > 2 and torch.equal(states[-1], before)
    found = len(states)
    estimator.terms(program.model, guide, X.float())
    assert len(states) == found + 1


def test_too_many_values_in_one_term_are_refused():
    largest = []

    def model(x, count=2, size=70):
        with data(x), words(x):
            total = sum(pyro.sample(f"s{i}", dist.Categorical(torch.ones(size))) for i in range(count))
            largest.append(total.numel())
            observe(total, x)

    refused(r"more than 4096 joint values \(70 of s0 x 70 of s1\); use VIMCO, NVIL or RWS", model, nothing)
    assert max(largest) < 4096  # refused before it is built

    def clique(x):
        with data(x), words(x):
            a, b, c = (pyro.sample(name, dist.Categorical(torch.ones(30))) for name in "abc")
            for i, pair in enumerate((a + b, b + c, c + a)):
                observe(pair, x, f"x{i}")

    refused(r"more than 4096 joint values \(30 of a x 30 of b x 30 of c\)", clique, nothing)
    refused("50 discrete sites, s0, s1, s2 and so on, .* 48 is the most", lambda x: model(x, 50, 2), nothing)

    def tied(x):
        with data(x), words(x):
            first = pyro.sample("s", dist.Categorical(torch.ones(20)))
            for i in range(3):
                pyro.sample(f"s{i}", dist.Categorical(torch.eye(20)[first] + 1))
            observe(first, x)
            for i in range(3):
                observe(first, x, f"x{i}")

    assert Enum().terms(tied, nothing, X).surrogate.isfinite().all()  # 160000 joint values, 400 in any one sum


def test_networks_that_take_no_particles_are_refused_where_values_are_listed():
    program = Program("norm").eval()

    def model(x):
        with data(x):
            z = pyro.sample("z", dist.OneHotCategorical(torch.ones(3)))
            loc = program.p[1](z[..., :2])
            pyro.sample("x", dist.Normal(loc[..., 0], 1.0), obs=x)

    match = "3 particles come in front of the batch, and BatchNorm1d takes the batch .*; use TraceELBO, with every"
    refused(match, model, nothing, torch.randn(2))
