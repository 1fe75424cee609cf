"""SupervisedVAE: the y term by hand, unknown labels, predictions, and what is refused."""

import copy
import json
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from ppl_vae import (
    SVI,
    data,
    estimators,
    evaluation,
    fit,
    likelihoods,
    load,
    models,
    networks,
    parts,
    posteriors,
    priors,
)
from ppl_vae.networks import MLP, Label, Vector
from ppl_vae.training.capture import Captured

SHAPE, DIM = (6,), 2
X = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(11)).round()
KINDS = {
    "label": (Label(3), torch.tensor([0, -1, 2, 1, -1])),
    "number": (Vector(), torch.tensor([0.5, math.nan, -2.0, 3.0, math.nan])),
    "numbers": (Vector(2), torch.tensor([[0.5, 1], [math.nan, 0], [-2, 2], [3, -1], [1, math.nan]])),
}
KNOWN = torch.tensor([True, False, True, True, False])


def supervised(target, weight=1.0, prior=None, **more):
    torch.manual_seed(0)
    likelihood = likelihoods.Bernoulli(MLP((prior or priors.Normal(DIM)).dim, [5], "tanh"), SHAPE)
    return models.SupervisedVAE(
        prior or priors.Normal(DIM), None, likelihood, copy.deepcopy(target), weight=weight, **more
    )


def term(model, z, y):
    """log p(y | z) of the known rows from the weights alone, 0 elsewhere; z (..., B, dim)."""
    out = model.outcome.head.layer(model.outcome.network.layers[1:](z))
    if isinstance(model.target, Label):
        found = dist.Categorical(logits=out).log_prob(y.clamp(min=0))
    else:
        scale = nn.functional.softplus(model.outcome.raw_scale) + 1e-3
        found = dist.Normal(out.reshape(*z.shape[:-1], *y.shape[1:]), scale).log_prob(y.nan_to_num(7.0))
        found = found if y.dim() == 1 else found.sum(-1)
    return torch.where(KNOWN, found, 0.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("estimator", "k", "weight"),
    [(estimators.TraceELBO, 1, 1.0), (estimators.TraceELBO, 3, 10.0), (estimators.MeanFieldELBO, 2, 4.0)]
    + [(estimators.IWAE, 3, 1.0)],
)
def test_the_bound_by_hand(kind, estimator, k, weight):
    """The bound of the same draws, y's term written out: only known rows have one, and the weight is on it alone."""
    target, y = KINDS[kind]
    model = supervised(target, weight)
    q, p = model.posterior(X), model.prior()
    torch.manual_seed(7)
    z = q.rsample((k,) if k > 1 else ()).reshape(k, 5, DIM)
    fits = model.likelihood(z).log_prob(X) + weight * term(model, z, y)
    log_w = fits + p.log_prob(z) - q.log_prob(z)
    kl = torch.distributions.kl_divergence(q, p.expand((5,)))
    expected = {
        estimators.TraceELBO: log_w.mean(0),
        estimators.MeanFieldELBO: fits.mean(0) - kl,
        estimators.IWAE: log_w.logsumexp(0) - math.log(k),
    }[estimator]
    torch.manual_seed(7)
    terms = estimator(k, max_plate_nesting=1).terms(model.model, model.guide, X, y)
    assert torch.allclose(terms.surrogate, expected, atol=1e-4)
    terms.surrogate.sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_labels_are_not_read(kind):
    target, y = KINDS[kind]
    model = supervised(target, 3.0)
    x = X[:4]
    none = evaluation.elbo(model, x).elbo
    assert torch.equal(none, evaluation.elbo(model, x, target.unknown(4, x)).elbo)
    z = model.encode(X)
    given = evaluation.elbo(model, X, y, num_particles=500).elbo - evaluation.elbo(model, X, num_particles=500).elbo
    assert torch.equal(given != 0, KNOWN)
    assert z.shape == (5, DIM)
    unweighted = evaluation.log_likelihood(supervised(target), X, y, num_particles=50)  # log p(x, y) has no weight
    assert torch.equal(evaluation.log_likelihood(model, X, y, num_particles=50).value, unweighted.value)
    found = evaluation.log_likelihood(model, X, num_particles=2000)
    twin = models.VAE(model.prior, model.posterior, model.likelihood)
    same = evaluation.log_likelihood(twin, X, num_particles=2000)
    assert torch.equal(found.value, same.value)


def test_discrete_codes_are_summed_over():
    model = supervised(Label(3), prior=priors.OneHotCategorical(4))
    y = KINDS["label"][1]
    q, p = model.posterior(X), model.prior()
    codes = torch.eye(4)[:, None].expand(4, 5, 4)
    fits = model.likelihood(codes).log_prob(X) + term(model, codes, y)
    expected = (q.probs.T * (fits + p.log_prob(codes) - q.log_prob(codes))).sum(0)
    assert torch.allclose(estimators.Enum().terms(model.model, model.guide, X, y).elbo, expected, atol=1e-5)


def test_numbers_in_units_of_their_own():
    """Known rows alone set the units, and p(y | z) is a density of y in them."""
    model = supervised(Vector(scale="standard"))
    y = torch.tensor([100.0, math.nan, 300.0, 500.0, math.nan])
    model.start(data.as_split((X, y)))
    units = model.target.units
    assert units.shift.item() == pytest.approx(300) and units.unit.item() == pytest.approx(math.sqrt(80000 / 3))
    z = torch.randn(5, DIM)
    p, plain = model.outcome(z), model.outcome.head(model.outcome.network(z))[0]
    expected = dist.Normal(plain, 1.0).log_prob((y.nan_to_num() - units.shift) / units.unit) - units.unit.log()
    assert torch.allclose(p.log_prob(y.nan_to_num())[KNOWN], expected[KNOWN], atol=1e-5)
    assert torch.allclose(p.mean, units.shift + units.unit * plain)


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_are_means_over_the_posterior(kind):
    """Against quadrature over a code of one dimension, in standard errors over 400 calls of 32 draws."""
    model = supervised(KINDS[kind][0], prior=priors.Normal(1))
    with torch.no_grad():
        for p in model.outcome.parameters():
            p.mul_(3)
        q, grid = model.posterior(X), torch.linspace(-8, 8, 4001)[:, None]
        z = q.base_dist.loc + q.base_dist.scale * grid[:, None]
        p = model.outcome(z)
        at = p.probs if kind == "label" else p.mean
        weights = dist.Normal(0.0, 1.0).log_prob(grid).softmax(0).reshape(-1, *[1] * (at.dim() - 1))
        expected = (weights * at).sum(0)
        spread = ((weights * at.square()).sum(0) - expected.square()).clamp(min=1e-12).sqrt()
        torch.manual_seed(1)
        found = torch.stack([model.predict(X) for _ in range(400)]).mean(0)
    assert ((found - expected).abs() < 4.5 * spread / math.sqrt(400 * 32) + 1e-5).all()
    assert kind != "label" or torch.allclose(found.sum(-1), torch.ones(5))
    assert torch.equal(evaluation.predict(model, X), evaluation.predict(model, X))


@pytest.mark.parametrize("kind", KINDS)
def test_captured_is_eager_to_the_bit(kind):
    target, y = KINDS[kind]
    eager, captured = (SVI(supervised(target, 5.0)) for _ in range(2))
    eager(X, y)  # validated
    captured(X, y)
    step = Captured(captured, (X, y), compiled=False)
    torch.manual_seed(3)
    loss = eager(X, y)
    loss.value.backward()
    torch.manual_seed(3)
    assert torch.equal(step((X, y)).value, loss.value)
    for (name, a), b in zip(eager.named_parameters(), captured.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad), name


def test_draws_of_the_model():
    model = supervised(Label(3))
    trace = pyro.poutine.trace(model.model).get_trace(n=7)
    assert trace.nodes["y"]["value"].shape == (7,) and trace.nodes["x"]["value"].shape == (7, *SHAPE)
    assert "y" not in pyro.poutine.trace(model.model).get_trace(X).nodes


def test_it_learns_classes_and_numbers(tmp_path):
    """Four pictures with noise tell a class and a number; some of y are unknown. Saved and loaded."""
    make = torch.Generator().manual_seed(5)
    kind = torch.randint(4, (240,), generator=make)
    x = (torch.rand(240, 6, generator=make) < torch.eye(6)[kind] * 0.9 + 0.05).float()
    for target, y in ((Label(4), kind.clone()), (Vector(scale="standard"), 10.0 + 100 * kind.float())):
        y[::3] = target.unknown(80, y)
        model = supervised(target, 5.0)
        fit(SVI(model), (x, y), epochs=40, lr=1e-2, batch_size=60, out=tmp_path / str(target), progress=False)
        truth = kind if isinstance(target, Label) else 10.0 + 100 * kind.float()
        found = evaluation.evaluate(model, (x, truth), num_particles=5)
        assert found.get("accuracy", found.get("explained")) > 0.6, found
        again = load(tmp_path / str(target))
        assert torch.equal(evaluation.predict(again, x), evaluation.predict(model, x))


def test_described_and_rebuilt():
    model = supervised(Vector(2), 3.0, predictor=MLP(DIM, [4]))
    again = parts.build(json.loads(json.dumps(parts.describe(model))))
    again.load_state_dict(model.state_dict())
    assert again.weight == 3 and torch.equal(evaluation.predict(again, X), evaluation.predict(model, X))


def conditional():
    decoder = networks.Conditioned(MLP(DIM + 3, [5]), Label(3))
    return models.SupervisedVAE(priors.Normal(DIM), likelihood=likelihoods.Bernoulli(decoder, 6), target=Label(3))


@pytest.mark.parametrize(
    ("do", "message"),
    [
        (lambda: supervised(networks.Picture((1, 2, 2))), "target must be networks.Label.classes. or networks.Vector"),
        (lambda: supervised(None), "target must be networks.Label"),
        (lambda: supervised(Label(3), -1.0), "weight must be a finite number of at least 0, not -1.0"),
        (lambda: supervised(Label(3), predictor=MLP(3, [4])), r"the predictor takes \(3,\), but the codes have shape"),
        (conditional, r"the parts are conditional on Label\(3\), but a SupervisedVAE predicts y"),
        (lambda: supervised(Label(3)).model(X, torch.tensor([0, 1, 2, 3, 0])), "y holds the label 3 in row 3"),
        (lambda: supervised(Label(3)).model(X, torch.zeros(5, 1).long()), "y must be labels 0 to 2 of shape"),
        (lambda: fit(SVI(supervised(Label(3))), X, epochs=1, progress=False), "a SupervisedVAE needs data with labels"),
        (
            lambda: SVI(supervised(Label(3), 2.0), estimators.IWAE(3))(X, KINDS["label"][1]),
            "site y has scale 2 and site z 1, but IWAE needs one scale",
        ),
    ],
)
def test_refused(do, message):
    with pytest.raises((TypeError, ValueError), match=message):
        do()


def test_posteriors_of_other_supports():
    model = supervised(Label(3), prior=priors.Dirichlet(3))
    assert isinstance(model.posterior, posteriors.Posterior) and model.predict(X).shape == (5, 3)
