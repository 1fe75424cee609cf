import math

import scipy.stats
import torch
from contracts import within

from ppl_vae.distributions import Logistic, Uniform


def test_logistic_equals_scipy():
    z = torch.linspace(-80, 80, 101, dtype=torch.float64)
    p = Logistic(torch.tensor(0.5, dtype=torch.float64), torch.tensor(1.7, dtype=torch.float64))
    expected = scipy.stats.logistic(0.5, 1.7).logpdf(z.numpy())
    assert torch.allclose(p.log_prob(z), torch.as_tensor(expected))
    draws = p.sample((20_000,))
    within(draws, 0.5)
    within((draws - 0.5).square(), (1.7 * math.pi) ** 2 / 3)


def test_logistic_samples_are_finite_where_the_uniform_draw_is_zero(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda shape, **kwargs: torch.zeros(shape, **kwargs))
    z = Logistic(torch.zeros(3), 1.0).rsample((4,))
    assert z.shape == (4, 3) and z.isfinite().all()
    assert type(Logistic(torch.zeros(3), 1.0).expand((2, 3))) is Logistic


def test_uniform_includes_both_ends():
    p = Uniform(torch.tensor([-1.0, 2.0]), torch.tensor([1.0, 6.0]))
    ends = torch.tensor([[-1.0, 2.0], [1.0, 6.0], [0.0, 3.0]])
    assert torch.allclose(p.log_prob(ends), -torch.tensor([2.0, 4.0]).log().expand(3, 2))
    outside = Uniform(0.0, 1.0, validate_args=False).log_prob(torch.tensor([-0.01, 1.01]))
    assert (outside == -math.inf).all()
    assert p.expand((3, 2)).log_prob(ends).shape == (3, 2) and type(p.expand((3, 2))) is Uniform
