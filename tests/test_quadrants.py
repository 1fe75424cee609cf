"""y as a part of x: the quadrants, the likelihood of the rest, a guess of it, and models made of them."""

import itertools
import json
import math

import pyro.distributions as dist
import pytest
import torch
from torch import nn

from ppl_vae import SVI, VAE, data, evaluation, fit, likelihoods, load, models, parts, posteriors, priors, quantizers
from ppl_vae.networks import MLP, Conditioned, Guessed, Label, Quadrants
from ppl_vae.training.capture import Captured

SHAPE, DIM = (1, 4, 4), 1
X = torch.rand(7, *SHAPE, generator=torch.Generator().manual_seed(1)).round()


def cvae(observed=1, shape=SHAPE, inner=likelihoods.Bernoulli, prior=None, dim=DIM):
    torch.manual_seed(0)
    seen, size = Quadrants(shape, observed), math.prod(shape)
    network = Conditioned(MLP(dim + size, [6], "tanh"), seen)
    prior = priors.Given(priors.Normal(dim, learned=True), seen) if prior is None else prior
    posterior = posteriors.Normal(MLP(shape, [6], "tanh"), dim)
    model = models.CVAE(prior, posterior, likelihoods.Completed(inner(network, shape), seen))
    nn.init.normal_(model.prior.move.weight, std=0.3)  # 0 at the start, where y says nothing of z
    nn.init.normal_(model.likelihood.head.layer.weight, std=1.0)
    return model


@pytest.mark.parametrize("shape", [(1, 4, 6), (3, 5, 7), (2, 2, 3)])
def test_quadrants_are_those_of_the_tutorial(shape):
    """Pixel by pixel: 1 is the lower left, 2 add the upper left, 3 the upper right."""
    _, height, width = shape
    for observed in (1, 2, 3):
        condition = Quadrants(shape, observed)
        x = torch.rand(2, *shape)
        y = condition.of(x)
        for row, column in itertools.product(range(height), range(width)):
            lower, left = row >= height // 2, column < width // 2
            shown = (
                (lower and left) or (observed > 1 and left and not lower) or (observed > 2 and not left and not lower)
            )
            assert torch.equal(y[..., row, column], x[..., row, column] if shown else torch.full((2, shape[0]), -1.0))
        assert torch.equal(condition.of(y), y) and torch.equal(condition(x), y)
        again = parts.build(json.loads(json.dumps(parts.describe(condition))))
        assert torch.equal(again.mask, condition.mask) and again.same_as(condition) and not condition.state_dict()
    assert not Quadrants(shape, 1).same_as(Quadrants(shape, 2))


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        *((lambda n=n: Quadrants(SHAPE, n), ValueError, "1, 2 or 3 quadrants, not") for n in (0, 4, -1)),
        (lambda: Quadrants(16), ValueError, "shape must be .channels, height, width."),
        (lambda: Quadrants((1, 1, 4)), ValueError, "height and width of at least 2"),
        (lambda: likelihoods.Completed(MLP(2), Quadrants(SHAPE)), TypeError, "one of ppl_vae.likelihoods"),
        (lambda: likelihoods.Completed(decoder(), Label(3)), TypeError, "networks.Quadrants"),
        (lambda: likelihoods.Completed(decoder(), Quadrants((1, 8, 8))), ValueError, r"\(1, 8, 8\), but x has shape"),
        (
            lambda: likelihoods.Completed(decoder(likelihoods.Multinomial), Quadrants(SHAPE)),
            ValueError,
            "Multinomial is over whole events",
        ),
        (
            lambda: models.CVAE(priors.Normal(1), None, decoder(seen=Quadrants(SHAPE))),
            ValueError,
            "use likelihoods.Completed",
        ),
        (lambda: Guessed(Label(3), MLP(16)), TypeError, "networks.Quadrants"),
        (lambda: Guessed(Quadrants(SHAPE), 3), TypeError, "torch.nn.Module"),
        (lambda: priors.Given(priors.Normal(1, learned=True), Quadrants(SHAPE), MLP(3)), ValueError, "MLP.16"),
        (lambda: priors.Given(priors.Normal(1, learned=True), Label(3), nn.Linear(3, 3)), TypeError, "network"),
    ],
)
def test_refused(make, error, match):
    with pytest.raises(error, match=match):
        make()


def decoder(family=likelihoods.Bernoulli, seen=None):
    return family(MLP(1) if seen is None else Conditioned(MLP(1 + seen.size), seen), SHAPE)


def test_a_vqvae_is_refused():
    seen = Quadrants(SHAPE)
    rest = likelihoods.Completed(likelihoods.Normal(Conditioned(MLP(8 + 16), seen), SHAPE), seen)
    with pytest.raises(ValueError, match="VQVAE cannot be conditional on Quadrants"):
        models.VQVAE(MLP(SHAPE, [5]), quantizers.VectorQuantizer(4, 1), rest)


def test_all_completions_have_probability_one():
    """2 x 2 pixels, of which one is seen: the 8 pictures with that pixel as it is."""
    shape = (1, 2, 2)
    model = cvae(shape=shape)
    every = torch.tensor([*itertools.product([0.0, 1.0], repeat=4)]).reshape(16, *shape)
    for pixel in (0.0, 1.0):
        y = torch.full((1, *shape), pixel)
        fitting = every[every[:, 0, 1, 0] == pixel]
        p = model.likelihood(torch.tensor([[0.7]]), y)
        assert torch.isclose(p.log_prob(fitting).exp().sum(), torch.tensor(1.0), atol=1e-6)
        assert (p.sample((50,))[..., 1, 0] == pixel).all() and (p.mean[..., 1, 0] == pixel).all()
        assert (p.variance[..., 1, 0] == 0).all() and (p.variance.flatten() > 0).sum() == 3


@pytest.mark.parametrize("inner", [likelihoods.Bernoulli, likelihoods.Normal, likelihoods.Categorical])
def test_the_rest_is_scored_by_the_inner_likelihood(inner):
    model = cvae(2, inner=inner)
    z, seen = torch.randn(3, len(X), DIM), model.condition
    p = model.likelihood(z, seen.of(X))
    by_entry = model.likelihood.likelihood(z, seen.of(X)).base_dist.log_prob(X)
    assert torch.allclose(p.log_prob(X), by_entry[..., ~seen.mask].sum(-1), atol=1e-4)
    assert p.log_prob(X).shape == (3, len(X)) == p.batch_shape
    assert p.expand((2, 3, len(X))).log_prob(X).shape == (2, 3, len(X))
    assert torch.equal(p.sample((2,))[..., seen.mask], X[:, seen.mask].expand(2, 3, -1, -1))


def test_y_is_taken_of_x_and_the_rest_of_it_is_never_read():
    model, other = cvae(), X.clone()
    other[:, ~model.condition.mask] = 1 - other[:, ~model.condition.mask]
    assert torch.equal(model.prior(other).mean, model.prior(X).mean)
    assert torch.equal(model.decode(torch.zeros(7, 1), other), model.decode(torch.zeros(7, 1), X))
    labels = torch.arange(7)  # of the data set, which the model does not use
    assert torch.equal(evaluation.codes(model, X), evaluation.codes(model, X, labels))
    losses = []
    for y in ((), (labels,)):
        torch.manual_seed(5)
        losses.append(SVI(model)(X, *y).value)
    assert torch.equal(*losses)


def test_conditional_log_likelihood_and_bits_against_quadrature():
    """log p(rest | y) = log of the integral over z, in one dimension; bits are of the 12 entries that are not seen."""
    model, y = cvae(), None
    with torch.no_grad():
        y = model.condition.of(X)
        grid = torch.linspace(-12, 12, 4001)
        z = grid.reshape(-1, 1, 1).expand(-1, len(X), 1)
        exact = (model.prior(y).log_prob(z) + model.likelihood(z, y).log_prob(X)).logsumexp(0) + math.log(24 / 4000)
    found = evaluation.log_likelihood(model, X, num_particles=2000)
    assert ((found.value - exact).abs() < 5 * found.stderr + 1e-3).all()
    figures = evaluation.evaluate(model, X, num_particles=500)
    assert math.isclose(figures["bits_per_dim"], -figures["log_likelihood"] / (12 * math.log(2)), rel_tol=1e-5)


def test_captured_steps_are_eager_steps():
    eager, captured = SVI(cvae(2)), SVI(cvae(2))
    eager(X), captured(X)  # validated
    step = Captured(captured, (X,), compiled=False)
    torch.manual_seed(3)
    loss = eager(X)
    loss.value.backward()
    torch.manual_seed(3)
    assert torch.equal(step((X,)).value, loss.value)
    for (name, a), b in zip(eager.named_parameters(), captured.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad), name


def test_trains_with_and_without_labels_and_loads(tmp_path):
    for i, batch in enumerate([(X,), (X, torch.arange(7))]):
        model = cvae(3)
        history = fit(SVI(model), batch, epochs=2, batch_size=4, progress=False, out=tmp_path / str(i))
        assert math.isfinite(history.rows[-1]["train"]["loss"])
        again = load(tmp_path / str(i))
        assert torch.equal(evaluation.completions(again, X, n=2), evaluation.completions(model, X, n=2))


def test_completions_are_decoded_draws_of_the_prior():
    model = cvae(2)
    made = evaluation.completions(model, X, n=3, seed=4)
    y = model.condition.of(X).repeat(3, 1, 1, 1)
    z = evaluation.random_codes(model, 21, y, seed=4)
    assert torch.allclose(made.flatten(0, 1), model.decode(z, y), atol=1e-6)
    mask = model.condition.mask
    assert torch.equal(made[..., mask], X[:, mask].expand(3, -1, -1)) and not torch.equal(made[0], made[1])
    drawn = evaluation.completions(model, X, n=2, draw=True)
    assert torch.equal(drawn, drawn.round()) and torch.equal(drawn[..., mask], X[:, mask].expand(2, -1, -1))
    with pytest.raises(ValueError, match="inpaint or impute with a VAE"):
        evaluation.completions(VAE(priors.Normal(1), likelihood=decoder()), X)
    with pytest.raises(ValueError, match="observed quadrants of row 1 hold NaN"):
        evaluation.completions(model, torch.where(torch.arange(7).reshape(-1, 1, 1, 1) == 1, torch.nan, X))


def test_a_network_in_the_prior_and_a_guess_that_it_sees():
    torch.manual_seed(0)
    guessed = Guessed(Quadrants(SHAPE), MLP(16, [5]))
    y, network = guessed.of(X), MLP(16, [6], "tanh")
    features = guessed(y)
    assert torch.equal(features[:, guessed.mask], X[:, guessed.mask])
    assert torch.allclose(features[:, ~guessed.mask], guessed.logits(X)[:, ~guessed.mask].sigmoid())
    prior = priors.Given(priors.Normal(2, learned=True), guessed, network)
    assert torch.allclose(prior(y).mean, torch.zeros(7, 2)) and not prior.move.weight.any()
    nn.init.normal_(prior.move.weight)
    moved = network(features.flatten(1)) @ prior.move.weight.T
    assert torch.allclose(prior(y).mean, moved[:, :2], atol=1e-5)
    expected = dist.Normal(moved[:, :2], nn.functional.softplus(prior.prior.raw_scale + moved[:, 2:])).to_event(1)
    z = torch.randn(7, 2)
    assert torch.allclose(prior(y).log_prob(z), expected.log_prob(z), atol=1e-4)
    seen = Quadrants(SHAPE)
    model = models.CVAE(prior, None, likelihoods.Completed(likelihoods.Bernoulli(MLP(2), SHAPE), seen))
    SVI(model)(X).value.backward()
    assert all(p.grad is None for p in guessed.parameters())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
    again = parts.build(json.loads(json.dumps(parts.describe(model))))
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.prior(y).mean, model.prior(y).mean)


def test_it_starts_at_the_mean_of_whole_pictures():
    model, by_hand = cvae(), cvae()
    model.start(data.as_split(X))
    by_hand.likelihood.likelihood.start_at(X.mean(0), X.std(0))
    bias, expected = (m.likelihood.head.bias() for m in (model, by_hand))
    assert torch.allclose(bias, expected) and bias.abs().sum() > 0
    assert not torch.allclose(bias, cvae().likelihood.head.bias())
