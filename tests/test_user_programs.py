"""Users' programs, each the smallest that once gave a wrong number: plates, scales and sites; right now, or refused.

One section for each assumption that Pyro does not make; ``test_user_programs_refused`` has those of types and
batches.
"""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from contracts import within
from pyro import infer, poutine
from pyro.infer.autoguide import AutoNormalMessenger
from torch.distributions import MultivariateNormal, Normal
from user_programs import (
    BOTH,
    EVIDENCE,
    LOC,
    X,
    check_pyros,
    check_value,
    closed_form,
    figures,
    guide,
    log_likelihood,
    model,
    refused,
)

from ppl_vae import SVI, estimators, models

# 1. Observed sites of a guide are no part of q.


def test_the_data_that_a_messenger_guide_observes_are_no_part_of_q():
    messenger = AutoNormalMessenger(model, init_scale=0.9)
    check_value(log_likelihood(model, messenger, X), EVIDENCE)


def test_a_factor_in_a_guide_lifts_no_log_likelihood():
    def lifted(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(LOC * x, 0.8))
            pyro.factor("penalty", torch.full((len(x),), -5.0), has_rsample=True)

    with refused("penalty.*poutine.block"):
        log_likelihood(model, lifted, X)
    check_value(log_likelihood(model, poutine.block(lifted, hide=["penalty"]), X), EVIDENCE)


# 2. A plate without a size has that of its sites.


def unsized_global(x):
    g = pyro.sample("g", dist.Normal(0.0, 1.0))
    with pyro.plate("data"):
        pyro.sample("x", dist.Normal(g, 1.0), obs=x)


@BOTH
def test_a_global_latent_beside_a_plate_without_a_size(ours, pyros):
    check_pyros(ours(), pyros(), unsized_global, lambda x: pyro.sample("g", dist.Normal(LOC, 0.5)), X)


def switch(x, plate):
    with plate(x):
        z = pyro.sample("z", dist.Bernoulli(torch.full((len(x),), 0.4)))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def test_enum_and_log_likelihood_in_a_plate_without_a_size():
    def unsized(x):
        switch(x, lambda x: pyro.plate("data"))

    def chosen(x):
        with pyro.plate("data"):
            pyro.sample("z", dist.Bernoulli(logits=LOC * x))

    q = (LOC * X).sigmoid()
    log_joint = [math.log(1 - z + (2 * z - 1) * 0.4) + Normal(float(z), 1.0).log_prob(X) for z in (0, 1)]
    elbo = (q * (log_joint[1] - q.log()) + (1 - q) * (log_joint[0] - (1 - q).log())).sum()
    assert figures(estimators.Enum(), unsized, chosen, X)[0].item() == pytest.approx(-elbo.item(), rel=1e-5)
    check_value(log_likelihood(unsized, chosen, X), torch.stack(log_joint).logsumexp(0))


# 3. A tensor in poutine.scale is looked at, at every site by itself.

TENTH, TEN, WEIGHTS = torch.tensor(0.1), torch.tensor(10.0), torch.tensor([1.0, 5.0, 0.2])


def scaled(x, latent=1.0, observed=1.0, second=None):
    with pyro.plate("data", len(x)):
        with poutine.scale(scale=latent):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
        with poutine.scale(scale=observed):
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        if second is not None:
            with poutine.scale(scale=second):
                pyro.sample("x2", dist.Normal(-z, 1.0), obs=x)


@BOTH
@pytest.mark.parametrize(
    "scales",
    [{"latent": TENTH}, {"observed": TEN}, {"observed": WEIGHTS}, {"second": TEN}],
    ids=["annealing", "x", "data", "second"],
)
def test_a_tensor_scales_the_sites_that_it_is_around(ours, pyros, scales):
    def scaled_guide(x):
        with poutine.scale(scale=scales.get("latent", 1.0)):
            guide(x)

    check_pyros(ours(), pyros(), lambda x: scaled(x, **scales), scaled_guide, X)


@pytest.mark.parametrize("estimator", [estimators.IWAE, estimators.DReG, estimators.VIMCO, estimators.RWS])
def test_a_tensor_on_some_sites_has_no_place_inside_a_logarithm(estimator):
    with refused("site x .*poutine.scale"):
        figures(estimator(num_particles=3), lambda x: scaled(x, observed=TEN), guide, X)


# 4. A plate is the particles' by identity, whatever a user calls his own.


@BOTH
def test_a_plate_called_particles_is_the_users(ours, pyros):
    def of(program):
        return lambda x: program(x, pyro.plate("particles", len(x)))

    def inside(x, plate):
        with plate:
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def drawn(x, plate):
        with plate:
            pyro.sample("z", dist.Normal(LOC * x, 0.8))

    check_pyros(ours(), pyros(), of(inside), of(drawn), X)


# 5. A score is not multiplied by N/B of a sub-sampled plate besides the data plate.


def sampled_pixels(x, size):
    """Every pixel has a latent of its own; a sub-sample of them stands for all."""
    with pyro.plate("data", len(x)), pyro.plate("pixels", 6, subsample_size=size) as chosen:
        z = pyro.sample("z", dist.Bernoulli(torch.full((size, len(x)), 0.4)))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, chosen].T)


def switched_pixels(x, size):
    with pyro.plate("data", len(x)), pyro.plate("pixels", 6, subsample_size=size) as chosen:
        pyro.sample("z", dist.Bernoulli(logits=LOC * x[:, chosen].T))


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("name", ["TraceELBO", "MeanFieldELBO", "NVIL", "DisARM", "VIMCO"])
def test_scores_are_not_multiplied_by_sub_sampled_pixels(name, size):
    estimator = getattr(estimators, name)(num_particles=100, max_plate_nesting=2)
    x = torch.tensor([1.5, 3.0, -2.0])[:, None].expand(3, 6)  # pixels alike: a sub-sample of them tells all
    if name == "VIMCO":  # N/B inside a logarithm has no meaning
        with refused("plate pixels.*TraceELBO"):
            figures(estimator, sampled_pixels, switched_pixels, x, size)
        return
    q = (LOC * x).sigmoid()
    log_joint = [math.log(p) + Normal(z, 1.0).log_prob(x) for z, p in ((0.0, 0.6), (1.0, 0.4))]
    expected = closed_form(-(q * (log_joint[1] - q.log()) + (1 - q) * (log_joint[0] - (1 - q).log())).sum())
    found = [figures(estimator, sampled_pixels, switched_pixels, x, size, seed=s).tolist() for s in range(40)]
    within(found, expected)


# 6. Shapes of a latent site that differ between model and guide are refused, not broadcast.


SHAPES = pytest.mark.parametrize(("p", "q", "events"), [((3, 2), (3, 1), 1), ((3, 1), (3, 2), 1), ((3, 2), (3,), 0)])


@SHAPES
@pytest.mark.parametrize("asked", ["loss", "log_likelihood"])
def test_latent_shapes_that_differ_are_refused(p, q, events, asked):
    def wide(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(p), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)

    def narrow(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(LOC + torch.zeros(q), 1.0).to_event(events))

    with refused("site z has event shape.*to_event"):
        figures(estimators.TraceELBO(), wide, narrow, X) if asked == "loss" else log_likelihood(wide, narrow, X)


# 7. Batch dimensions that no plate declares are refused.


@pytest.mark.parametrize("rows", [1, 3])
def test_a_dimension_that_no_plate_declares_is_refused(rows):
    def loose(x):
        with pyro.plate("data", len(x), dim=-2):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 1), 1.0))
            pyro.sample("x", dist.Normal(z, torch.ones(4)), obs=x)

    def drawn(x):
        with pyro.plate("data", len(x), dim=-2):
            pyro.sample("z", dist.Normal(LOC * x[:, :1], 1.0))

    with refused(r"site x has a batch dimension of size 4 at dim -1.*pyro.plate.*to_event"):
        figures(estimators.TraceELBO(), loose, drawn, torch.ones(rows, 4))


# 8. SVI divides the loss of Pyro's estimators by N, as it does ours.


@BOTH
def test_pyros_loss_of_a_sub_sampled_plate_is_per_example(ours, pyros):
    def part(program):
        def run(x):
            with pyro.plate("data", 60, subsample_size=len(x)):
                program(x)

        return run

    def inside(x):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    programs = part(inside), part(lambda x: pyro.sample("z", dist.Normal(LOC * x, 0.8)))
    expected = figures(pyros(), *programs, X)[0] / 60
    for elbo in (ours(), pyros()):
        torch.manual_seed(1)
        assert SVI(models.Program(*programs), elbo)(X).value.item() == pytest.approx(expected.item(), rel=1e-5)


# 9. The outermost plate is the one opened first, not that of the rightmost dim.


def rows_and_columns(x):
    rows, columns = pyro.plate("rows", x.shape[0], dim=-2), pyro.plate("columns", x.shape[1], dim=-1)
    with rows:
        z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 1), 1.0))
        with columns:
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def rows_alone(x):
    with pyro.plate("rows", len(x), dim=-2):
        pyro.sample("z", dist.Normal(LOC * x.mean(1, keepdim=True), 0.6))


def test_log_likelihood_of_rows_around_columns():
    x = torch.randn(4, 4)
    exact = MultivariateNormal(torch.zeros(4), torch.eye(4) + 1).log_prob(x)
    check_value(log_likelihood(rows_and_columns, rows_alone, x), exact)


def test_the_loss_per_example_of_rows_around_columns():
    x = torch.randn(5, 3)
    expected = figures(infer.Trace_ELBO(), rows_and_columns, rows_alone, x)[0] / 5
    torch.manual_seed(1)
    loss = SVI(models.Program(rows_and_columns, rows_alone), estimators.TraceELBO())(x)
    assert loss.value.item() == pytest.approx(expected.item(), rel=1e-5) and loss.terms["elbo"].shape == (5,)
