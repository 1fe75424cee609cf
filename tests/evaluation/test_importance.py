import math
import random

import numpy as np
import pyro
import pytest
import scipy.stats
import torch
from contracts import LinearGaussian, within
from instances import vae
from pyro import distributions as dist
from pyro import poutine
from torch import nn

from ppl_vae import evaluation, likelihoods, networks
from ppl_vae.evaluation import importance, log_likelihood, pareto_khat
from ppl_vae.evaluation.importance import summarize

X = torch.randn(200, 3, generator=torch.Generator().manual_seed(1))


class Broad(LinearGaussian):
    """The guide is the exact posterior with its scale widened, so that weights are bounded."""

    def __init__(self, widen=1.5, **kwargs):
        super().__init__(**kwargs)
        with torch.no_grad():
            m = self.w.T @ self.w + self.s**2 * torch.eye(2)
            self.covariance = self.s**2 * m.inverse() * widen
            self.a.copy_(m.inverse() @ self.w.T)
            self.c.copy_(-self.a @ self.b)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.MultivariateNormal(x @ self.a.T + self.c, self.covariance))


@pytest.mark.parametrize("k", [50, 1000])
def test_agrees_with_the_exact_value_within_its_own_error(k):
    pair = Broad()
    result = log_likelihood(pair, X, num_particles=k)
    exact = pair.log_likelihood(X).detach()
    z = (result.value - exact) / result.stderr
    # 200 independent z-scores: mean 0 +- 4/sqrt(200) plus Jensen's -stderr/2, std 1 +- 4/sqrt(400).
    assert abs((z + result.stderr / 2).mean()) < 4 / math.sqrt(200)
    assert abs(z.std() - 1) < 4 / math.sqrt(400)
    assert abs(result.mean - exact.mean()) < 4 * result.mean_stderr + result.stderr.square().mean() / 2
    assert result.mean_stderr == pytest.approx(result.stderr.square().sum().sqrt().item() / 200)


def test_with_the_exact_posterior_every_weight_is_the_evidence():
    pair = Broad(widen=1.0).double()
    pair.covariance = pair.covariance.double()
    x = X[:5].double()
    result = log_likelihood(pair, x, num_particles=64)
    assert torch.allclose(result.value.double(), pair.log_likelihood(x), atol=1e-5)
    assert (result.stderr < 1e-6).all() and torch.allclose(result.ess, torch.full((5,), 64.0).to(result.ess))
    assert not (result.khat > 0.7).any()


class Counter(LinearGaussian):
    """Counts the codes it draws for every datum."""

    def __init__(self):
        super().__init__()
        self.drawn, self.largest = 0, 0

    def guide(self, x):
        z = poutine.trace(super().guide).get_trace(x).nodes["z"]["value"]
        return z

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior(x))
            self.drawn += z.numel() // 2
            self.largest = max(self.largest, z.numel() // 2)
            pyro.sample("x", dist.Normal(z @ self.w.T + self.b, self.s).to_event(1), obs=x)


@pytest.mark.parametrize("k", [1, 2, 7, 100, 101])
@pytest.mark.parametrize("memory", [1, 3000, 2**28])
def test_exactly_k_particles_for_every_datum(k, memory, monkeypatch):
    pair = Counter()
    x = X[:6]
    log_likelihood(pair, x, num_particles=1, memory=memory)
    looked, pair.drawn = pair.drawn - 6, 0  # what measures the memory, and tries particles
    seen = []
    monkeypatch.setattr(importance, "summarize", lambda w: seen.append(w.shape) or summarize(w))
    result = log_likelihood(pair, x, num_particles=k, memory=memory)
    assert all(shape[0] == k for shape in seen) and sum(shape[1] for shape in seen) == 6
    assert pair.drawn == 6 * k + looked and looked < 12
    assert result.num_particles == k and result.value.shape == (6,)
    if memory == 1:
        assert pair.largest == 6  # of the trial, 3 particles of 2 data; one at a time afterwards


def test_memory_changes_the_pieces_and_not_the_distribution():
    pair = Broad()
    exact = pair.log_likelihood(X).detach()
    for memory in (2_000, 50_000, 2**24):
        result = log_likelihood(pair, X, num_particles=203, memory=memory)
        z = (result.value - exact) / result.stderr
        assert abs((z + result.stderr / 2).mean()) < 4 / math.sqrt(200) and abs(z.std() - 1) < 0.25


def test_the_memory_budget_bounds_the_weights_of_a_piece():
    model = vae(shape=(50,), likelihood=likelihoods.Bernoulli(networks.MLP(2, [100]), (50,)))
    largest = []

    def watch(module, inputs, output):
        if isinstance(output, torch.Tensor):
            largest.append(output.numel() * output.element_size())

    for module in model.modules():
        if not list(module.children()):
            module.register_forward_hook(watch)
    log_likelihood(model, torch.ones(40, 50), num_particles=300, memory=200_000)
    assert max(largest) < 200_000 and len(largest) > 100


def test_seeds():
    pair = Broad()
    a, b, c = (log_likelihood(pair, X[:5], num_particles=20, seed=s).value for s in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_labels_reach_the_programs():
    class Labelled(LinearGaussian):
        def model(self, x, y):
            assert y.shape == (len(x),)
            super().model(x - y[:, None])

        def guide(self, x, y):
            super().guide(x - y[:, None])

    y = torch.arange(5.0)
    plain = log_likelihood(LinearGaussian(), X[:5], num_particles=50)
    shifted = log_likelihood(Labelled(), X[:5] + y[:, None], y=y, num_particles=50)
    assert torch.allclose(plain.value, shifted.value, atol=1e-4)
    pieces = log_likelihood(Labelled(), X[:5] + y[:, None], y=y, num_particles=50, memory=100)
    assert ((pieces.value - plain.value).abs() < 5 * (pieces.stderr + plain.stderr)).all()


def test_beta_never_enters():
    from ppl_vae import SVI

    model = vae(shape=(3,))
    x = torch.ones(4, 3)
    before = log_likelihood(model, x, num_particles=10).value
    SVI(model, beta=7.0)(x)
    assert torch.equal(log_likelihood(model, x, num_particles=10).value, before)


def test_an_outlying_weight_is_noticed():
    log_w = torch.zeros(1000, 1)
    log_w[0] = 12.0
    value, stderr, ess, khat = summarize(log_w)
    assert ess < 1.1 and khat > 0.7 and stderr > 0.9


def test_summaries_in_closed_form():
    log_w = torch.tensor([[1.0, 2.0, 3.0, 0.0]]).T.log()
    value, stderr, ess, _ = (t.item() for t in summarize(log_w))
    assert value == pytest.approx(math.log(6 / 4)) and ess == pytest.approx(36 / 14)
    sd = np.std([1, 2, 3, 0], ddof=1)
    assert stderr == pytest.approx(sd / 1.5 / 2)
    shifted = [t.item() for t in summarize(log_w - 5000)]
    assert shifted[0] == pytest.approx(value - 5000) and shifted[1:3] == pytest.approx([stderr, ess], rel=1e-4)
    value, stderr, ess, khat = (t.item() for t in summarize(torch.zeros(1, 1)))
    assert (value, ess) == (0.0, 1.0) and math.isnan(stderr) and math.isnan(khat)


@pytest.mark.parametrize("shape", [-0.3, 0.1, 0.5, 0.9])
def test_khat_finds_the_shape_of_generalised_pareto_weights(shape):
    weights = scipy.stats.genpareto.rvs(shape, size=(20_000, 60), random_state=1) + 1e-9
    khat = pareto_khat(torch.as_tensor(weights).log()).numpy()
    m = int(3 * math.sqrt(20_000))
    tails = np.sort(weights, axis=0)[-m - 1 :]
    by_scipy = [scipy.stats.genpareto.fit(t[1:] - t[0], floc=0)[0] for t in tails.T[:10]]
    # The maximum likelihood estimate, shrunk by 10 / (m + 10) towards 0.5 as ours is.
    shrunk = (m * np.array(by_scipy) + 5) / (m + 10)
    assert np.abs(khat[:10] - shrunk).max() < 0.05
    # A tail of a generalised Pareto is one of the same shape.
    assert abs(khat.mean() - (m * shape + 5) / (m + 10)) < 4 * khat.std() / math.sqrt(60) + 0.01


def test_khat_of_few_or_equal_weights():
    assert pareto_khat(torch.zeros(24, 3)).isnan().all()
    assert not (pareto_khat(torch.zeros(500, 3)) > 0.7).any()


def test_nothing_of_the_callers_is_touched():
    model = vae(shape=(3,), hidden=(4,))
    model.likelihood.network.layers.append(nn.BatchNorm1d(4))
    model.train()
    model.posterior.eval()
    frozen = next(model.likelihood.parameters()).requires_grad_(False)
    modes = [m.training for m in model.modules()]
    state = {name: t.clone() for name, t in model.state_dict().items()}
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    generators = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    flags = pyro.distributions.is_validation_enabled(), torch.distributions.Distribution._validate_args
    x = torch.ones(4, 3)
    log_likelihood(model, x, num_particles=30)
    evaluation.elbo(model, x)
    evaluation.active_units(model, x)
    evaluation.kl_by_dimension(model, x)
    evaluation.reconstruction_error(model, x)
    assert torch.equal(torch.get_rng_state(), generators[0]) and random.getstate() == generators[1]
    assert (np.random.get_state()[1] == generators[2]).all()
    assert [m.training for m in model.modules()] == modes
    assert not frozen.requires_grad and all(p.requires_grad for p in model.parameters() if p is not frozen)
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(t, state[name]) for name, t in model.state_dict().items())
    assert not len(pyro.get_param_store())
    assert flags == (pyro.distributions.is_validation_enabled(), torch.distributions.Distribution._validate_args)
    assert torch.is_grad_enabled()


def test_an_error_undoes_evaluation_mode_too():
    model = vae(shape=(3,)).train()
    model.likelihood.network.layers.append(nn.Linear(9, 9))
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="model and guide run neither on 2 data nor on all 4 .RuntimeError") as caught:
        log_likelihood(model, torch.ones(4, 3))
    assert "\n" not in str(caught.value)
    assert model.training and torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("x", "arguments", "message"),
    [
        (torch.ones(0, 3), {}, "x is empty; give at least one example"),
        (torch.ones(2, 4), {}, r"x has examples of shape \(4,\), but the model's are \(3,\)"),
        (torch.full((2, 3), 255.0), {}, "x holds 255, outside the likelihood's support"),
        (torch.full((2, 3), 255, dtype=torch.uint8), {}, "x holds uint8 values up to 255"),
        (torch.full((2, 3), math.nan), {}, "x holds 6 values that are NaN or infinite"),
        (torch.ones(2, 3).double(), {}, "x is float64, but the model's parameters are float32"),
        (torch.ones(2, 3), {"num_particles": 0}, "num_particles must be a whole number of at least 1, not 0"),
        (torch.ones(2, 3), {"num_particles": 1e3}, "num_particles must be a whole number of at least 1, not 1000.0"),
    ],
)
def test_bad_input_is_one_sentence(x, arguments, message):
    for function in (log_likelihood, evaluation.elbo):
        with pytest.raises(ValueError, match=message) as caught:
            function(vae(shape=(3,)), x, **arguments)
        assert "\n" not in str(caught.value)


def test_infinite_data_are_refused_by_likelihoods_on_the_reals():
    model = vae(shape=(3,), likelihood=likelihoods.Normal(networks.MLP(2, [4]), 3))
    with pytest.raises(ValueError, match="x holds 1 values that are NaN or infinite, the first in row 1, column 2"):
        log_likelihood(model, torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, math.inf]]))


@pytest.mark.parametrize("convert", [torch.Tensor.bool, torch.Tensor.long, torch.Tensor.numpy])
def test_whole_numbers_and_arrays_are_taken_as_fit_takes_them(convert):
    model = vae(shape=(3,))
    expected = log_likelihood(model, torch.ones(2, 3), num_particles=5)
    assert torch.equal(log_likelihood(model, convert(torch.ones(2, 3)), num_particles=5).value, expected.value)


def test_repr():
    text = repr(log_likelihood(Broad(), X[:3], num_particles=100))
    assert "nats per example, n=3, K=100" in text


def test_within_is_not_vacuous():
    with pytest.raises(AssertionError):
        within(torch.randn(400), 0.5)


class Mean(nn.Module):
    """x ~ N(m, 1) with m ~ N(0, 4): the guide is the exact posterior given 20 training data of mean 1."""

    def __init__(self, deviation=None):
        super().__init__()
        self.precision = 1 / 4 + 20
        self.location, self.scale = 20 / self.precision, deviation or self.precision**-0.5

    def model(self, x):
        m = pyro.sample("m", dist.Normal(0.0, 2.0))
        with pyro.plate("data", 20, subsample_size=min(len(x), 20)):
            pyro.sample("x", dist.Normal(m, 1.0), obs=x)

    def guide(self, x):
        pyro.sample("m", dist.Normal(self.location, self.scale))

    def predictive(self, x):
        return dist.Normal(self.location, math.sqrt(1 + self.scale**2)).log_prob(x)


class Factor(Mean):
    """The same with a local latent: z ~ N(m, 1), x ~ N(z, 0.5), and the guide q(z | x) a widened p(z | x, m = 1)."""

    def model(self, x):
        m = pyro.sample("m", dist.Normal(0.0, 2.0))
        with pyro.plate("data", 20, subsample_size=len(x)):
            z = pyro.sample("z", dist.Normal(m, 1.0))
            pyro.sample("x", dist.Normal(z, 0.5), obs=x)

    def guide(self, x):
        super().guide(x)
        with pyro.plate("data", 20, subsample_size=len(x)):
            pyro.sample("z", dist.Normal((1 + 4 * x) / 5, 1.2 / math.sqrt(5)))

    def predictive(self, x):
        return dist.Normal(self.location, math.sqrt(1.25 + self.scale**2)).log_prob(x)


@pytest.mark.parametrize("pair", [Mean(), Mean(0.8), Factor(), Factor(0.8)], ids=["mean", "wide", "factor", "both"])
def test_posterior_predictive_of_global_latents(pair):
    """Sites outside the plate enter neither density: log E_q(g) p(x | g), not log p(x), nor the ELBO's share of KL."""
    x = torch.linspace(-1.0, 3.0, 20)
    scores = []
    for seed in range(20):
        found = log_likelihood(pair, x, num_particles=200, seed=seed)
        z = (found.value - pair.predictive(x)) / found.stderr
        assert (z.abs() < 5).all() and found.joint_stderr is not None
        # The data share their draws of m: only the joint error is that of the mean.
        scores.append((found.mean - pair.predictive(x).mean().item()) / found.mean_stderr)
        assert 1 <= found.ess.min() and found.ess.max() <= 200 + 1e-3 and found.khat.isfinite().all()
    assert abs(np.mean(scores)) < 4 / math.sqrt(20) + 0.2 and 0.5 < np.std(scores) < 1.6
    assert "nats per example" in repr(found)


def test_more_data_than_the_plate_has_are_taken_in_pieces():
    x = torch.linspace(-1.0, 3.0, 50)
    found = log_likelihood(Factor(), x, num_particles=300)
    assert ((found.value - Factor().predictive(x)) / found.stderr).abs().max() < 5
    assert evaluation.elbo(Factor(), x).elbo.shape == (50,)


def test_a_program_that_subsamples_its_rows_itself_is_refused():
    class Own(Mean):
        def model(self, x):
            m = pyro.sample("m", dist.Normal(0.0, 2.0))
            with pyro.plate("data", 20, subsample_size=1) as rows:
                pyro.sample("x", dist.Normal(m, 1.0), obs=x[rows % len(x)])

    with pytest.raises(ValueError, match="the plate data holds 1 of the 20 examples given"):
        log_likelihood(Own(), torch.zeros(20), num_particles=5)


class Pixels(nn.Module):
    """Two plates, a datum's pixels inside the data: particles lie outside both."""

    def model(self, x):
        with pyro.plate("data", len(x), dim=-2):
            z = pyro.sample("z", dist.Normal(0.0, 1.0).expand([1]))
            with pyro.plate("pixels", 3, dim=-1):
                pyro.sample("x", dist.Normal(z, 0.7), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-2):
            pyro.sample("z", dist.Normal(x.mean(-1, keepdim=True), 0.6))


def test_nested_plates():
    exact = dist.MultivariateNormal(torch.zeros(3), 0.49 * torch.eye(3) + 1.0).log_prob(X)
    found = log_likelihood(Pixels(), X, num_particles=500)
    z = (found.value - exact) / found.stderr
    assert abs((z + found.stderr / 2).mean()) < 4 / math.sqrt(200) and abs(z.std() - 1) < 0.25
    bound = evaluation.elbo(Pixels(), X, num_particles=50)
    assert bound.elbo.shape == (200,) and (bound.elbo.mean() < exact.mean()).all()


def test_weights_that_are_equal_but_for_rounding_are_trusted():
    torch.manual_seed(0)
    log_w = -95.0 + 1e-5 * torch.randn(200, 50)
    assert (evaluation.pareto_khat(log_w) == -1).all()
    assert (evaluation.pareto_khat(log_w + torch.randn(200, 50)) > -0.9).all()
