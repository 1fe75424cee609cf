"""What single programs of ``test_programs`` show: plates, particles, dtypes, batches, parameters of single data."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import infer, poutine
from pyro.infer import autoguide
from pyro_programs import autoencoders, hierarchies, sequences, topics
from pyro_programs.harness import (
    REFUSALS,
    Case,
    Pair,
    built,
    check_fit,
    check_in_mean,
    check_same,
    named,
    one_line,
    our_loss,
    prepared,
    raw_loss,
)
from torch import nn

from ppl_vae import SVI, estimators, evaluation, fit, models

SAMPLED = ["ss_vae_M2-enumerated", "scanvi-unlabelled", "topics-dirichlet", "topics-dirichlet-summed"]
SAMPLED += ["pixels-guided", "pixels-summed"]
CASES = autoencoders.CASES | topics.CASES


@pytest.mark.parametrize("name", SAMPLED)
def test_enum_is_pyros_sum_in_the_mean(name):
    check_in_mean(CASES[name], estimators.Enum(), infer.TraceEnum_ELBO())


def test_enum_of_topics_of_words_is_pyros_sum():
    check_same(CASES["topics-guided"], estimators.Enum(), infer.TraceEnum_ELBO())
    check_same(CASES["topics-summed"], estimators.Enum(), infer.TraceEnum_ELBO())


def test_enum_at_the_posterior_is_the_evidence():
    owner = topics.WordTopics().posterior()
    loss = SVI(models.Program(owner.model, owner.guide), estimators.Enum())(topics.WORDS)
    with torch.no_grad():
        assert torch.allclose(loss.terms["elbo"].double(), owner.exact(topics.WORDS), atol=1e-5)
    found = evaluation.log_likelihood(models.Program(owner.model, owner.guide), topics.WORDS, num_particles=3)
    assert torch.allclose(found.value.double(), owner.exact(topics.WORDS).detach(), atol=1e-4)


def test_closed_forms_under_masks_of_a_handler_are_pyros_in_the_mean():
    """Model and guide make their masks apart: whether they are equal is not known without looking at them."""
    check_in_mean(sequences.CASES["dmm-masked"], estimators.MeanFieldELBO(), infer.TraceMeanField_ELBO())


@pytest.mark.parametrize("rows", [2, 5])
def test_hidden_markov_model_is_the_forward_algorithm(rows):
    case = sequences.CASES["hmm"]
    pair, program = prepared(case)
    batch = tuple(t[:rows] for t in case.data)
    with poutine.trace() as traced:
        pair.guide(*batch)
    tables = (traced.trace.nodes[name]["value"] for name in ("probs_x", "probs_y"))
    loss = SVI(program, infer.TraceEnum_ELBO())(*batch).value
    assert loss.item() == pytest.approx(pair.model.__self__.loss(*tables, *batch).item(), rel=1e-5)


def test_batch_normalisation_sees_each_batch_once():
    """Finding parameters and plates, and checking programs, take no part in the running statistics."""
    case = CASES["prodlda"]
    expected, pair = built(case), built(case)
    torch.manual_seed(1)
    infer.Trace_ELBO().loss(expected.model, expected.guide, *case.batch)
    objective = SVI(models.Program(pair.model, pair.guide), estimators.TraceELBO())
    objective.prepare(*case.batch)
    torch.manual_seed(1)
    objective(*case.batch)
    for name, b in expected.named_buffers():
        assert torch.allclose(dict(pair.named_buffers())[name], b, atol=1e-6), name
    again = built(case)
    fit(SVI(models.Program(again.model, again.guide), infer.Trace_ELBO()), *case.batch, epochs=3, progress=False)
    assert again.norm.num_batches_tracked == 3


@pytest.mark.parametrize("name", ["TraceELBO", "MeanFieldELBO", "IWAE", "DReG", "STL"])
def test_batch_normalisation_under_particles_is_refused(name):
    """As many documents as words: the axes of BatchNorm1d may be mistaken without an error of shape."""
    _, program = prepared(CASES["prodlda"])
    with pytest.raises(REFUSALS, match="BatchNorm1d") as caught:
        SVI(program, getattr(estimators, name)(num_particles=5))(autoencoders.DOCS)
    assert one_line(caught.value)


def test_indexing_by_a_mask_under_particles_is_right_or_refused():
    data = autoencoders.quadrants(autoencoders.GREY)
    values = []
    for name in ("cvae-masked", "cvae-grey"):
        _, program = prepared(CASES[name])
        try:
            draws = [SVI(program, estimators.TraceELBO(num_particles=200))(*data).value.item() for _ in range(20)]
            values.append(torch.tensor(draws))
        except REFUSALS as error:
            assert name == "cvae-grey" and one_line(error)
            return
    a, b = values
    assert (a.mean() - b.mean()).abs() < 4 * ((a.var() + b.var()) / 20).sqrt()


@pytest.mark.parametrize("name", ["schools-hand-free-plate", "schools-AutoNormal-centred-vector"])
def test_whole_numbers_that_are_real_stay_real(name):
    case = hierarchies.CASES[name]
    pair, program = prepared(case)
    fit(SVI(program, estimators.TraceELBO()), case.data, epochs=1, progress=False)
    evaluation.log_likelihood(program, case.data[0], num_particles=2, y=case.data[1])
    assert pair.seen == {torch.float32}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("schools-hand-free-vector", "batch of 3.*8.*pyro.plate.*batch_size=N"),
        ("schools-hand-free-plate", "batch of 3.*plate.'schools'.*3 vs 8.*batch_size=N"),
        ("schools-AutoNormal-free-plate", "batch of 3.*8.*pyro.plate.*batch_size=N"),
        ("schools-AutoNormalMessenger-free-plate", "batch of 3.*schools.*8.*batch_size=N"),
        ("sparse-gamma", "batch of 3.*plate.'data'.*3 vs 5.*batch_size=N"),
    ],
)
def test_batches_of_programs_that_need_all_data_are_refused(name, words):
    case = (hierarchies.CASES | topics.CASES)[name]
    with pytest.raises(REFUSALS, match=words) as caught:
        check_fit(case, estimators.TraceELBO(), batch_size=3)
    assert one_line(caught.value)


def apart(x):
    """Every datum's z is near its x; a guide of parameters of each datum learns it."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(()), 10.0))
        pyro.sample("x", dist.Normal(z, 0.1), obs=x)


class Codes(nn.Module):
    def __init__(self, rows):
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(rows))

    def forward(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.loc, 0.1))


@pytest.mark.parametrize("made", [lambda x: Codes(len(x)), lambda x: autoguide.AutoNormal(apart)])
def test_codes_of_single_data_stay_with_their_rows(made):
    """Rows that are shuffled between epochs would leave every code at the mean of the data."""
    x = torch.linspace(-3, 3, 8)
    program = models.Program(apart, made(x))
    try:
        fit(SVI(program, estimators.TraceELBO()), x, epochs=120, lr=0.1, progress=False)
    except REFUSALS as error:
        assert "shuffle" in str(error) and one_line(error)
        fit(SVI(program, estimators.TraceELBO()), x, epochs=120, lr=0.1, progress=False, shuffle=False)
    loc = next(p for name, p in named(program).items() if "loc" in name)
    assert (loc - x).abs().max() < 0.3


@pytest.mark.parametrize("guide", ["AutoNormal", "AutoNormalMessenger"])
@pytest.mark.parametrize("elbo", [infer.Trace_ELBO, infer.TraceMeanField_ELBO])
def test_pyros_own_estimators_with_autoguides_are_right_or_refused(guide, elbo):
    """Pyro knows a messenger by its class, and its KL of a Delta leaves the Jacobian of tau out."""
    case = hierarchies.CASES[f"schools-{guide}-free-plate"]
    try:
        check_same(case, elbo(), infer.Trace_ELBO())
    except REFUSALS as error:
        assert one_line(error) and elbo.__name__ in str(error)


def test_a_vector_that_no_plate_declares_is_right_or_refused():
    """As in Pyro's eight schools: neither plate nor to_event, which Pyro's validation refuses."""

    def model(y):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        eta = pyro.sample("eta", dist.Normal(torch.zeros(8), 1.0))
        pyro.sample("obs", dist.Normal(mu + eta, 1.0), obs=y)

    class Guide(nn.Module):
        def __init__(self):
            super().__init__()
            self.loc = nn.Parameter(torch.randn(9))

        def forward(self, y):
            pyro.sample("mu", dist.Normal(self.loc[0], 1.0))
            pyro.sample("eta", dist.Normal(self.loc[1:], 1.0))

    case = Case(lambda: Pair(model, Guide()), (hierarchies.EFFECTS / 10,), size=1)
    with pyro.validation_enabled(False):
        try:
            check_same(case, estimators.TraceELBO(), infer.Trace_ELBO())
        except REFUSALS as error:
            assert "eta" in str(error) and "to_event" in str(error) and one_line(error)


def test_one_value_in_a_plate_without_a_size_is_refused():
    def model(x):
        with pyro.plate("data"):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z.expand(len(x)), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data"):
            pyro.sample("z", dist.Normal(x.mean(), 0.5))

    with pytest.raises(REFUSALS, match=r"site z .*data.*len\(x\)") as caught:
        SVI(models.Program(model, guide), estimators.TraceELBO())(torch.randn(5))
    assert one_line(caught.value)


def test_a_prior_of_one_distribution_in_a_plate_without_a_size_is_right_or_refused():
    """Its value comes from the guide and is of every datum; Pyro refuses it under validation, and is right without."""

    class Shared(autoencoders.VAE):
        def model(self, x):
            with pyro.plate("data"):
                z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
                pyro.sample("obs", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)

    case = Case(Shared, (autoencoders.X,))
    with pyro.validation_enabled(False):
        theirs, raw = raw_loss(case, infer.Trace_ELBO())
        expected = theirs(1).item()
    try:
        assert our_loss(case, estimators.TraceELBO(), raw)[0](1).item() == pytest.approx(expected, rel=1e-5)
    except REFUSALS as error:
        assert "site z" in str(error) and one_line(error)


def test_a_loss_in_the_guide_that_is_reparameterised_has_its_own_gradient():
    """With has_rsample=True the classification loss is one more term, under our estimators as under Pyro's."""

    check_same(CASES["scanvi-labelled"], estimators.TraceELBO(), infer.Trace_ELBO())


@pytest.mark.parametrize("elbo", [estimators.TraceELBO, estimators.MeanFieldELBO, infer.Trace_ELBO])
def test_a_loss_in_the_guide_that_is_not_reparameterised_is_refused(elbo):
    """Its gradient would be multiplied by log-weights: 1.9 where the stated loss has 0.1."""

    class Unsaid(autoencoders.ScanVI):
        has_rsample = False

    objective = SVI(models.Program(Unsaid().model, Unsaid().guide), elbo())
    with pytest.raises(REFUSALS, match="classification_loss.*has_rsample=True") as caught:
        objective(autoencoders.CELLS, autoencoders.TYPES)
    assert one_line(caught.value)


def test_annealing_is_no_part_of_the_log_likelihood():
    found = []
    for name in ("dmm", "dmm-annealed"):
        case = sequences.CASES[name]
        _, program = prepared(case)
        found.append(evaluation.log_likelihood(program, case.data[0], num_particles=50, y=case.data[1]).value)
    assert torch.equal(*found) and math.isfinite(found[0].sum())


@pytest.mark.parametrize("wrapped", [infer.config_enumerate, lambda fn: poutine.block(fn, hide=["nothing"])])
def test_the_parameters_behind_a_handler_are_the_programs(wrapped):
    """A module whose method is wrapped in a handler is found, as it is without: nothing is left out of training."""

    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(1, 1)

        def guide(self, x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(self.layer(x[:, None]).squeeze(-1), 0.1))

    owner = Plain()
    program = models.Program(apart, wrapped(owner.guide))
    program.prepare(torch.randn(3))
    assert {id(p) for p in program.parameters()} == {id(p) for p in owner.parameters()}
