import math

import numpy as np
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from contracts import within
from torch.distributions import kl_divergence

from ppl_vae import networks, posteriors, priors, supports

Z = torch.linspace(-6, 6, 25)[:, None].repeat(1, 2)


@pytest.mark.parametrize(
    ("prior", "reference"),
    [
        (priors.Laplace(2, 0.5, 2.0), scipy.stats.laplace(0.5, 2.0)),
        (priors.StudentT(2, 3.0, 0.5, 2.0), scipy.stats.t(3.0, 0.5, 2.0)),
        (priors.Logistic(2, 0.5, 2.0), scipy.stats.logistic(0.5, 2.0)),
        (priors.Uniform(2, -7.0, 7.0), scipy.stats.uniform(-7.0, 14.0)),
    ],
    ids=lambda p: type(p).__name__,
)
def test_density_and_samples_equal_scipy(prior, reference):
    assert np.allclose(prior().log_prob(Z).numpy(), 2 * reference.logpdf(Z[:, 0].numpy()), atol=1e-4)
    shares = prior().sample((20_000,)).sort(0).values[:, 0]
    assert scipy.stats.kstest(shares.double().numpy(), reference.cdf).pvalue > 1e-3


@pytest.mark.parametrize("name", ["Laplace", "StudentT", "Logistic", "MultivariateNormal"])
def test_learned_starts_at_the_fixed_one_and_moves(name):
    cls = getattr(priors, name)
    fixed, learned = cls(2), cls(2, learned=True)
    assert torch.allclose(learned().log_prob(Z), fixed().log_prob(Z), atol=1e-5)
    assert not list(fixed.parameters()) and [n for n, _ in learned.named_parameters()] == ["raw"]
    target = torch.distributions.Normal(2.0, 0.5).sample((500, 2))
    optimizer = torch.optim.Adam(learned.parameters(), 0.05)
    for _ in range(100):
        optimizer.zero_grad()
        (-learned().log_prob(target).mean()).backward()
        optimizer.step()
    assert learned().log_prob(target).mean() > fixed().log_prob(target).mean() + 1


def test_multivariate_normal_is_correlated():
    tril = torch.tensor([[2.0, 0.0], [1.5, 0.7]])
    for learned in (False, True):
        p = priors.MultivariateNormal(2, torch.tensor([1.0, -1.0]), tril, learned=learned)()
        assert torch.allclose(p.covariance_matrix, tril @ tril.T, atol=1e-5)
        assert torch.allclose(p.mean, torch.tensor([1.0, -1.0]))


def test_uniform_support():
    assert supports.name(priors.Uniform(2).support) == "the unit interval"
    assert supports.name(priors.Uniform(2, -1.0).support) == "the interval [-1, 1]"
    assert priors.Uniform(2)().log_prob(torch.tensor([0.0, 1.0])) == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: priors.Laplace(2, scale=0.0), "scale must be positive, not 0.0"),
        (lambda: priors.StudentT(2, df=-1.0), "df must be positive, not -1.0"),
        (lambda: priors.Logistic(2, scale=torch.tensor([1.0, -1.0])), r"scale must be positive, not \[1.0, -1.0\]"),
        (lambda: priors.Uniform(2, 1.0, 1.0), "low and high must be finite with low below high, not 1.0 and 1.0"),
        (lambda: priors.Uniform(2, 0.0, math.inf), "low and high must be finite"),
        (lambda: priors.MultivariateNormal(2, scale_tril=torch.ones(2, 2)), "scale_tril must be in"),
        (lambda: priors.MultivariateNormal(2, scale_tril=torch.eye(3)), r"scale_tril has shape \(3, 3\)"),
        (lambda: priors.MultivariateNormal(0), "dim must be a whole number of at least 1, not 0"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def every_prior():
    return [
        priors.Normal(2),
        priors.MultivariateNormal(2, 0.3, torch.tensor([[1.2, 0.0], [0.5, 0.7]])),
        priors.Laplace(2, 0.2, 1.5),
    ]


def every_posterior():
    torch.manual_seed(0)
    return [
        cls(networks.MLP(3, []), 2)
        for cls in (posteriors.Normal, posteriors.MultivariateNormal, posteriors.LowRankNormal, posteriors.Laplace)
    ]


CLOSED = {
    "Normal": {"Normal", "MultivariateNormal", "LowRankNormal", "Laplace"},
    "MultivariateNormal": {"Normal", "MultivariateNormal", "LowRankNormal"},
    "Laplace": {"Normal", "Laplace"},
}


@pytest.mark.parametrize("prior", every_prior(), ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("posterior", every_posterior(), ids=lambda q: type(q).__name__)
def test_sampled_kl_agrees_with_the_closed_form(posterior, prior):
    q, p = posterior(torch.tensor([[0.5, -1.0, 2.0]])), prior()
    known = type(posterior).__name__ in CLOSED[type(prior).__name__]
    if not known:
        with pytest.raises(NotImplementedError):
            kl_divergence(q, p.expand((1,)))
        return
    exact = kl_divergence(q, p.expand((1,)))
    assert exact.shape == (1,) and exact > 0.01
    with torch.no_grad():
        z = q.sample((40_000,))
        within(q.log_prob(z) - p.log_prob(z), exact)


@pytest.mark.parametrize("df", [2, 0.5, math.inf, "5", None])
def test_bad_degrees_of_freedom(df):
    with pytest.raises(ValueError, match="df must be a number above 2"):
        posteriors.StudentT(networks.MLP(3, []), 2, df=df)


def test_low_rank_covariance():
    posterior, x = posteriors.LowRankNormal(networks.MLP(3, []), 4, rank=2), torch.randn(1, 3)
    q = posterior(x)
    raw = posterior.head(posterior.network(x))[0][:, 4:8]
    assert torch.allclose(q.cov_diag.sqrt(), torch.nn.functional.softplus(raw), atol=1e-5)
    z = q.rsample((50_000,))[:, 0].detach()
    centred = z - q.mean
    within(centred[:, :, None] * centred[:, None], q.covariance_matrix[0])
    eigenvalues = torch.linalg.eigvalsh(q.covariance_matrix[0] - torch.diag(q.cov_diag[0]))
    assert (eigenvalues[:2].abs() < 1e-5).all() and (eigenvalues[2:] > 1e-4).all()
    with pytest.raises(ValueError, match="rank must be a whole number of at least 1, not 0"):
        posteriors.LowRankNormal(networks.MLP(3, []), 4, rank=0)


@pytest.mark.parametrize("name", ["Laplace", "StudentT", "LowRankNormal", "Flow", "Hierarchical"])
def test_reparameterised_gradient_of_the_mean_square(name):
    """d E[z^2] of rsample against a finite difference of the same expectation, along one direction of the head."""
    torch.manual_seed(0)
    posterior = getattr(posteriors, name)(networks.MLP(3, []), 2).double()
    x = torch.ones(1, 3, dtype=torch.float64)
    bias = posterior.head.layer.bias

    def value():
        torch.manual_seed(3)
        return posterior(x).rsample((4000,)).square().mean()

    gradient = torch.autograd.grad(value(), bias)[0][1]
    with torch.no_grad():
        ends = []
        for step in (1e-4, -2e-4):
            bias[1] += step
            ends.append(value())
    assert torch.allclose(gradient, (ends[0] - ends[1]) / 2e-4, rtol=1e-4, atol=1e-6)


def test_student_t_and_laplace_posteriors_are_what_they_say():
    x = torch.randn(5, 3)
    q = posteriors.StudentT(networks.MLP(3, []), 2, df=4.0)(x).base_dist
    assert isinstance(q, dist.StudentT) and (q.df == 4).all()
    assert isinstance(posteriors.Laplace(networks.MLP(3, []), 2)(x).base_dist, dist.Laplace)
