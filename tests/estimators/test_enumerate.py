import contextlib
import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from contracts import within
from finite import Finite, Mixed, elbo
from instances import vae

from ppl_vae import SVI, likelihoods, networks, posteriors, priors
from ppl_vae.estimators import Enum, TraceELBO
from ppl_vae.handlers import scale_latents

X = torch.tensor([0.7, -1.2, 2.0], dtype=torch.float64)


def differentiate(scalar, *parameters):
    return torch.cat([g.flatten() for g in torch.autograd.grad(scalar, parameters)])


@pytest.mark.parametrize("kind", ["categorical", "bit", "bits"])
@pytest.mark.parametrize("beta", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("k", [1, 3])
def test_value_and_gradient_are_the_sum_over_all_values(kind, beta, k):
    pair = Finite(kind)
    exact = pair.exact(1, elbo, beta)
    model, guide = scale_latents(pair.model, beta), scale_latents(pair.guide, beta)
    terms = Enum(k).terms(model, guide, pair.x)
    assert torch.allclose(terms.surrogate.sum(), exact)
    gradient = pair.gradient(exact)
    assert gradient.abs().min() > 0.005
    assert torch.allclose(pair.gradient(terms.surrogate.sum()), gradient)
    log_x, log_p, log_q = pair.listed()
    assert torch.allclose(terms.reconstruction, (log_q.exp() * log_x).sum())
    assert torch.allclose(terms.kl, (log_q.exp() * (log_q - log_p)).sum())
    assert torch.allclose(terms.elbo, terms.reconstruction - terms.kl)


class Two:
    """u in {0, 1, 2} and v in {0, 1} that follows it, in model and guide alike; x | u, v ~ N(a_u + b v, 1)."""

    def __init__(self):
        draw = torch.Generator().manual_seed(2)
        self.a, self.q = (torch.randn(6, generator=draw).double().requires_grad_() for _ in range(2))
        self.parameters = self.a, self.q

    def model(self, x):
        with pyro.plate("data", len(x)):
            u = pyro.sample("u", dist.Categorical(logits=self.a[:3]))
            v = pyro.sample("v", dist.Bernoulli(logits=self.a[4] * u))
            pyro.sample("x", dist.Normal(self.a[:3][u] + self.a[3] * v, 1.0), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            u = pyro.sample("u", dist.Categorical(logits=self.q[:3] * x[:, None]))
            pyro.sample("v", dist.Bernoulli(logits=self.q[3] * x + self.q[4] * u))

    def exact(self, x, beta=1.0):
        total = 0
        for u in range(3):
            for v in (0.0, 1.0):
                v_, u_ = torch.tensor(v).double(), torch.tensor(u)
                log_q = dist.Categorical(logits=self.q[:3] * x[:, None]).log_prob(u_)
                log_q = log_q + dist.Bernoulli(logits=self.q[3] * x + self.q[4] * u).log_prob(v_)
                log_p = self.a[:3].log_softmax(0)[u] + dist.Bernoulli(logits=self.a[4] * u).log_prob(v_)
                log_x = dist.Normal(self.a[u] + self.a[3] * v, 1.0).log_prob(x)
                total = total + log_q.exp() * (log_x + beta * (log_p - log_q))
        return total


@pytest.mark.parametrize("beta", [0.0, 1.0, 3.0])
def test_two_dependent_sites(beta):
    pair = Two()
    terms = Enum().terms(scale_latents(pair.model, beta), scale_latents(pair.guide, beta), X)
    exact = pair.exact(X, beta)
    assert torch.allclose(terms.surrogate, exact)
    assert torch.allclose(
        differentiate(terms.surrogate.sum(), *pair.parameters), differentiate(exact.sum(), *pair.parameters)
    )


def test_pyros_own_enumeration_gives_the_same():
    pair = Two()
    reference = pyro.infer.TraceEnum_ELBO(max_plate_nesting=1)
    guide = pyro.infer.config_enumerate(pair.guide, "parallel")
    theirs = reference.differentiable_loss(pair.model, guide, X)
    ours = Enum().differentiable_loss(pair.model, pair.guide, X)
    assert torch.allclose(ours, theirs)
    assert torch.allclose(*(differentiate(loss, *pair.parameters) for loss in (ours, theirs)))


@pytest.mark.parametrize("order", ["cd", "dc"])
@pytest.mark.parametrize("k", [1, 2])
def test_continuous_sites_are_sampled_without_bias(order, k):
    one, many = Mixed(order), Mixed(order, 20000)
    exact = one.exact(1, elbo)
    terms = Enum(k).terms(many.model, many.guide, many.x)
    gradient = one.gradient(exact)[0]
    assert gradient.abs().min() > 0.005
    within(terms.surrogate.detach(), exact.item())
    within(terms.elbo.detach(), exact.item())
    within(many.gradient(terms.surrogate.sum()), gradient)
    score = many.gradient(TraceELBO(2 * k).terms(many.model, many.guide, many.x).surrogate.sum())
    assert many.gradient(Enum(k).terms(many.model, many.guide, many.x).surrogate.sum())[:, 3].var() < score[:, 3].var()


class GaussianMixture:
    """x ~ sum_m softmax(l)_m N(mean_m, 1)."""

    def __init__(self):
        self.l = torch.tensor([0.3, -0.5, 0.1]).double().requires_grad_()
        self.mean = torch.tensor([-1.0, 0.4, 2.0]).double().requires_grad_()
        self.parameters = self.l, self.mean

    def model(self, x):
        with pyro.plate("data", len(x)):
            m = pyro.sample("m", dist.Categorical(logits=self.l))
            pyro.sample("x", dist.Normal(self.mean[m], 1.0), obs=x)

    def guide(self, x):
        pass


def test_a_model_summed_out_whole_gives_its_evidence():
    pair = GaussianMixture()
    terms = Enum().terms(pair.model, pair.guide, X)
    exact = (pair.l.log_softmax(0) + dist.Normal(pair.mean, 1.0).log_prob(X[:, None])).logsumexp(1)
    assert torch.allclose(terms.surrogate, exact) and torch.allclose(terms.elbo, exact)
    assert torch.allclose(
        differentiate(terms.surrogate.sum(), *pair.parameters), differentiate(exact.sum(), *pair.parameters)
    )


class MixturePrior:
    """z ~ sum_m softmax(l)_m N(mean_m, 1), x | z, m ~ N(z + shift_m, 1), and a guide of z alone."""

    def __init__(self):
        self.l = torch.tensor([0.3, -0.5]).double().requires_grad_()
        self.mean = torch.tensor([-1.5, 2.0]).double().requires_grad_()
        self.q = torch.tensor([0.5, 0.2, -0.3]).double().requires_grad_()
        self.shift = torch.tensor([0.0, 0.8]).double()
        self.parameters = self.l, self.mean, self.q

    def model(self, x):
        with pyro.plate("data", len(x)):
            m = pyro.sample("m", dist.Categorical(logits=self.l))
            z = pyro.sample("z", dist.Normal(self.mean[m], 1.0))
            pyro.sample("x", dist.Normal(z + self.shift[m], 1.0), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.q[0] * x + self.q[1], self.q[2].exp()))

    def log_w(self, x, noise):
        loc, scale = self.q[0] * x + self.q[1], self.q[2].exp()
        z = loc + scale * noise
        joint = [
            self.l.log_softmax(0)[m]
            + dist.Normal(self.mean[m], 1.0).log_prob(z)
            + dist.Normal(z + self.shift[m], 1.0).log_prob(x)
            for m in range(2)
        ]
        return torch.stack(joint).logsumexp(0) - dist.Normal(loc, scale).log_prob(z)


@pytest.mark.parametrize("k", [1, 4])
def test_a_mixture_prior_summed_out_under_a_continuous_guide(k):
    pair = MixturePrior()
    noise, weights = (torch.as_tensor(a) for a in np.polynomial.hermite_e.hermegauss(60))
    exact = (weights[:, None] / math.sqrt(2 * math.pi) * pair.log_w(X, noise[:, None])).sum(0)
    gradient = differentiate(exact.sum(), *pair.parameters)
    assert gradient.abs().min() > 0.01
    draws = [Enum(k).terms(pair.model, pair.guide, X) for _ in range(300)]
    within(torch.stack([t.surrogate.detach() for t in draws]), exact.detach())
    within(torch.stack([t.elbo.detach() for t in draws]), exact.detach())
    within(torch.stack([differentiate(t.surrogate.sum(), *pair.parameters) for t in draws]), gradient)


def test_pyro_sums_the_mixture_out_alike():
    pair = MixturePrior()
    model = pyro.infer.config_enumerate(pair.model, "parallel")
    theirs = [pyro.infer.TraceEnum_ELBO(max_plate_nesting=1).loss(model, pair.guide, X) for _ in range(200)]
    ours = [Enum().loss(pair.model, pair.guide, X) for _ in range(200)]
    within(torch.tensor(ours) - torch.tensor(theirs), 0.0)


def test_the_posterior_as_guide_gives_the_evidence_without_noise():
    """z | x of a mixture with one component is Normal: log w is log p(x) whatever z."""

    def model(x):
        with pyro.plate("data", len(x)):
            m = pyro.sample("m", dist.Bernoulli(0.3))
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)
            pyro.sample("y", dist.Normal(m, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, math.sqrt(0.5)))

    log_y = torch.stack([dist.Normal(m, 1.0).log_prob(X) + math.log(p) for m, p in ((0.0, 0.7), (1.0, 0.3))])
    expected = dist.Normal(0.0, math.sqrt(2)).log_prob(X) + log_y.logsumexp(0)
    for k in (1, 5):
        assert torch.allclose(Enum(k).terms(model, guide, X).surrogate, expected, atol=1e-6)


def test_guide_and_model_sites_side_by_side():
    """v of the guide, m of the model alone, c sampled: against the sum by hand at the same c."""
    a = torch.tensor([0.4, -0.8, 0.6]).double().requires_grad_()

    def model(x):
        with pyro.plate("data", len(x)):
            v = pyro.sample("v", dist.Bernoulli(0.3))
            m = pyro.sample("m", dist.Categorical(torch.tensor([0.2, 0.5, 0.3]).double()))
            pyro.sample("x", dist.Normal(v * a[0] + m * a[1], 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("v", dist.Bernoulli(logits=a[2] * x))

    total = 0
    for v in (0.0, 1.0):
        q = dist.Bernoulli(logits=a[2] * X).log_prob(torch.tensor(v).double())
        inner = [math.log(p) + dist.Normal(v * a[0] + m * a[1], 1.0).log_prob(X) for m, p in enumerate((0.2, 0.5, 0.3))]
        total = total + q.exp() * (torch.stack(inner).logsumexp(0) + math.log((0.7, 0.3)[int(v)]) - q)
    terms = Enum(2).terms(model, guide, X)
    assert torch.allclose(terms.surrogate, total) and torch.allclose(terms.elbo, terms.reconstruction - terms.kl)
    assert torch.allclose(differentiate(terms.surrogate.sum(), a), differentiate(total.sum(), a))


@pytest.mark.parametrize(("prior", "posterior", "dim"), [("OneHotCategorical",) * 2 + (4,), ("Bernoulli",) * 2 + (3,)])
def test_the_packages_own_discrete_parts(prior, posterior, dim):
    torch.manual_seed(0)
    model = vae(
        dim,
        (5,),
        getattr(priors, prior)(dim),
        getattr(posteriors, posterior)(networks.MLP(5, [4]), dim),
        likelihoods.Bernoulli(networks.MLP(dim, [4]), 5),
    )
    x = torch.rand(3, 5).round()
    values = torch.eye(4) if dim == 4 else torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    log_q = torch.stack([model.posterior(x).log_prob(z.expand(3, -1)) for z in values])
    log_p = torch.stack([model.prior().log_prob(z) + model.likelihood(z.expand(3, -1)).log_prob(x) for z in values])
    exact = (log_q.exp() * (log_p - log_q)).sum(0)
    terms = Enum().terms(model.model, model.guide, x)
    assert torch.allclose(terms.surrogate, exact, atol=1e-5)
    ps = list(model.parameters())
    assert torch.allclose(differentiate(terms.surrogate.sum(), *ps), differentiate(exact.sum(), *ps), atol=1e-5)
    assert SVI(model, Enum(), beta=2.0)(x).value.isfinite()


def test_beta_has_no_meaning_where_the_model_alone_is_summed():
    pair = GaussianMixture()
    with pytest.raises(ValueError, match="beta is not defined for site m, which only the model has"):
        Enum().terms(scale_latents(pair.model, 2.0), scale_latents(pair.guide, 2.0), X)


def refused(match, model, guide, x=X):
    with pytest.raises(ValueError, match=match):
        Enum(max_plate_nesting=2).terms(model, guide, x)


def test_sites_that_cannot_be_listed_are_refused():
    def of(p, observed=True):
        def program(x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", p)
                if observed:
                    pyro.sample("x", dist.Normal(z.sum(-1) if p.event_dim else z, 1.0), obs=x)

        return program, lambda x: of(p, False)[0](x) if observed else None

    refused("site z is a Poisson, whose values cannot be listed; use VIMCO, NVIL, RWS or", *of(dist.Poisson(2.0)))
    bits = dist.Bernoulli(torch.full((20,), 0.5)).to_event(1)
    refused(r"more than 4096 joint values \(2\^20 of z\); use VIMCO, NVIL or RWS", *of(bits))

    def two(x, observed=True):
        with pyro.plate("data", len(x)):
            a, b = (pyro.sample(name, dist.Categorical(torch.ones(70))) for name in "ab")
            if observed:
                pyro.sample("x", dist.Normal(a + b, 1.0), obs=x)

    refused(r"more than 4096 joint values \(70 of a x 70 of b\)", two, lambda x: two(x, False))

    def alone(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(pyro.sample("c", dist.Normal(0.0, 1.0)), 1.0), obs=x)

    refused("site c is a Normal, whose values cannot be listed", alone, lambda x: None)


def test_sites_that_depend_on_others_from_outside_their_plates_are_refused():
    def nested(x, observed=True):
        with pyro.plate("data", len(x)):
            with pyro.plate("entries", 2):
                z = pyro.sample("z", dist.Bernoulli(0.3))
            if observed:
                pyro.sample("x", dist.Normal(z.sum(-2), 1.0), obs=x)

    refused(
        "the values of site z are in a dimension .* fail with it .*; .* put sites that depend on z into its plates",
        nested,
        lambda x: nested(x, False),
    )

    def outside(x, observed=True):
        z = pyro.sample("z", dist.Bernoulli(0.3))
        if observed:
            with pyro.plate("data", len(x)):
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    refused("site z is outside the plate data", outside, lambda x: outside(x, False))


def test_values_that_the_guide_never_takes_add_nothing():
    a = torch.tensor([0.3, -0.4]).double().requires_grad_()

    def program(x, logits, observed=True):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Categorical(logits=logits))
            if observed:
                pyro.sample("x", dist.Normal(z * a[0], 1.0), obs=x)

    never = torch.tensor([0.0, 0.0, -math.inf]).double()
    terms = Enum().terms(
        lambda x: program(x, torch.zeros(3).double()), lambda x: program(x, torch.cat([a * 1, never[2:]]), False), X
    )
    log_q = a.log_softmax(0)
    log_x = dist.Normal(torch.arange(2) * a[0], 1.0).log_prob(X[:, None])
    exact = (log_q.exp() * (log_x - math.log(3) - log_q)).sum(1)
    assert torch.allclose(terms.surrogate, exact)
    assert torch.allclose(differentiate(terms.surrogate.sum(), a), differentiate(exact.sum(), a))


@pytest.mark.parametrize("guided", [True, False])
@pytest.mark.parametrize("inner", [True, False])
def test_continuous_sites_outside_the_data_plate_belong_to_all_data(guided, inner):
    """A mean shared by six data, of which three are seen, and by their entries; z of each, or of each entry."""
    a = torch.tensor([0.4, -0.7, 0.5, -0.3, 0.8]).double().requires_grad_()
    entries = torch.stack([X, -X]) if inner else X

    def plates(x):
        data = pyro.plate("data", 6, dim=-1, subsample=torch.tensor([0, 1, 2]))
        return (data, pyro.plate("entries", 2, dim=-2)) if inner else (data, contextlib.nullcontext())

    def model(x):
        mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
        data, more = plates(x)
        with data, more:
            z = pyro.sample("z", dist.Bernoulli(logits=a[0]))
            pyro.sample("x", dist.Normal(mean + a[1] * z, 1.0), obs=x)

    def guide(x):
        pyro.sample("mean", dist.Normal(a[2], a[3].exp()))
        data, more = plates(x)
        with data, more:
            if guided:
                pyro.sample("z", dist.Bernoulli(logits=a[4] * x))

    noise, weights = (torch.as_tensor(t) for t in np.polynomial.hermite_e.hermegauss(60))
    means = (a[2] + a[3].exp() * noise).reshape(-1, *(1,) * entries.dim())
    z = torch.tensor([0.0, 1.0]).double().reshape(2, *(1,) * (1 + entries.dim()))
    log_p = dist.Bernoulli(logits=a[0]).log_prob(z) + dist.Normal(means + a[1] * z, 1.0).log_prob(entries)
    log_q = dist.Bernoulli(logits=a[4] * entries).log_prob(z)
    each = (log_q.exp() * (log_p - log_q)).sum(0) if guided else log_p.logsumexp(0)
    seen = (weights / math.sqrt(2 * math.pi) * each.reshape(60, -1).sum(1)).sum()
    exact = 2 * seen - torch.distributions.kl_divergence(dist.Normal(a[2], a[3].exp()), dist.Normal(0.0, 1.0))
    gradient = differentiate(exact, a)
    estimator = Enum()
    draws = [-estimator.differentiable_loss(model, guide, entries) for _ in range(300)]
    within(torch.stack(draws).detach(), exact.item())
    within(torch.stack([differentiate(draw, a) for draw in draws]), gradient)
