import pyro
import pyro.distributions as dist
import pytest
import torch
from contracts import LinearGaussian, within
from finite import Finite, iwae
from instances import vae

from ppl_vae import SVI
from ppl_vae.estimators import IWAE, RWS
from ppl_vae.estimators.tracing import _Substitute, sites

X = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))


def loss_at(seed, estimator, pair):
    torch.manual_seed(seed)
    return estimator.differentiable_loss(pair.model, pair.guide, X)


@pytest.mark.parametrize("phi", ["wake", "sleep"])
def test_the_models_gradient_and_the_value_are_iwaes_for_the_same_samples(phi):
    pair = LinearGaussian()
    ours, theirs = loss_at(3, RWS(6, phi), pair), loss_at(3, IWAE(6), pair)
    assert torch.allclose(ours, theirs)
    gradients = [pair.gradient(loss) for loss in (ours, theirs)]
    assert torch.allclose(*(g[:9] for g in gradients), rtol=1e-4, atol=1e-5) and gradients[0][:9].abs().min() > 1e-3
    assert not torch.allclose(*(g[9:] for g in gradients), atol=0.1)


def test_the_guides_gradient_is_the_weighted_score_datum_by_datum():
    pair = LinearGaussian()
    ours = pair.gradient(loss_at(3, RWS(6), pair))[9:]
    torch.manual_seed(3)
    traced = sites(pair.model, pair.guide, (X,), 6)
    z = traced.guide["z"]["value"].detach()
    q = dist.Normal(X @ pair.a.T + pair.c, pair.t).to_event(1)
    log_p = dist.Normal(z @ pair.w.T + pair.b, pair.s).to_event(1).log_prob(X)
    log_w = log_p + dist.Normal(torch.zeros(2), 1.0).to_event(1).log_prob(z) - q.log_prob(z)
    w = log_w.exp().detach() / log_w.exp().detach().sum(0)
    expected = -(w * q.log_prob(z)).sum()
    assert torch.allclose(ours, pair.gradient(expected)[9:], rtol=1e-4, atol=1e-4)


def test_a_batch_of_two_is_the_sum_of_two_batches_of_one():
    pair, x = LinearGaussian(), X[:2]
    torch.manual_seed(3)
    z = sites(pair.model, pair.guide, (x,), 6).guide["z"]["value"].detach()

    def gradient(rows):
        guide = _Substitute({"z": z[:, rows]})(pair.guide)
        return pair.gradient(RWS(6, max_plate_nesting=1).differentiable_loss(pair.model, guide, x[rows]))

    assert torch.allclose(gradient([0, 1]), gradient([0]) + gradient([1]), rtol=1e-4, atol=1e-4)


def wake_phi(pair, k):
    """E sum_k w~_k grad log q(z_k) by enumeration of K-tuples: a constant times an average over tuples."""
    _, _, log_q = pair.listed()
    detached = log_q.detach()
    tuples = torch.cartesian_prod(*[torch.arange(len(log_q))] * k).reshape(-1, k)
    log_x, log_p, _ = pair.listed()
    log_w = (log_x + log_p - log_q).detach()[tuples]
    mean = detached[tuples].sum(1).exp() @ (log_w.softmax(1) * log_q[tuples]).sum(1)
    return pair.gradient(mean)[0, 3:]


def posterior_phi(pair):
    """-grad KL(p(z | x) || q(z | x))."""
    log_x, log_p, log_q = pair.listed()
    return pair.gradient(((log_x + log_p).softmax(0).detach() * log_q).sum())[0, 3:]


@pytest.mark.parametrize("kind", ["categorical", "bits"])
def test_wake_phi_is_biased_and_less_so_with_more_samples(kind):
    one, many = Finite(kind), Finite(kind, 20000)
    exact = posterior_phi(one)
    assert exact.abs().max() > 0.1
    bias = []
    for k in (2, 3, 20):
        terms = RWS(k).terms(many.model, many.guide, many.x)
        draws = many.gradient(terms.surrogate.sum())[:, 3:]
        if k < 4:
            within(draws, wake_phi(one, k))
            within(terms.surrogate.detach(), one.exact(k, iwae).item())
        error = draws.std(0) / len(draws) ** 0.5
        bias.append((draws.mean(0) - exact).norm().item())
        assert k == 20 or ((draws.mean(0) - exact).abs() > 4 * error).any()
    assert bias[0] > bias[1] > 3 * bias[2]


class Dreaming(Finite):
    """A finite x as well: x | z ~ Bernoulli(logits = the z-th of theta)."""

    def likelihood(self, z):
        return dist.Bernoulli(logits=super().likelihood(z).mean)

    def both(self):
        """log p(z, x) and log q(z | x) for every z and x, (V, 2) each."""
        log_joint, log_q = [], []
        for x in (0.0, 1.0):
            self.x = torch.full_like(self.x, x)
            log_x, log_p, q = self.listed()
            log_joint.append(log_x + log_p)
            log_q.append(q)
        return torch.stack(log_joint, -1), torch.stack(log_q, -1)


@pytest.mark.parametrize("kind", ["categorical", "bits"])
def test_sleep_phi_is_unbiased_at_the_models_own_data(kind):
    one, many = Dreaming(kind), Dreaming(kind, 20000)
    log_joint, log_q = one.both()
    exact = one.gradient((log_joint.exp().detach() * log_q).sum())[0, 3:]
    assert exact.abs().min() > 0.01
    many.x = torch.ones_like(many.x)  # the user's data, which sleep does not look at
    draws = many.gradient(RWS(2, "sleep").terms(many.model, many.guide, many.x).surrogate.sum())
    within(draws[:, 3:], exact)
    one.x = torch.ones_like(one.x)
    within(draws[:, :3], one.gradient(one.exact(2, iwae))[0, :3])


def test_dreams_of_two_dependent_sites():
    a = torch.tensor([0.4, -0.3, 0.7], requires_grad=True)

    def model(x):
        with pyro.plate("data", len(x)):
            u = pyro.sample("u", dist.Bernoulli(0.3))
            v = pyro.sample("v", dist.Bernoulli(0.2 + 0.5 * u))
            pyro.sample("x", dist.Bernoulli(0.1 + 0.3 * u + 0.5 * v), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            u = pyro.sample("u", dist.Bernoulli(logits=a[0] * x + a[1]))
            pyro.sample("v", dist.Bernoulli(logits=a[2] * u + a[0] * x))

    u, v, x = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3).T
    log_p = dist.Bernoulli(0.3).log_prob(u) + dist.Bernoulli(0.2 + 0.5 * u).log_prob(v)
    p = (log_p + dist.Bernoulli(0.1 + 0.3 * u + 0.5 * v).log_prob(x)).exp()
    log_q = dist.Bernoulli(logits=a[0] * x + a[1]).log_prob(u) + dist.Bernoulli(logits=a[2] * u + a[0] * x).log_prob(v)
    exact = torch.autograd.grad((p * log_q).sum(), a)[0]
    draws = []
    for _ in range(200):
        terms = RWS(2, "sleep").terms(model, guide, torch.ones(200))
        draws.append(torch.autograd.grad(terms.surrogate.mean(), a)[0])
    within(torch.stack(draws), exact)


def test_refusals():
    with pytest.raises(ValueError, match="num_particles is 1, but RWS compares samples .* needs at least 2"):
        RWS(1)
    with pytest.raises(ValueError, match="phi 'slep' is unknown; choose from sleep, wake .did you mean sleep"):
        RWS(phi="slep")
    with pytest.raises(ValueError, match="beta is 0.5, but RWS is defined only at beta = 1: both phases"):
        SVI(vae(), RWS(), beta=0.5)
    with pytest.raises(ValueError, match="beta is a schedule, but RWS"):
        SVI(vae(), RWS(), beta=lambda step: 1.0)


def test_what_sleep_cannot_dream_is_refused():
    pair, sleep = LinearGaussian(), RWS(2, "sleep")
    match = "needs a model with one observed site, whose value is its whole first argument; this one observes x, so"
    with pytest.raises(ValueError, match=match):
        sleep.terms(pair.model, pair.guide, x=X)

    def few(x):
        with pyro.plate("data", len(x), subsample_size=2) as i:
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[i])

    def guide(x):
        with pyro.plate("data", len(x), subsample_size=2):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match=match):
        sleep.terms(few, guide, X[:, 0])

    def two(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            for name in ("x", "x2"):
                pyro.sample(name, dist.Normal(z[..., 0], 1.0), obs=x[:, 0])

    with pytest.raises(ValueError, match="this one observes x and x2, so use phi='wake'"):
        sleep.terms(two, pair.guide, X)

    def helped(x):
        with pyro.plate("data", len(x)):
            h = pyro.sample("h", dist.Normal(0.0, 1.0), infer={"is_auxiliary": True})
            pyro.sample("z", dist.Normal(h[..., None].expand(*h.shape, 2), pair.t).to_event(1))

    with pytest.raises(ValueError, match="samples only the model's latent sites, but this one also samples h;"):
        sleep.terms(pair.model, helped, X)
    assert RWS(2).terms(pair.model, helped, X).surrogate.isfinite().all()
