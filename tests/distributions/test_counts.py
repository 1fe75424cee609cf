import numpy as np
import pyro.distributions as dist
import pytest
import scipy.stats
import torch

from ppl_vae.distributions.multinomial import Multinomial
from ppl_vae.distributions.negative_binomial import NegativeBinomial, log_rising
from ppl_vae.distributions.zero_inflated import ZeroInflated

X = torch.tensor([0.0, 1.0, 2.0, 7.0, 40.0, 300.0])


@pytest.mark.parametrize("mean", [0.05, 0.3, 4.0, 200.0])
@pytest.mark.parametrize("r", [1e-3, 0.5, 9.99, 10.0, 300.0, 1e7])
def test_negative_binomial_against_scipy(mean, r):
    expected = torch.tensor(scipy.stats.nbinom(r, r / (r + mean)).logpmf(X.numpy()))
    for dtype, tolerance in ((torch.float64, 1e-7), (torch.float32, 3e-5)):
        p = NegativeBinomial(torch.tensor(mean, dtype=dtype), torch.tensor(r, dtype=dtype))
        assert torch.allclose(p.log_prob(X.to(dtype)).double(), expected, rtol=tolerance, atol=tolerance)


def test_log_rising_has_the_gradient_of_digammas():
    r = torch.tensor([0.01, 1.0, 9.9, 10.0, 1e4], dtype=torch.float64, requires_grad=True)
    x = torch.tensor(6.0, dtype=torch.float64)
    log_rising(r, x).sum().backward()
    assert torch.allclose(r.grad, (torch.digamma(r + x) - torch.digamma(r)).detach(), rtol=1e-6)


def test_negative_binomial_samples_have_the_moments():
    torch.manual_seed(0)
    p = NegativeBinomial(torch.tensor([0.5, 6.0]), torch.tensor([0.7, 3.0])).expand((2,))
    draws = p.sample((40000,))
    assert ((draws.mean(0) - p.mean).abs() < 4 * (p.variance / 40000).sqrt()).all()
    assert torch.allclose(draws.var(0), p.variance, rtol=0.1)


def test_zero_inflated_against_pyro_and_its_moments():
    torch.manual_seed(0)
    gate = torch.tensor([-60.0, -2.0, 0.0, 3.0, 60.0])
    base = dist.Poisson(torch.tensor(2.5).expand(5))
    ours, theirs = ZeroInflated(base, gate), dist.ZeroInflatedDistribution(base, gate_logits=gate)
    x = torch.tensor([0.0, 1.0, 5.0])[:, None].expand(3, 5)
    assert torch.allclose(ours.log_prob(x), theirs.log_prob(x), atol=1e-5)
    assert torch.allclose(ours.mean, theirs.mean) and torch.allclose(ours.variance, theirs.variance, atol=1e-5)
    draws = ours.expand((5,)).sample((40000,))
    assert ((draws.mean(0) - ours.mean).abs() <= 4 * (ours.variance / 40000).sqrt() + 1e-6).all()


def test_multinomial_against_scipy_with_totals_of_their_own():
    logits = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = torch.tensor([[0.0, 0.0, 0.0], [1, 0, 0], [2, 5, 1], [40, 0, 3]], dtype=torch.float64)
    p = Multinomial(logits)
    for i in range(4):
        expected = scipy.stats.multinomial(int(x[i].sum()), p.probs[i].numpy()).logpmf(x[i].numpy())
        assert p.log_prob(x)[i].item() == pytest.approx(expected, abs=1e-9)
    assert torch.allclose(p.mean_for(x), p.probs * x.sum(-1, keepdim=True))


def test_multinomial_sums_to_one_given_the_total():
    p = Multinomial(torch.tensor([0.3, -1.0, 2.0]))
    counts = torch.tensor([(a, b, 5 - a - b) for a in range(6) for b in range(6 - a)], dtype=torch.float32)
    assert p.log_prob(counts).exp().sum().item() == pytest.approx(1.0, abs=1e-5)


def test_multinomial_samples():
    torch.manual_seed(0)
    p = Multinomial(torch.randn(2, 2, 3), total_count=torch.tensor([5, 0]), event_dim=2)
    draws = p.sample((8000,))
    assert p.event_shape == (2, 3) and (draws.sum((-1, -2)) == torch.tensor([5.0, 0.0])).all()
    error = (p.mean * (1 - p.probs) / 8000).sqrt()
    assert ((draws.mean(0) - p.mean).abs() <= 4 * error).all()
    assert p.expand((4, 2)).sample().sum((-1, -2)).tolist() == [[5.0, 0.0]] * 4
    assert np.isclose(p.expand((4, 2)).log_prob(draws[0]), p.log_prob(draws[0])).all()
