"""Counts given the total of their row: closed forms, and what a code is used for."""

import json

import pyro.distributions as dist
import pytest
import scipy.stats
import torch

from ppl_vae import SVI, VAE, data, estimators, evaluation, fit, likelihoods, networks, parts, posteriors, priors
from ppl_vae.distributions.given_total import CountsOfTotal, GivenTotal
from ppl_vae.distributions.means import mean_of
from ppl_vae.distributions.multinomial import Multinomial
from ppl_vae.distributions.negative_binomial import NegativeBinomial
from ppl_vae.estimators.simulation import simulate, structure
from ppl_vae.evaluation.marginals import sample_rows
from ppl_vae.training.capture import Captured

NAMES = ["Poisson", "NegativeBinomial", "ZeroInflatedPoisson", "ZeroInflatedNegativeBinomial"]
X = torch.tensor([[0.0, 3.0, 1.0, 0.0], [7.0, 0.0, 0.0, 120.0], [0.0, 0.0, 0.0, 0.0]])


def made(name, total="observed", shape=4, **options):
    torch.manual_seed(0)
    return getattr(likelihoods, name)(networks.MLP(2, [5], "tanh"), shape, total=total, **options)


def test_given_the_total_poisson_is_the_multinomial_times_the_mass_of_the_total():
    logits = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    x = X.double()
    ours = CountsOfTotal(logits, dist.Poisson).log_prob(x)
    n = x.sum(1)
    mass = torch.tensor(scipy.stats.poisson(n.numpy()).logpmf(n.numpy()))
    assert torch.allclose(ours, Multinomial(logits).log_prob(x) + mass, rtol=1e-12, atol=1e-12)


def test_negative_binomials_against_scipy():
    likelihood = made("NegativeBinomial", concentration=2.5).double()
    z = torch.randn(3, 2, dtype=torch.float64)
    mean = likelihood(z).logits.softmax(-1) * X.sum(1, keepdim=True).double()
    expected = scipy.stats.nbinom(2.5, 2.5 / (2.5 + mean.detach().numpy())).logpmf(X.numpy()).sum(1)
    assert torch.allclose(likelihood(z).log_prob(X.double()), torch.tensor(expected), rtol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_twice_the_row_has_twice_the_rates(name):
    p = made(name)(torch.randn(3, 2))
    assert isinstance(p, GivenTotal)
    assert torch.allclose(mean_of(p, like=2 * X), 2 * mean_of(p, like=X))
    assert torch.allclose(p.at_total(X.sum(1)).mean, mean_of(p, like=X))
    if not name.startswith("Zero"):
        assert torch.allclose(mean_of(p, like=X).sum(1), X.sum(1))
        assert torch.allclose(p.mean.sum(1), torch.tensor(100.0))  # before it has seen data


@pytest.mark.parametrize("name", NAMES)
def test_empty_rows_and_shares_of_nothing_are_finite_with_their_gradients(name):
    likelihood = made(name)
    with torch.no_grad():
        likelihood.head.bias(0)[0] = 400.0  # the other entries' shares underflow
    z = torch.randn(3, 2, requires_grad=True)
    value = likelihood(z).log_prob(X)
    assert value.isfinite().all() and value[2].item() == pytest.approx(0.0, abs=1e-4)
    value.sum().backward()
    assert all(p.grad.isfinite().all() for p in [z, *likelihood.parameters()] if p.grad is not None)
    assert (likelihood(z).at_total(torch.tensor(0.0)).sample() == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_starts_at_the_training_shares_and_the_mean_total(name):
    split = data.as_split(X[:2])
    likelihood = made(name)
    likelihood.start(split)
    torch.nn.init.zeros_(likelihood.head.layer.weight)
    p, kept = likelihood(torch.zeros(1, 2)), 1 / (1 + torch.tensor(-2.0).exp()) if name.startswith("Zero") else 1
    shares = (X.sum(0) / X.sum()).clamp(min=1e-4)
    assert torch.allclose(p.logits.softmax(-1), shares / shares.sum(), atol=1e-4)
    assert torch.allclose(p.mean.sum(), kept * X[:2].sum(1).mean(), rtol=1e-4)


def test_samples_have_the_moments():
    torch.manual_seed(1)
    concentration = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    p = CountsOfTotal(torch.randn(2, 2), NegativeBinomial, (concentration,), total_count=30, event_dim=2).expand((2,))
    draws = p.sample((20000,))
    assert draws.shape == (20000, 2, 2, 2) and p.mean.sum((-1, -2)).tolist() == pytest.approx([30.0, 30.0])
    assert ((draws.mean(0) - p.mean).abs() < 4.5 * (p.variance / 20000).sqrt()).all()
    assert torch.allclose(draws.var(0), p.variance, rtol=0.15)


def test_a_total_has_no_single_entries_and_is_refused_by_name():
    with pytest.raises(ValueError, match="NegativeBinomial is over whole events, so single entries cannot be missing"):
        likelihoods.Missing(made("NegativeBinomial"))
    with pytest.raises(ValueError, match=r"total must be None .* or 'observed' .* not 'library'"):
        made("Poisson", total="library")
    with pytest.raises(ValueError, match="total='observed' needs at least 2 entries"):
        made("Poisson", shape=1)
    assert made("Poisson", total=None).entrywise


def test_it_is_recorded_with_its_arguments():
    likelihood = made("NegativeBinomial")
    likelihood.start_at(X.mean(0), X.std(0))
    again = parts.build(json.loads(json.dumps(parts.describe(likelihood))))
    again.load_state_dict(likelihood.state_dict())
    z = torch.randn(3, 2)
    assert torch.equal(again(z).log_prob(X), likelihood(z).log_prob(X)) and torch.equal(
        again(z).mean, likelihood(z).mean
    )


def library(rows):
    """Counts of one profile whose rows differ only by their total."""
    torch.manual_seed(5)
    profile = torch.randn(12).softmax(-1)
    return torch.poisson(torch.randn(rows, 1).mul(0.7).add(4.0).exp() * profile)


def vae(likelihood, dim, shape):
    encoder = networks.TableEncoder(shape, [16], kinds={i: "count" for i in range(shape)})
    return VAE(priors.Normal(dim), posteriors.Normal(encoder, dim), likelihood)


def test_a_total_that_is_given_needs_no_code():
    x, kl = library(600), {}
    for total in (None, "observed"):
        torch.manual_seed(0)
        model = vae(likelihoods.Poisson(networks.MLP(1, [16]), 12, total=total), 1, 12)
        fit(SVI(model), x, epochs=40, lr=5e-3, seed=0, progress=False)
        kl[total] = evaluation.evaluate(model, x, num_particles=1)["kl"]
    assert kl["observed"] < 0.1 and kl[None] > 1.5


def test_reconstructions_and_rows_have_the_totals_of_the_data():
    x = library(40)
    model = vae(made("NegativeBinomial", shape=12), 2, 12)
    assert torch.allclose(evaluation.reconstruct(model, x).sum(1), x.sum(1), rtol=1e-4)
    drawn = sample_rows(model, 40, x=x, seed=0).sum(1)
    assert torch.corrcoef(torch.stack([drawn, x.sum(1)]))[0, 1] > 0.7
    assert torch.corrcoef(torch.stack([sample_rows(model, 40, seed=0).sum(1), x.sum(1)]))[0, 1] < 0.5


def test_simulated_data_keep_the_totals_of_the_batch():
    x = library(300)
    model = vae(made("Poisson", shape=12), 2, 12)
    torch.manual_seed(3)
    _, (again,) = simulate(model, (x,), structure(model, (x,)))
    n = x.sum(1)
    assert ((again.sum(1) - n).abs() < 5 * n.clamp(min=1).sqrt()).all()  # Poisson about it


@pytest.mark.parametrize("name", NAMES)
def test_captured_is_eager(name):
    x = library(32)
    model = vae(made(name, shape=12), 2, 12)
    objective = SVI(model, estimators.TraceELBO(2))
    objective.prepare(x)
    captured = Captured(objective, (x,), compiled=False)
    torch.manual_seed(7)
    loss = captured((x,))
    torch.manual_seed(7)
    assert torch.equal(torch.as_tensor(loss.value), objective(x).value)


@pytest.mark.parametrize("name", ["NegativeBinomial", "ZeroInflatedNegativeBinomial"])
def test_concentrations_start_at_one_at_least(name):
    mean = torch.full((4,), 5.0)
    for excess, r in ((0.2, 5.0), (8.0, 1.0)):
        likelihood = made(name, None).start_at(mean, (mean + excess * mean.square()).sqrt())
        assert torch.allclose(torch.nn.functional.softplus(likelihood.raw_scale) + 1e-3, torch.tensor(r), rtol=1e-3)
