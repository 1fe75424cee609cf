"""Users' programs: scores in part, types, batches, and reasons that are the right ones.

``test_user_programs`` has the other assumptions that Pyro does not make.
"""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from contracts import within
from pyro.distributions.testing.rejection_exponential import RejectionExponential
from pyro.infer.autoguide import AutoMessenger, AutoNormal
from torch import nn
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

from ppl_vae import SVI, estimators, evaluation, fit, models

# 10. What is reparameterised in part needs its score; a factor in a guide says what it is.


def positive(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Exponential(1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def rejection(x):
    rate = LOC.exp().expand(len(x))  # proposals do not depend on it, so that the score is all there is
    with pyro.plate("data", len(x)):
        pyro.sample("z", RejectionExponential(rate, 0.5 / rate))


@pytest.mark.parametrize("name", ["TraceELBO", "MeanFieldELBO"])
def test_a_rejector_has_its_score(name):
    """q = Exponential(r): KL = log r + 1/r - 1, E (x - z)^2 = x^2 - 2 x / r + 2 / r^2."""
    r = LOC.exp()
    loss = (r.log() + 1 / r - 1 + (X**2 - 2 * X / r + 2 / r**2) / 2 + math.log(2 * math.pi) / 2).sum()
    estimator = getattr(estimators, name)(num_particles=100)
    within([figures(estimator, positive, rejection, X, seed=s).tolist() for s in range(30)], closed_form(loss))


@pytest.mark.parametrize("name", ["STL", "IWAE", "DReG", "VIMCO"])
def test_a_rejector_is_refused_where_paths_must_be_whole(name):
    with refused("site z .*RejectionExponential.*TraceELBO"):
        figures(getattr(estimators, name)(num_particles=3), positive, rejection, X)


def test_a_factor_in_a_guide_must_say_whether_it_is_reparameterised():
    def penalised(x):
        guide(x)
        pyro.factor("penalty", LOC**2, has_rsample=False)

    with refused("penalty.*has_rsample=True"):
        figures(estimators.TraceELBO(), model, penalised, X)


# 11. Real targets that are whole numbers stay real.


def test_whole_targets_stay_real():
    seen = set()

    def regression(x, y):
        seen.add(y.dtype)
        slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Normal(slope * x, 1.0), obs=y)

    def drawn(x, y):
        pyro.sample("slope", dist.Normal(pyro.param("loc", torch.tensor(0.3)), 0.5))

    program, y = models.Program(regression, drawn), torch.tensor([1.0, 2.0, 3.0])
    fit(SVI(program, estimators.TraceELBO()), (X, y), epochs=1, progress=False)
    assert seen == {torch.float32}


# 12. Reasons are the right ones.


def lda(x):
    """Draws documents of its own from all of x, as Pyro's example does."""
    with pyro.plate("topics", 2):
        words = pyro.sample("topic_words", dist.Dirichlet(torch.ones(5)))
    with pyro.plate("documents", 8, subsample_size=4) as chosen:
        shares = pyro.sample("doc_topics", dist.Dirichlet(torch.ones(2)))
        with pyro.plate("words", 6):
            topic = pyro.sample("word_topics", dist.Categorical(shares), infer={"enumerate": "parallel"})
            pyro.sample("doc_words", dist.Categorical(words[topic]), obs=x[chosen].long().T)


def lda_guide(x):
    with pyro.plate("topics", 2):
        pyro.sample("topic_words", dist.Dirichlet(torch.ones(5) + LOC))
    with pyro.plate("documents", 8, subsample_size=4):
        pyro.sample("doc_topics", dist.Dirichlet(torch.ones(2) + LOC))


def test_the_log_likelihood_of_lda_is_refused_for_its_documents_or_topics():
    with refused("word_topics|plate documents holds 4 of the 8"):
        log_likelihood(lda, lda_guide, torch.randint(0, 5, (8, 6)).float(), 10)


def codes(x):
    """A parameter for each of three data."""
    loc = pyro.param("codes", torch.zeros(3))
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(loc, 0.8))


def test_log_likelihood_of_a_guide_with_parameters_of_each_datum():
    check_value(log_likelihood(model, codes, X), EVIDENCE)


def test_fewer_data_than_a_guide_has_parameters_for_are_refused():
    program = models.Program(model, codes)
    program.prepare(X)
    with refused("guide.*2 data|z .*2"):
        evaluation.log_likelihood(program, X[:2])


def hmm(x):
    """x is (B, steps, tones), as in Pyro's example: the plate of tones is inside that of sequences."""
    with pyro.plate("states", 2):
        steps = pyro.sample("steps", dist.Dirichlet(torch.ones(2)))
    tones = pyro.plate("tones", x.shape[2], dim=-1)
    with pyro.plate("sequences", len(x), dim=-2):
        state = 0
        for t in range(x.shape[1]):
            state = pyro.sample(f"s{t}", dist.Categorical(steps[state]), infer={"enumerate": "parallel"})
            with tones:
                pyro.sample(f"x{t}", dist.Normal(state.float(), 1.0), obs=x[:, t])


def hmm_guide(x):
    with pyro.plate("states", 2):
        pyro.sample("steps", dist.Dirichlet(torch.ones(2) + LOC))


def test_the_log_likelihood_of_a_hidden_markov_model_is_refused_for_its_states():
    with refused("s0"):
        log_likelihood(hmm, hmm_guide, torch.randn(3, 4, 5), 10)


class LocalNormal(AutoMessenger):
    """A user's messenger of a model with one local latent."""

    def get_posterior(self, name, prior):
        return dist.Normal(torch.full((3,), 0.2), 0.9)


def test_log_likelihood_of_a_messenger_with_local_latents():
    check_value(log_likelihood(model, LocalNormal(model), X), EVIDENCE)


class Normalised(nn.Module):
    """BatchNorm1d takes (K, B, C) for B channels."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(2)

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.norm(z), 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(LOC * x, 0.8).to_event(1))


@pytest.mark.parametrize("rows", [2, 3])
def test_batch_normalisation_under_particles_is_refused(rows):
    program = Normalised()
    with refused("particles.*BatchNorm1d.*num_particles=1"):
        figures(estimators.TraceELBO(num_particles=5), program.model, program.guide, torch.randn(rows, 2))


@pytest.mark.parametrize("name", ["TraceELBO", "MeanFieldELBO", "IWAE", "Enum"])
def test_num_samples_of_one_site_is_refused(name):
    def several(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(LOC * x, 0.8), infer={"num_samples": 10})

    with refused("site z .*num_samples.*num_particles=10"):
        figures(getattr(estimators, name)(), model, several, X)


def forces(x, force):
    """Data are noisy forces at z in a soft or a stiff spring."""
    with pyro.plate("data", len(x)):
        stiff = pyro.sample("stiff", dist.Bernoulli(torch.full((len(x),), 0.4)))
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(force(z, stiff), 1.0), obs=x)


def differentiated(x):
    def force(z, stiff):
        return -torch.autograd.grad(((1 + stiff) * z**2).sum(), z, create_graph=True)[0]

    forces(x, force)


def forces_guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("stiff", dist.Bernoulli(logits=LOC * x))
        pyro.sample("z", dist.Normal(LOC * x, 0.8))


@pytest.mark.parametrize("num_particles", [1, 3])
def test_a_program_that_differentiates_inside_runs_under_enum(num_particles):
    elbo = estimators.Enum(num_particles)
    expected = figures(elbo, lambda x: forces(x, lambda z, stiff: -2 * (1 + stiff) * z), forces_guide, X)
    assert torch.allclose(figures(elbo, differentiated, forces_guide, X), expected, rtol=1e-5)


def test_a_program_that_differentiates_inside_is_prepared_and_trained():
    def inside(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            force = -torch.autograd.grad((z**2).sum(), z, create_graph=True)[0]
            pyro.sample("x", dist.Normal(force, 1.0), obs=x)

    def drawn(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(pyro.param("loc", torch.tensor(0.3)) * x, 0.8))

    program = models.Program(inside, drawn)
    program.prepare(X)
    fit(SVI(program, estimators.TraceELBO()), X, epochs=2, progress=False)
    assert program.sites["loc"] != 0.3


def in_two_plates(x):
    with pyro.plate("data", len(x)), pyro.plate("pixels", x.shape[1]):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x.T)


def in_two_plates_guide(x):
    with pyro.plate("data", len(x)), pyro.plate("pixels", x.shape[1]):
        pyro.sample("z", dist.Normal(LOC * x.T, 0.8))


def plateless(x):
    g = pyro.sample("g", dist.Normal(0.0, 1.0))
    pyro.sample("x", dist.Normal(g[..., None] + torch.zeros(len(x)), 1.0).to_event(1), obs=x)


def plateless_guide(x):
    pyro.sample("g", dist.Normal(LOC, 0.5))


@BOTH
@pytest.mark.parametrize("num_particles", [1, 3])
def test_plates_inside_one_another_are_found(ours, pyros, num_particles):
    mine, theirs = ours(num_particles), pyros(num_particles=num_particles, vectorize_particles=True)
    check_pyros(mine, theirs, in_two_plates, in_two_plates_guide, torch.randn(3, 4))
    check_pyros(mine, theirs, plateless, plateless_guide, X)  # by other programs, and without plates


# Batches of programs that need all the data.


def shared(x):
    g = pyro.sample("g", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(g, 1.0), obs=x)


def test_batches_of_a_program_that_does_not_know_how_many_data_there_are_are_refused():
    with refused(r"batch.*site g is outside plate data.*subsample_size=len\(x\)"):
        program = models.Program(shared, AutoNormal(shared))
        fit(SVI(program, estimators.TraceELBO()), X, epochs=1, batch_size=2, progress=False)


def test_codes_of_single_data_stay_with_their_rows():
    """Rows that were shuffled between epochs would leave every code at the mean of the data."""
    x = torch.tensor([-3.0, 0.0, 3.0])
    program = models.Program(model, codes)
    fit(SVI(program, estimators.TraceELBO()), x, epochs=150, lr=0.1, progress=False)
    assert (program.sites["codes"] - x / 2).abs().max() < 0.5  # the posterior mean; its noise is about 0.2
