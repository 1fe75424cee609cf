"""Examples in Pyro's words: losses and gradients are those of ``pyro.infer.SVI`` on the same seed, to rounding."""

import importlib.util
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import infer, poutine
from torch import nn

from ppl_vae import SVI, estimators, models

ROUNDING = 2e-5  # of sums of a few hundred float32 terms, relative to the largest


def example(name):
    path = Path(__file__).parent.parent / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"example_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


dmm, eight_schools, lda, ss_vae = (example(name) for name in ("dmm", "eight_schools", "lda", "ss_vae"))


def check_same(build, ours, theirs, batch, size=None):
    """One loss of our objective, one of ``pyro.infer.SVI``, and the gradients of both.

    Args:
        build: gives a module and its Pyro programs, model and guide.
        ours: estimator of our objective.
        theirs: Pyro's.
        batch: arguments of both programs.
        size: N, the data that our loss is the mean of; those of the batch by default.
    """
    size = size or len(batch[0])
    torch.manual_seed(1)
    owner, *programs = build()
    program = models.Program(*programs)
    objective = SVI(program, ours)
    torch.manual_seed(2)
    objective.prepare(*batch)
    torch.manual_seed(3)
    value = size * objective(*batch).value
    value.backward()
    alone = {name: leaf for name, leaf in program.sites.items() if not set(name) & set("/$")}
    gradients = {name: leaf.grad for name, leaf in (*owner.named_parameters(), *alone.items())}

    pyro.clear_param_store()
    torch.manual_seed(1)
    owner, model, guide = build()
    torch.manual_seed(2)
    guide(*batch)  # where Pyro makes the parameters of an autoguide or a pyro.param
    svi = infer.SVI(model, guide, pyro.optim.Adam({}), loss=theirs)
    torch.manual_seed(3)
    expected = svi.loss_and_grads(model, guide, *batch)
    alone = {name: leaf for name, leaf in pyro.get_param_store().named_parameters() if not set(name) & set(".$")}
    by_pyro = {name: leaf.grad for name, leaf in (*owner.named_parameters(), *alone.items())}

    assert value.item() == pytest.approx(expected, rel=ROUNDING)
    assert gradients.keys() == by_pyro.keys() and gradients
    largest = max(g.abs().max() for g in by_pyro.values() if g is not None)
    assert largest > 0
    for name, gradient in by_pyro.items():
        a, b = (torch.zeros(()) if g is None else g for g in (gradients[name], gradient))
        assert torch.allclose(a, b, rtol=ROUNDING, atol=ROUNDING * largest), name


def deep_markov(annealing):
    module = dmm.DMM()
    del module.annealing
    module.annealing, module.at_step = annealing, None
    return module, module.model, module.guide


@pytest.mark.parametrize("annealing", [1.0, 0.3, torch.tensor(0.3)], ids=str)
def test_deep_markov_model(annealing):
    check_same(lambda: deep_markov(annealing), estimators.TraceELBO(), infer.Trace_ELBO(), dmm.lights(6, seed=3))


def test_the_deep_markov_model_ignores_the_padding():
    x, lengths = dmm.lights(6, seed=3)
    padding = (torch.arange(dmm.STEPS) >= lengths[:, None])[..., None]
    assert padding.any()
    torch.manual_seed(1)
    module, model, guide = deep_markov(1.0)
    objective = SVI(models.Program(model, guide), estimators.TraceELBO())
    losses = []
    for batch in (x, torch.where(padding, 1 - x, x)):
        torch.manual_seed(3)
        losses.append(objective(batch, lengths).terms["elbo"])
    assert torch.equal(*losses)


def test_the_guide_of_the_deep_markov_model_reads_backwards():
    """Given z_{t-1}, q(z_t) depends on x_t and what follows, to the end of the sequence, and on nothing else."""
    torch.manual_seed(1)
    module = dmm.DMM()
    lengths = torch.tensor([4, 6, 8])
    x = torch.rand(3, dmm.STEPS, dmm.LAMPS, requires_grad=True)
    given = {f"z_{t}": torch.zeros(3, dmm.DIM) for t in range(dmm.STEPS)}
    sites = poutine.trace(poutine.condition(module.guide, given)).get_trace(x, lengths).nodes
    for t in range(dmm.STEPS):
        (gradient,) = torch.autograd.grad(sites[f"z_{t}"]["fn"].mean.sum(), x, retain_graph=True)
        for row, length in zip(gradient.abs().sum(-1), lengths.tolist(), strict=True):
            if t < length:
                assert (row[t:length] > 0).all() and not row[:t].any() and not row[length:].any()


@pytest.mark.parametrize("num_particles", [1, 10])
@pytest.mark.parametrize("family", ["AutoNormal", "AutoMultivariateNormal", "AutoIAFNormal"])
@pytest.mark.parametrize("parametrisation", ["centred", "non_centred"])
def test_eight_schools(parametrisation, family, num_particles):
    model = getattr(eight_schools, parametrisation)

    def build():
        guide = getattr(eight_schools, family)(model)
        return guide, model, guide

    theirs = infer.Trace_ELBO(num_particles, max_plate_nesting=1, vectorize_particles=True)
    batch = eight_schools.Y, eight_schools.SIGMA
    check_same(build, estimators.TraceELBO(num_particles), theirs, batch)


def test_the_exact_posterior_of_the_eight_schools():
    torch.manual_seed(0)
    draws, evidence = eight_schools.exact(20_000)
    # Both by scipy.integrate.quad over tau, y being Normal of covariance diag(sigma^2 + tau^2) + 25 given tau.
    assert evidence == pytest.approx(-31.3113, abs=2e-3)
    assert abs(draws[:, 1].mean() - 3.5977) < 4 * draws[:, 1].std() / len(draws) ** 0.5
    # Stein's identity under the posterior p: E[f grad log p] = -E[grad f], for f = tau^2 and f = tau^2 (theta - mu).
    mu, tau, theta = draws[:, :1], draws[:, 1:2], draws[:, 2:]
    of_theta = tau**2 * (eight_schools.Y - theta) / eight_schools.SIGMA**2 - (theta - mu)
    of_mu = (theta - mu).sum(-1, keepdim=True) - tau**2 * mu / 25
    for found in (of_theta, of_mu, (theta - mu) * of_theta + tau**2):
        assert (found.mean(0).abs() < 4 * found.std(0) / len(draws) ** 0.5).all()


def allocation():
    module = lda.LDA()
    return module, module.model, module.guide


@pytest.mark.parametrize("documents", [lda.DOCUMENTS, 50], ids=["all documents", "sub-sampled"])
def test_latent_dirichlet_allocation(documents):
    x = lda.corpus(seed=3)[0][:documents]
    ours, theirs = (infer.TraceEnum_ELBO(max_plate_nesting=2) for _ in range(2))
    check_same(allocation, ours, theirs, (x,), size=lda.DOCUMENTS)


def test_the_topics_of_words_are_summed_out():
    """log p(w | doc_topics, topic_words) = sum over words of log (doc_topics @ topic_words)[w], written out."""
    x = lda.corpus(seed=3)[0]
    _, *programs = allocation()
    program = models.Program(*programs)
    objective = SVI(program, infer.TraceEnum_ELBO(max_plate_nesting=2))
    objective.prepare(x)
    torch.manual_seed(3)
    value = objective(x).value.item()
    torch.manual_seed(3)
    sites = poutine.trace(program.guide).get_trace(x).nodes
    shares, topics = (sites[name]["value"] for name in ("doc_topics", "topic_words"))
    expected = (shares @ topics).log().gather(1, x).sum()
    for name, concentration in (("topic_words", 0.1), ("doc_topics", 0.3)):
        z, q = sites[name]["value"], sites[name]["fn"]
        expected = expected + dist.Dirichlet(torch.full(q.event_shape, concentration)).log_prob(z).sum()
        expected = expected - q.log_prob(z).sum()
    assert value * len(x) == pytest.approx(-expected.item(), rel=ROUNDING)


def semi_supervised(name="model"):
    module = ss_vae.M2()
    guide = module.guide if name == "model" else lambda x, y: None
    return module, getattr(module, name), guide


class Pinned(poutine.messenger.Messenger):
    """z = loc + scale eps with the same eps at every label: Enum and Pyro draw z in an order of their own."""

    def _pyro_sample(self, msg):
        if msg["name"] == "z" and not msg["done"]:
            normal = msg["fn"].base_dist
            msg["value"], msg["done"] = normal.loc + normal.scale * torch.linspace(-2, 2, ss_vae.DIM), True


def pinned():
    module, model, _ = semi_supervised()

    def guide(x):
        with Pinned():
            module.guide(x)

    return module, model, guide


X = torch.rand(7, ss_vae.PIXELS, generator=torch.Generator().manual_seed(0))
Y = nn.functional.one_hot(torch.arange(7), ss_vae.CLASSES).float()


@pytest.mark.parametrize(
    ("build", "ours", "theirs", "batch"),
    [
        (semi_supervised, estimators.MeanFieldELBO(), infer.TraceMeanField_ELBO(), (X, Y)),
        (semi_supervised, estimators.TraceELBO(), infer.Trace_ELBO(), (X, Y)),
        (pinned, estimators.Enum(), infer.TraceEnum_ELBO(max_plate_nesting=1), (X,)),
        (semi_supervised, infer.TraceEnum_ELBO(max_plate_nesting=1), infer.TraceEnum_ELBO(max_plate_nesting=1), (X,)),
    ],
    ids=["labelled, mean field", "labelled", "unlabelled", "unlabelled, Pyro's estimator"],
)
def test_semi_supervised(build, ours, theirs, batch):
    check_same(build, ours, theirs, batch)


def test_the_classifier_of_the_semi_supervised_vae():
    check_same(lambda: semi_supervised("classify"), estimators.TraceELBO(), infer.Trace_ELBO(), (X, Y))
    torch.manual_seed(1)
    module, model, guide = semi_supervised("classify")
    value = SVI(models.Program(model, guide), estimators.TraceELBO())(X, Y).value
    expected = module.alpha * nn.functional.cross_entropy(module.encoder_y(X), Y)
    assert value.item() == pytest.approx(expected.item(), rel=ROUNDING)
