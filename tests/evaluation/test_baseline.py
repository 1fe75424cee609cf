"""The likelihood fitted without a code, against closed forms."""

import copy
import math

import pyro.distributions as dist
import pytest
import torch
import torch.distributions as td
from torch import nn

from ppl_vae import VAE, data, evaluation, likelihoods, networks, posteriors, priors
from ppl_vae.evaluation import Baseline
from ppl_vae.evaluation.baseline import gain
from ppl_vae.likelihoods.base import Likelihood

FIT = 2e-3  # nats per example: L-BFGS stops where steps gain less than 1e-5


def rows(draw, n=400, seed=3):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return draw.sample((n,))


def vae(likelihood, shape, condition=None, **options):
    torch.manual_seed(1)
    network = networks.MLP(2, [4])
    if condition is not None:
        network = networks.Conditioned.around(networks.MLP, condition, 2, [4])
    return VAE(priors.Normal(2), likelihood=likelihood(network, shape, **options))


def fitted(model, train, x):
    """log p(x) of x without a code."""
    return Baseline(model, train).log_prob(x)


PROBS = torch.tensor([0.5, 0.9, 0.1])
BINARY, NEW = rows(td.Bernoulli(PROBS)), rows(td.Bernoulli(PROBS), 50, seed=4)
REAL = rows(td.Normal(torch.tensor([100.0, -0.02, 3.0]), torch.tensor([20.0, 0.1, 1.0])))
LEVELS = rows(td.Categorical(torch.tensor([0.2, 0.5, 0.3])), 400)[:, None]


def test_bernoulli_is_the_marginal_frequencies():
    expected = td.Bernoulli(BINARY.mean(0)).log_prob(NEW).sum(1)
    assert torch.allclose(fitted(vae(likelihoods.Bernoulli, 3), BINARY, NEW), expected, atol=FIT)


@pytest.mark.parametrize("scale", ["learned", "pixel", "optimal", "network", 2.0])
def test_normal_is_mean_and_deviation_by_column_or_one_scale(scale):
    mean, variance = REAL.mean(0), REAL.var(0, correction=0)
    one = {"learned": variance.mean(), "optimal": variance.mean(), 2.0: torch.tensor(4.0)}.get(scale, variance)
    expected = td.Normal(mean, one.sqrt().expand(3)).log_prob(REAL).sum(1).mean()
    found = fitted(vae(likelihoods.Normal, 3, scale=scale), REAL, REAL).mean()
    assert found.item() == pytest.approx(expected.item(), abs=0.02 if scale in ("pixel", "network") else FIT)


def test_categorical_is_the_shares_of_the_levels():
    shares = torch.bincount(LEVELS[:, 0].long(), minlength=3) / len(LEVELS)
    x = LEVELS.float()
    likelihood = likelihoods.Columns(networks.MLP(2, [4]), 1, {0: "categorical(3)"})
    encoder = posteriors.Normal(networks.FillMissing(networks.MLP(1, [4]), 1), 2)
    found = fitted(VAE(priors.Normal(2), encoder, likelihood), x, x)
    assert torch.allclose(found, shares.log()[LEVELS[:, 0].long()], atol=0.01)


def test_negative_binomial_is_the_numeric_optimum():
    from scipy import optimize, stats

    counts = rows(td.NegativeBinomial(3.0, probs=torch.tensor(0.7)), 500)[:, None]

    def loss(raw):
        size, mean = math.exp(raw[0]), math.exp(raw[1])
        return -stats.nbinom.logpmf(counts.numpy(), size, size / (size + mean)).mean()

    best = optimize.minimize(loss, [0.0, 1.0], method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9})
    found = fitted(vae(likelihoods.NegativeBinomial, 1, concentration="learned"), counts, counts)
    assert -found.mean().item() == pytest.approx(best.fun, abs=FIT)


def test_a_model_of_x_given_a_label_is_fitted_by_class():
    y = torch.arange(400) % 2
    x = rows(td.Bernoulli(torch.tensor([[0.9, 0.5], [0.2, 0.5]])[y]), 1)[0]
    model = vae(likelihoods.Bernoulli, 2, networks.Label(3))
    shares = torch.stack([x[y == k].mean(0) for k in (0, 1)])
    found = Baseline(model, (x, y)).log_prob(x, y)
    assert torch.allclose(found, td.Bernoulli(shares[y]).log_prob(x).sum(1), atol=0.01)
    assert Baseline(model, (x, y)).log_prob(x[:2], torch.tensor([0, 2])).isnan().tolist() == [False, True]
    results = evaluation.evaluate(model, (x[:2], torch.tensor([0, 2])), num_particles=2, train=(x, y))
    assert "label that no training" in results["gain_unknown"] and "gain" not in results


def test_labels_that_the_model_does_not_take_are_no_classes():
    y = torch.arange(400) % 2
    model = vae(likelihoods.Bernoulli, 3)
    assert torch.equal(Baseline(model, (BINARY, y)).log_prob(NEW), Baseline(model, BINARY).log_prob(NEW))


def test_missing_entries_are_left_out():
    x = REAL.clone()
    x[::3, 1] = torch.nan
    torch.manual_seed(0)
    likelihood = likelihoods.Missing(likelihoods.Normal(networks.MLP(2, [4]), 3, scale="pixel"))
    encoder = networks.FillMissing(networks.MLP(3, [4]), 3)
    found = fitted(VAE(priors.Normal(2), posteriors.Normal(encoder, 2), likelihood), x, x)
    scale = (x - x.nanmean(0)).square().nanmean(0).sqrt()
    expected = td.Normal(x.nanmean(0), scale, validate_args=False).log_prob(x).nansum(1)
    assert found.mean().item() == pytest.approx(expected.mean().item(), abs=0.02)


class Own(Likelihood):
    """Normal entries whose scale is a layer of its own, which no ``start`` knows."""

    support = likelihoods.Normal.support

    def __init__(self, network, shape):
        super().__init__(network, shape, parameters=1)
        self.wide = nn.Linear(4, 1)

    def forward(self, z, y=None):
        features = self.features(z, y)
        (mean,) = self.head(features)
        return dist.Normal(mean, nn.functional.softplus(self.wide(features)).expand_as(mean) + 1e-3).to_event(1)


def test_a_likelihood_of_ones_own_is_fitted_by_its_head_and_layers():
    x = REAL[:, 1:] * torch.tensor([10.0, 1.0])
    one = x.var(0, correction=0).mean().sqrt()
    expected = td.Normal(x.mean(0), one).log_prob(x).sum(1).mean()
    assert fitted(vae(Own, 2), x, x).mean().item() == pytest.approx(expected.item(), abs=0.01)


def test_pictures_have_parameters_for_every_pixel():
    x = rows(td.Bernoulli(torch.tensor([0.1, 0.5, 0.9, 0.5]).reshape(1, 2, 2)))
    torch.manual_seed(0)
    likelihood = likelihoods.Bernoulli(networks.Conv.decoder(2, [4], (1, 2, 2)), (1, 2, 2))
    assert likelihood.head.spatial
    found = fitted(VAE(priors.Normal(2), likelihood=likelihood), x, x)
    assert torch.allclose(found, td.Bernoulli(x.mean(0)).log_prob(x).flatten(1).sum(1), atol=FIT)


def test_it_is_deterministic_and_leaves_model_and_random_state_alone():
    model = vae(likelihoods.Normal, 3)
    before, state, training = copy.deepcopy(model.state_dict()), torch.random.get_rng_state(), model.training
    one, other = (fitted(model, REAL, REAL) for _ in range(2))
    assert torch.equal(one, other) and torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.training == training and all(p.requires_grad and p.grad is None for p in model.parameters())


@pytest.mark.parametrize(("model", "words"), [
    (nn.Linear(2, 2), "a Linear has no likelihood"),
    (vae(likelihoods.Bernoulli, 3, networks.Vector(2)), "conditional on Vector"),
])  # fmt: skip
def test_where_it_is_not_defined_it_says_why(model, words):
    with pytest.raises(ValueError, match=words):
        Baseline(model, BINARY)


def test_evaluate_says_why_there_is_no_gain():
    model, y = vae(likelihoods.Bernoulli, 3, networks.Vector(2)), torch.zeros(400, 2)
    results = evaluation.evaluate(model, (BINARY, y), num_particles=5, limit=20, train=(BINARY, y))
    assert "conditional on Vector" in results["gain_unknown"] and "gain" not in results
    assert "gain_unknown" not in evaluation.evaluate(model, (BINARY, y), num_particles=5, limit=20)


def test_the_gain_is_paired_and_in_the_right_direction():
    base = torch.tensor([-50.0, -10.0, -30.0, -20.0])
    value, stderr = gain(base + torch.tensor([1.0, 1.2, 0.8, 1.0]), base)
    assert value == pytest.approx(1.0, abs=1e-5)
    assert stderr == pytest.approx(torch.tensor([1.0, 1.2, 0.8, 1.0]).std().item() / 2, abs=1e-5)  # unpaired: 12


def test_evaluate_keeps_the_gain_over_the_rows_that_are_judged():
    split, model = data.Split(BINARY), vae(likelihoods.Bernoulli, 3)
    results = evaluation.evaluate(model, data.Split(NEW), num_particles=20, train=split)
    single = evaluation.log_likelihood(model, NEW, num_particles=20).value - Baseline(model, split).log_prob(NEW)
    assert results["gain"] == pytest.approx(single.mean().item(), abs=1e-4)
    assert results["gain_stderr"] == pytest.approx(single.std().item() / math.sqrt(50), abs=1e-4)
    assert results["gain"] == pytest.approx(results["log_likelihood"] - results["baseline_log_likelihood"], abs=1e-4)
    assert results["gain"] < 0  # an untrained model
