"""Densities, samplers, gradients and KLs of the families on bounded, positive, simplex and spherical supports."""

import copy
import math

import pyro.distributions as dist
import pytest
import scipy.integrate
import scipy.stats
import torch
from contracts import normalised, within
from torch.distributions import kl_divergence

from ppl_vae import distributions
from ppl_vae.distributions.power_spherical import digamma_difference, lgamma_difference, log_area


def t(*values):
    return torch.tensor(values, dtype=torch.float64)


def unit(*values):
    return torch.nn.functional.normalize(t(*values), dim=-1)


MAKE = {
    "kumaraswamy": lambda: distributions.Kumaraswamy(t(2.0, 0.7), t(0.8, 3.0)).to_event(1),
    "logit normal": lambda: distributions.LogitNormal(t(0.5, -1.0), t(0.7, 2.0)).to_event(1),
    "logistic normal": lambda: distributions.LogisticNormal(t(0.3, -0.5), t(0.8, 1.3)),
    "stick breaking": lambda: distributions.StickBreaking(distributions.Kumaraswamy(t(2.0, 1.2), t(1.5, 0.9))),
    "gem": lambda: distributions.StickBreaking(dist.Beta(t(1.0, 1.0), t(2.0, 2.0))),
    "relaxed": lambda: distributions.RelaxedOneHotCategorical(t(0.7)[0], logits=t(0.5, -0.3, 0.0)),
    "power spherical 2": lambda: distributions.PowerSpherical(unit(1.0, -2.0), t(3.0)[0]),
    "power spherical 3": lambda: distributions.PowerSpherical(unit(1.0, -2.0, 0.5), t(8.0)[0]),
    "uniform sphere": lambda: distributions.SphereUniform(t(0.0, 0.0, 0.0)),
}


@pytest.mark.parametrize("name", MAKE)
def test_density_integrates_to_one(name):
    normalised(MAKE[name](), MAKE[name]().support, tolerance=1e-4 if name != "kumaraswamy" else 1e-3)


@pytest.mark.parametrize("name", MAKE)
def test_samples_have_the_moments_of_the_density(name):
    """E[1] under the density is 1 (above); E[f] under it, by importance from a wide proposal, is that of samples."""
    p = MAKE[name]()
    x = p.sample((40_000,))
    words = str(p.support)
    if "Simplex" in words:
        proposal = dist.Dirichlet(torch.ones(3, dtype=torch.float64) * 0.5)
    elif "phere" in words:
        proposal = distributions.SphereUniform(torch.zeros(p.event_shape, dtype=torch.float64))
    else:
        proposal = dist.Beta(t(0.5, 0.5), t(0.5, 0.5)).to_event(1)
    z = proposal.sample((40_000,))
    weights = (p.log_prob(z) - proposal.log_prob(z)).exp()[:, None]
    for power in (1, 2):
        within(x**power - weights * z**power, 0.0)  # independent draws: the difference has the errors of both


@pytest.mark.parametrize("name", [n for n in MAKE if n not in ("logistic normal", "relaxed")])
def test_mean_and_variance(name):
    p = MAKE[name]()
    x = p.sample((40_000,))
    within(x, p.mean)
    within((x - p.mean).square(), p.variance)


@pytest.mark.parametrize("name", MAKE)
def test_expand_broadcasts_and_samples_apart(name):
    p = MAKE[name]()
    wide = p.expand((3, 2))
    assert wide.batch_shape == (3, 2) and wide.event_shape == p.event_shape
    x = wide.sample((4,))
    assert x.shape == (4, 3, 2, *p.event_shape) and len(x.flatten(0, 2).unique(dim=0)) == 24
    assert torch.allclose(wide.log_prob(x), p.log_prob(x))


def test_kumaraswamy_is_the_beta_where_they_meet():
    x = torch.linspace(0.01, 0.99, 50)
    for a, b in ((1.0, 3.0), (2.5, 1.0)):
        ours = distributions.Kumaraswamy(torch.tensor(a), torch.tensor(b))
        assert torch.allclose(ours.log_prob(x), dist.Beta(a, b).log_prob(x), atol=1e-5)
        assert torch.allclose(ours.entropy(), dist.Beta(a, b).entropy(), atol=1e-5)
        q = scipy.stats.kstest(ours.sample((4000,)).numpy(), scipy.stats.beta(a, b).cdf)
        assert q.pvalue > 1e-3


def test_logit_normal_moments_agree_with_integration():
    for m, s in ((0.0, 1.0), (-2.0, 3.0), (1.0, 8.0)):
        q = distributions.LogitNormal(torch.tensor(m).double(), torch.tensor(s).double())
        exact = scipy.integrate.quad(
            lambda e, m=m, s=s: scipy.stats.norm.pdf(e) / (1 + math.exp(-m - s * e)), -9, 9, points=[-m / s]
        )[0]
        assert q.mean.item() == pytest.approx(exact, abs=1e-4 if s > 5 else 1e-6)
        assert q.entropy().item() == pytest.approx(-q.log_prob(q.sample((40_000,))).mean().item(), abs=0.1)


def test_logistic_normal_is_the_softmax_of_independent_normals():
    p = distributions.LogisticNormal(torch.zeros(3), torch.full((3,), 0.8))
    x, e = p.sample((30_000,)), (0.8 * torch.randn(30_000, 4)).softmax(-1)
    for i in range(4):
        assert scipy.stats.ks_2samp(x[:, i], e[:, i]).pvalue > 1e-3
    z = x[:5]
    assert torch.allclose(p.log_prob(z), p.log_prob(z[:, [2, 0, 3, 1]]), atol=1e-4)


def test_a_dirichlet_is_a_stick_breaking_distribution():
    a = t(0.5, 2.0, 1.0, 3.0)
    after = a.flip(0).cumsum(0).flip(0)[1:]
    sticks = distributions.StickBreaking(dist.Beta(a[:-1], after))
    x = dist.Dirichlet(a).sample((20,))
    assert torch.allclose(sticks.log_prob(x), dist.Dirichlet(a).log_prob(x), atol=1e-6)
    assert torch.allclose(sticks.mean, dist.Dirichlet(a).mean)
    assert torch.allclose(sticks.variance, dist.Dirichlet(a).variance)
    assert kl_divergence(dist.Dirichlet(a), sticks).abs() < 1e-8


def test_power_spherical_agrees_with_its_definition():
    assert math.exp(log_area(2)) == pytest.approx(2 * math.pi)
    k, d = 5.0, 3
    direction = unit(0.0, 0.6, -0.8)
    q = distributions.PowerSpherical(direction, t(k)[0])
    # On the sphere of R^3 heights are uniform: Z = 2 pi int (1 + t)^k dt.
    z = 2 * math.pi * 2 ** (k + 1) / (k + 1)
    assert q.log_prob(direction).item() == pytest.approx(k * math.log(2) - math.log(z))
    assert q.entropy().item() == pytest.approx(-q.log_prob(q.sample((200_000,))).mean().item(), abs=0.01)
    flat = distributions.PowerSpherical(direction, t(0.0)[0])
    assert flat.log_prob(direction).item() == pytest.approx(-log_area(d))


def test_gamma_differences_do_not_cancel():
    a = torch.tensor([0.5, 3.0, 9.99, 10.01, 100.0, 1e5, 1e8])
    for b in (0.5, 1.0, 9.5, 60.0):
        exact = torch.lgamma(a.double()) - torch.lgamma(a.double() + b)
        assert torch.allclose(lgamma_difference(a, b).double(), exact, rtol=2e-6, atol=2e-6 * b)
        exact = torch.digamma(a.double()) - torch.digamma(a.double() + b)
        assert torch.allclose(digamma_difference(a, b).double(), exact, rtol=1e-5, atol=1e-9)


EXTREME = {
    "kumaraswamy": lambda v: distributions.Kumaraswamy(torch.tensor([v, 1 / v, v]), torch.tensor([v, v, 1 / v])),
    "logit normal": lambda v: distributions.LogitNormal(torch.tensor([v, -v]), torch.tensor([0.01, v])),
    "logistic normal": lambda v: distributions.LogisticNormal(torch.tensor([v, -v]), torch.tensor([v, 0.01])),
    "sticks": lambda v: distributions.StickBreaking(
        distributions.Kumaraswamy(torch.tensor([v, 1 / v]), torch.tensor([1 / v, v]))
    ),
    "relaxed": lambda v: distributions.RelaxedOneHotCategorical(torch.tensor(1 / v), logits=torch.tensor([v, 0.0, -v])),
    "power spherical": lambda v: distributions.PowerSpherical(torch.eye(5)[0], torch.tensor(v * v)),
    "beta": lambda v: dist.Beta(torch.tensor([v, 1 / v]), torch.tensor([1 / v, v])),
    "dirichlet": lambda v: dist.Dirichlet(torch.tensor([v, 1 / v, 1 / v])),
    "gamma": lambda v: dist.Gamma(torch.tensor([v, 1 / v]), torch.tensor([1 / v, v])),
}


@pytest.mark.parametrize("value", [1.0, 10.0, 100.0])
@pytest.mark.parametrize("name", EXTREME)
def test_float32_samples_stay_inside_and_have_finite_densities_and_gradients(name, value):
    p = EXTREME[name](value)
    x = p.sample((5000,))
    assert p.support.check(x).all() and p.log_prob(x).isfinite().all()
    if p.has_rsample and name != "power spherical":
        leaf = {k: v.detach().clone().requires_grad_() for k, v in vars(p).items() if k in p.arg_constraints}
        if leaf:
            draw = type(p)(**leaf).rsample((500,))
            (draw * torch.rand(draw.shape[-1])).sum().backward()
            assert all(v.grad is None or v.grad.isfinite().all() for v in leaf.values())


def moments(q, power):
    """E_q[x_0^power] in closed form of a family's parameters, as a differentiable function."""
    if isinstance(q, dist.Beta):
        a, b = q.concentration1, q.concentration0
        return (torch.lgamma(a + power) - torch.lgamma(a) + torch.lgamma(a + b) - torch.lgamma(a + b + power)).exp()
    if isinstance(q, dist.Gamma):
        return (torch.lgamma(q.concentration + power) - torch.lgamma(q.concentration) - power * q.rate.log()).exp()
    if isinstance(q, dist.Dirichlet):
        a, total = q.concentration[..., 0], q.concentration.sum(-1)
        return (torch.lgamma(a + power) - torch.lgamma(a) + torch.lgamma(total) - torch.lgamma(total + power)).exp()
    return q.mean if power == 1 else q.variance + q.mean.square()


CASES = {
    "beta": (dist.Beta, {"concentration1": t(0.6)[0], "concentration0": t(2.0)[0]}),
    "gamma": (dist.Gamma, {"concentration": t(0.7)[0], "rate": t(1.5)[0]}),
    "dirichlet": (dist.Dirichlet, {"concentration": t(0.5, 2.0, 1.0)}),
    "kumaraswamy": (distributions.Kumaraswamy, {"concentration1": t(0.8)[0], "concentration0": t(2.0)[0]}),
    "logit normal": (distributions.LogitNormal, {"loc": t(0.4)[0], "scale": t(1.2)[0]}),
    "sphere": (distributions.PowerSpherical, {"direction": unit(0.3, -0.5, 0.8), "concentration": t(4.0)[0]}),
    "sphere in 2": (distributions.PowerSpherical, {"direction": unit(-0.3, 0.8), "concentration": t(4.0)[0]}),
}


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_pathwise_gradients_are_finite_differences_of_moments(case, power):
    cls, parameters = CASES[case]
    for name in parameters:

        def exact(value, name=name):
            value = value / value.norm() if name == "direction" else value
            out = moments(cls(**{**parameters, name: value}), power)
            return out[..., 0] if case.startswith("sphere") else out

        value = parameters[name]
        basis = torch.eye(max(1, value.numel()), dtype=torch.float64).reshape(-1, *value.shape)
        step = 1e-5
        differences = torch.stack([(exact(value + step * e) - exact(value - step * e)) / (2 * step) for e in basis])
        n = 40_000
        leaf = value.expand(n, *value.shape).clone().requires_grad_()
        given = {**parameters, name: leaf / leaf.norm(dim=-1, keepdim=True) if name == "direction" else leaf}
        if name != "direction" and "direction" in given:
            given["direction"] = given["direction"].expand(n, -1)
        x = cls(**given).rsample()
        x = x[:, 0] if x.dim() > 1 else x
        (gradient,) = torch.autograd.grad(x.pow(power).sum(), leaf)
        within(gradient.reshape(n, -1), differences.reshape(-1))
        assert differences.abs().max() > 1e-3


SIZES = ("concentration", "concentration1", "concentration0", "rate")
PAIRS = {
    "kumaraswamy, beta": (
        lambda: distributions.Kumaraswamy(t(2.0, 0.5, 20.0), t(3.0, 0.4, 0.9)),
        lambda: dist.Beta(t(1.5, 2.0, 0.5), t(0.7, 5.0, 2.0)),
    ),
    "beta, beta": (lambda: dist.Beta(t(2.0), t(3.0)), lambda: dist.Beta(t(1.5), t(0.7))),
    "logit normals": (
        lambda: distributions.LogitNormal(t(0.5), t(1.5)),
        lambda: distributions.LogitNormal(t(-0.5), t(1.0)),
    ),
    "beta, logit normal": (lambda: dist.Beta(t(0.8), t(2.0)), lambda: distributions.LogitNormal(t(-0.5), t(2.0))),
    "logistic normals": (
        lambda: distributions.LogisticNormal(t(0.5, -1.0), t(0.4, 1.2)),
        lambda: distributions.LogisticNormal(t(0.0, 0.0), t(1.0, 1.0)),
    ),
    "dirichlet, logistic normal": (
        lambda: dist.Dirichlet(t(0.8, 2.0, 3.0)),
        lambda: distributions.LogisticNormal(t(0.2, -0.3), t(1.0, 1.5)),
    ),
    "dirichlet, dirichlet": (lambda: dist.Dirichlet(t(0.8, 2.0, 3.0)), lambda: dist.Dirichlet(t(1.0, 0.5, 1.0))),
    "sticks": (
        lambda: distributions.StickBreaking(distributions.Kumaraswamy(t(2.0, 1.2), t(1.5, 0.9))),
        lambda: distributions.StickBreaking(dist.Beta(t(1.0, 1.0), t(2.0, 2.0))),
    ),
    "dirichlet, sticks": (
        lambda: dist.Dirichlet(t(0.8, 2.0, 3.0)),
        lambda: distributions.StickBreaking(dist.Beta(t(1.0, 1.0), t(2.0, 2.0))),
    ),
    "power spherical, uniform": (
        lambda: distributions.PowerSpherical(unit(1.0, -2.0, 0.5, 0.1), t(6.0)[0]),
        lambda: distributions.SphereUniform(t(0.0, 0.0, 0.0, 0.0)),
    ),
    "log normal, gamma": (lambda: dist.LogNormal(t(0.3), t(0.6)), lambda: dist.Gamma(t(2.0), t(1.5))),
    "gamma, log normal": (lambda: dist.Gamma(t(2.0), t(1.5)), lambda: dist.LogNormal(t(0.3), t(0.6))),
    "gamma, gamma": (lambda: dist.Gamma(t(2.0), t(1.5)), lambda: dist.Gamma(t(1.0), t(1.0))),
    "log normals": (lambda: dist.LogNormal(t(0.3), t(0.6)), lambda: dist.LogNormal(t(0.0), t(1.0))),
    "bernoullis": (lambda: dist.Bernoulli(t(0.3)), lambda: dist.Bernoulli(t(0.6))),
    "one-hots": (lambda: dist.OneHotCategorical(t(0.2, 0.3, 0.5)), lambda: dist.OneHotCategorical(t(0.4, 0.4, 0.2))),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_monte_carlo_kl_agrees_with_the_closed_form(pair):
    q, p = (make() for make in PAIRS[pair])
    x = q.sample((100_000,))
    draws = q.log_prob(x) - p.log_prob(x)
    closed = kl_divergence(q, p)
    assert closed.shape == q.batch_shape and (closed > 0.01).all()
    within(draws, closed)


@pytest.mark.parametrize("pair", PAIRS)
def test_kl_takes_a_batch_of_posteriors_and_one_prior(pair):
    q, p = (make() for make in PAIRS[pair])
    exact = kl_divergence(q, p).expand(4, *q.batch_shape)
    batch = q.expand((4, *q.batch_shape))
    p = p.expand((4, *p.batch_shape)) if pair == "bernoullis" else p  # as plates do; torch's own needs it
    assert torch.allclose(kl_divergence(batch, p), exact)


@pytest.mark.parametrize(("a", "b"), [(2.0, 3.0), (0.3, 0.2), (50.0, 50.0), (0.05, 10.0), (20.0, 0.5), (100.0, 0.1)])
def test_kumaraswamy_kl_against_quadrature(a, b):
    def density(e):  # over e = -b log(1 - x^a), Exponential(1)
        log_v = -e / b
        log_x = math.log(-math.expm1(log_v)) / a if log_v > -30 else -math.exp(log_v) / a
        log_rest = math.log(-math.expm1(log_x)) if -log_x > 1e-300 else log_v - math.log(a)
        log_q = math.log(a * b) + (a - 1) * log_x + (b - 1) * log_v
        log_p = (
            scipy.stats.beta(1.5, 3.0).logpdf(0.5) + 0.5 * (log_x - math.log(0.5)) + 2.0 * (log_rest - math.log(0.5))
        )
        return (log_q - log_p) * math.exp(-e)

    exact = sum(
        scipy.integrate.quad(density, low, high, limit=200)[0]
        for low, high in ((1e-12, 1e-6), (1e-6, 1e-3), (1e-3, 0.1), (0.1, 2), (2, 10), (10, 60))
    )
    p = dist.Beta(torch.tensor(1.5), torch.tensor(3.0))
    double = kl_divergence(distributions.Kumaraswamy(t(a)[0], t(b)[0]), dist.Beta(t(1.5)[0], t(3.0)[0]))
    single = kl_divergence(distributions.Kumaraswamy(torch.tensor(a), torch.tensor(b)), p)
    assert double.item() == pytest.approx(exact, abs=1e-5, rel=1e-6)
    assert single.item() == pytest.approx(exact, abs=1e-4, rel=1e-4)


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair not in ("bernoullis", "one-hots")])
def test_kl_has_finite_gradients_in_float32(pair):
    q, p = (make() for make in PAIRS[pair])
    if isinstance(q, distributions.StickBreaking):
        q, p = q.sticks, p.sticks
    for size in (0.01, 1.0, 100.0):
        leaf = {
            name: (size * getattr(q, name).float() if name in SIZES else getattr(q, name).float()).requires_grad_()
            for name in q.arg_constraints
        }
        kl = kl_divergence(type(q)(**leaf), p)
        kl.sum().backward()
        assert kl.isfinite().all() and all(v.grad is None or v.grad.isfinite().all() for v in leaf.values())


def test_copies_move():
    q = copy.deepcopy(distributions.Kumaraswamy(torch.tensor(2.0), torch.tensor(3.0)))
    assert q.sample().dtype == torch.float32
