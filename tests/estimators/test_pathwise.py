"""Gradients without the score of q: against quadrature, against IWAE's, and where the guide is the posterior."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from contracts import LinearGaussian, within
from instances import shaken, vae
from pyro import poutine
from quadrature import DOUBLE, Chain, Line, draws, exact, grid, normal, off

from ppl_vae import handlers, likelihoods, networks, posteriors, priors
from ppl_vae.estimators import IWAE, STL, DReG, TailAdaptive, TraceELBO

R = 20_000
X = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
BETAS = pytest.mark.parametrize("beta", [0.0, 0.25, 1.0, 4.0])
FAMILIES = pytest.mark.parametrize("family", [Line, Chain])


def log_mean_exp(log_w):
    return log_w.logsumexp(0) - math.log(len(log_w))


def elbo(log_w):
    return log_w.mean(0)


def agrees(family, estimator, bound, k, beta):
    """Value and every gradient within 4 standard errors of the integral, and all but two large enough to matter."""
    expected, gradient = exact(family, bound, k, beta)
    values, gradients = draws(estimator, family(R), beta)
    assert abs(off(values, expected)) < 4
    for name, g in gradients.items():
        if beta == 0 and name == "r":  # a parameter of the prior
            assert (g == 0).all()
        else:
            assert abs(off(g, gradient[name])) < 4, name
    assert sum(abs(g) > 0.01 for g in gradient.values()) >= len(gradient) - 2


@FAMILIES
@BETAS
@pytest.mark.parametrize("k", [1, 2, 7])
def test_stl_is_unbiased_at_every_k(family, k, beta):
    agrees(family, STL(k), elbo, 1, beta)


@FAMILIES
@BETAS
@pytest.mark.parametrize("k", [1, 2, 3])
def test_dreg_is_unbiased_for_the_iwae_bound(family, k, beta):
    if family is Chain and k == 3:
        pytest.skip("an integral over six variables; test_dreg_against_iwae_at_larger_k")
    agrees(family, DReG(k), log_mean_exp, k, beta)


@FAMILIES
@BETAS
def test_dreg_against_iwae_at_larger_k(family, beta):
    (a, dreg), (b, iwae) = draws(DReG(8), family(R), beta), draws(IWAE(8), family(R), beta, seed=1)
    assert abs(a.mean() - b.mean()) < 4 * math.sqrt((a.var() + b.var()) / R)
    for name in dreg:
        error = math.sqrt((dreg[name].var() + iwae[name].var()) / R)
        assert abs(dreg[name].mean() - iwae[name].mean()) <= 4 * error, name


@FAMILIES
def test_dreg_with_one_sample_is_stl(family):
    (a, dreg), (b, stl) = draws(DReG(1), family(50)), draws(STL(1), family(50))
    assert torch.allclose(a, b) and all(torch.allclose(dreg[name], stl[name]) for name in stl)
    (a, stl_of_iwae) = draws(IWAE(1, "stl"), family(50))
    assert torch.allclose(a, b) and all(torch.allclose(stl_of_iwae[name], stl[name]) for name in stl)


@FAMILIES
@pytest.mark.parametrize(
    "estimator", [STL(1), STL(5), DReG(1), DReG(5), IWAE(5, "stl"), TailAdaptive(5)], ids=lambda e: type(e).__name__
)
def test_no_variance_at_the_exact_posterior(family, estimator):
    _, gradients = draws(estimator, family.at_posterior(500))
    assert all(gradients[name].abs().max() < 1e-12 for name in family.encoder)
    assert all(gradients[name].std() > 1e-3 for name in ("w", "b"))
    _, reparameterised = draws(TraceELBO(5), family.at_posterior(500))
    assert all(reparameterised[name].std() > 0.1 for name in family.encoder if name not in ("h",))


def test_stl_has_no_variance_at_the_exact_posterior_in_float32():
    pair = LinearGaussian(noise=1.0)
    with torch.no_grad():
        pair.w.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]))  # W'W diagonal
        precision = 1 + pair.w.square().sum(0)
        pair.a.copy_(pair.w.T / precision[:, None])
        pair.c.copy_(-pair.a @ pair.b)
        pair.t.copy_(precision.rsqrt())
    seen = {}
    for estimator in (STL(3), DReG(3), TraceELBO(3)):
        gradients = [pair.gradient(estimator.terms(pair.model, pair.guide, X).surrogate.sum()) for _ in range(20)]
        seen[type(estimator)] = torch.stack(gradients)[:, -10:].std(0)  # a, c and t
    assert seen[STL].max() < 1e-5 and seen[DReG].max() < 1e-5 and seen[TraceELBO].min() > 0.1


def signal(estimator, seed=0, size=10_000):
    _, gradients = draws(estimator, Line(size, a=0.65, c=-0.2, t=0.65), seed=seed)
    return {name: (g.mean().abs() / g.std()).item() for name, g in gradients.items()}


def test_dregs_signal_grows_like_the_root_of_k():
    low, high = signal(DReG(8)), signal(DReG(128), seed=1)
    # Ratios of 10 000 draws have an absolute error near 0.01, here a few percent; theory has slopes of 1/2.
    for name in low:
        slope = math.log(high[name] / low[name]) / math.log(128 / 8)
        assert abs(slope - 0.5) < 0.15, (name, slope)


def test_dreg_is_less_noisy_than_iwae():
    dreg, iwae = (draws(estimator(64), Line(R, a=0.65, c=-0.2, t=0.65))[1] for estimator in (DReG, IWAE))
    for name in Line.encoder:
        assert dreg[name].std() < 0.2 * iwae[name].std()
        assert abs(off(dreg[name], 0.0)) > 20  # and there is something to estimate
    for name in ("w", "b"):
        assert torch.allclose(dreg[name], iwae[name])


def test_one_sample_more_for_every_hook():
    """The hooks scale what reaches the guide, not the log-likelihood's or the prior's own parameters."""
    pair, k = Line(4), 3
    torch.manual_seed(0)
    surrogate = DReG(k).terms(pair.model, pair.guide, pair.x).surrogate
    gradients = dict(zip(pair.p, torch.autograd.grad(surrogate.sum(), list(pair.p.values())), strict=True))
    torch.manual_seed(0)
    eps = torch.randn(k, 4, dtype=DOUBLE)
    w, b, a, c, t = (pair.p[name].detach() for name in "wbact")
    z = a * pair.x + c + t * eps
    log_w = normal(pair.x, w * z + b, 0.6) + normal(z, 0.0, 1.0) - normal(eps, 0.0, 1.0) + t.log()
    share = log_w.softmax(0)
    path = (pair.x - w * z - b) * w / 0.36 - z + eps / t  # of log w, through z
    residual = (pair.x - w * z - b) / 0.36
    expected = {
        "a": (share**2 * path * pair.x).sum(0),
        "c": (share**2 * path).sum(0),
        "t": (share**2 * path * eps).sum(0),
        "w": (share * residual * z).sum(0),
        "b": (share * residual).sum(0),
    }
    assert torch.allclose(surrogate, log_mean_exp(log_w))
    assert all(torch.allclose(gradients[name], expected[name]) for name in expected)


# Tail-adaptive f-divergence: its own definition, twice.


def counted(log_w):
    """K gamma of one datum by counting, a list: 1 over the share of samples at least as heavy, normalised."""
    tails = [sum(other >= own for other in log_w) / len(log_w) for own in log_w]
    total = sum(1 / tail for tail in tails)
    return [len(log_w) / tail / total for tail in tails]


def sorted_out(log_w):
    """The same by one sort of the distinct weights."""
    distinct, inverse, counts = log_w.unique(return_inverse=True, return_counts=True)
    above = counts.flip(0).cumsum(0).flip(0)
    weight = 1.0 / above[inverse].double()
    return weight / weight.mean()


def test_tail_weights_by_hand():
    assert counted([3.0, 1.0, 2.0]) == pytest.approx([3 * 6 / 11, 3 * 2 / 11, 3 * 3 / 11])
    assert counted([2.0, 2.0, 1.0, 0.0]) == pytest.approx([4 * 6 / 19, 4 * 6 / 19, 4 * 4 / 19, 4 * 3 / 19])
    assert sorted_out(torch.tensor([2.0, 2.0, 1.0, 0.0])).tolist() == pytest.approx(counted([2.0, 2.0, 1.0, 0.0]))


@pytest.mark.parametrize("ties", [False, True])
def test_tail_adaptive_is_its_own_definition(ties, monkeypatch):
    pair, k = Line(6), 5
    eps = torch.randn(k, 6, dtype=DOUBLE)
    if ties:
        eps[2] = eps[0]
        eps[3, ::2] = eps[4, ::2]
    monkeypatch.setattr("torch.distributions.normal._standard_normal", lambda *_, **__: eps)
    terms = TailAdaptive(k, max_plate_nesting=1).terms(pair.model, pair.guide, pair.x)
    gradients = dict(zip(pair.p, torch.autograd.grad(terms.surrogate.sum(), list(pair.p.values())), strict=True))
    w, b, a, c, t = (pair.p[name].detach() for name in "wbact")
    z = a * pair.x + c + t * eps
    log_w = normal(pair.x, w * z + b, 0.6) + normal(z, 0.0, 1.0) - normal(eps, 0.0, 1.0) + t.log()
    gamma = torch.stack([torch.tensor(counted(column.tolist()), dtype=DOUBLE) for column in log_w.T], 1)
    assert torch.allclose(gamma, torch.stack([sorted_out(column) for column in log_w.T], 1))
    assert ties == bool((gamma[0] == gamma[2]).all())
    path = (pair.x - w * z - b) * w / 0.36 - z + eps / t
    assert torch.allclose(terms.surrogate, log_w.mean(0)) and torch.allclose(terms.elbo, log_w.mean(0))
    assert torch.allclose(gradients["c"], (gamma * path).mean(0))
    assert torch.allclose(gradients["a"], (gamma * path * pair.x).mean(0))
    assert torch.allclose(gradients["t"], (gamma * path * eps).mean(0))
    assert torch.allclose(gradients["b"], ((pair.x - w * z - b) / 0.36).mean(0))


@FAMILIES
def test_tail_adaptive_has_the_elbos_value_and_decoder_but_not_its_guide(family):
    expected, gradient = exact(family, elbo, 1)
    values, gradients = draws(TailAdaptive(5), family(R))
    assert abs(off(values, expected)) < 4
    assert all(abs(off(gradients[name], gradient[name])) < 4 for name in family(1).decoder)
    assert max(abs(off(gradients[name], gradient[name])) for name in family.encoder) > 10


def test_tail_adaptive_covers_mass():
    """Its guide is widened where the ELBO's is content: at the best Normal guide of a posterior with heavier tails."""
    pair = Line.at_posterior(R)
    narrow = Line(R, **{**{name: pair.p[name][0].item() for name in pair.p}, "t": 0.5 * pair.t[0].item()})
    tail, plain = draws(TailAdaptive(10), narrow)[1], draws(STL(10), narrow)[1]
    assert tail["t"].mean() > plain["t"].mean() > 0


# Programs of the package: a prior that shares the encoder's parameters, flows, layers.


def flat_gradient(scalar, ps):
    gradients = torch.autograd.grad(scalar, ps, allow_unused=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(ps, gradients, strict=True)])


def vamp():
    torch.manual_seed(2)
    posterior = posteriors.Normal(networks.MLP((2,), [4], "tanh"), 1)
    prior = priors.VampPrior(posterior, 3, inputs="real")
    likelihood = likelihoods.Normal(networks.MLP(1, [4], "tanh"), (2,), scale=0.5)
    return shaken(vae(1, (2,), prior, posterior, likelihood).double())


def vamp_exact(model, x, bound, k, beta, nodes=60):
    """A K-sample bound of a one-dimensional VAE, (B,)."""
    points, weights = grid(k, nodes)
    eps = points[:, :, None]  # (K, G, 1)
    q = model.posterior(x).base_dist
    z = q.loc[..., 0] + q.scale[..., 0] * eps
    log_q = normal(eps, 0.0, 1.0) - q.scale[..., 0].log()
    kl = log_q - model.prior().log_prob(z[..., None])
    return (weights[:, None] * bound(model.likelihood(z[..., None]).log_prob(x) - beta * kl)).sum(0)


@pytest.mark.parametrize("beta", [0.25, 1.0, 4.0])
@pytest.mark.parametrize(
    ("estimator", "bound", "k"),
    [(STL(3), elbo, 1), (DReG(2), log_mean_exp, 2), (TraceELBO(2), elbo, 1), (IWAE(2), log_mean_exp, 2)],
    ids=["STL", "DReG", "TraceELBO", "IWAE"],
)
def test_a_prior_that_shares_the_encoders_parameters(estimator, bound, k, beta):
    model, x = vamp(), torch.tensor([[0.5, -1.0]], dtype=DOUBLE)
    ps = list(model.parameters())
    expected = vamp_exact(model, x, bound, k, beta)[0]
    gradient = flat_gradient(expected, ps)
    programs = [handlers.scale_latents(program, beta) for program in (model.model, model.guide)]
    torch.manual_seed(0)
    means = [estimator.terms(*programs, x.expand(1000, -1)).surrogate.mean() for _ in range(60)]
    within(torch.stack(means).detach(), expected.detach())
    within(torch.stack([flat_gradient(mean, ps) for mean in means]), gradient)
    for part in (model.prior, model.posterior, model.likelihood):
        assert flat_gradient(vamp_exact(model, x, bound, k, beta)[0], list(part.parameters())).abs().max() > 0.01


GUIDES = {
    "coupling": lambda: posteriors.Flow(networks.MLP((2,), [4], "tanh"), 2, "coupling", context=3),
    "autoregressive": lambda: posteriors.Flow(networks.MLP((2,), [4], "tanh"), 2, "autoregressive", context=3),
    "layers": lambda: posteriors.Hierarchical(networks.MLP((2,), [4], "tanh"), 2, hidden=(4,)),
    "log-normal": lambda: posteriors.LogNormal(networks.MLP((2,), [4], "tanh"), 2),
    "beta": lambda: posteriors.Beta(networks.MLP((2,), [4], "tanh"), 2),
    "simplex": lambda: posteriors.Dirichlet(networks.MLP((2,), [4], "tanh"), 2),
}
PRIORS = {
    "log-normal": priors.LogNormal,
    "beta": priors.Beta,
    "simplex": priors.Dirichlet,
    "layers": priors.Hierarchical,
}


@pytest.mark.parametrize("name", GUIDES)
@pytest.mark.parametrize(("ours", "plain"), [(STL(4), TraceELBO(4)), (DReG(4), IWAE(4))], ids=["STL", "DReG"])
def test_flows_layers_and_implicit_gradients_against_the_plain_estimator(name, ours, plain):
    torch.manual_seed(4)
    likelihood = likelihoods.Normal(networks.MLP(2, [4], "tanh"), (2,), scale=0.7)
    prior = PRIORS.get(name, priors.Normal)(2)
    model = shaken(vae(2, (2,), prior, GUIDES[name](), likelihood).double())
    x = torch.tensor([[0.5, -1.0]], dtype=DOUBLE).expand(200, -1)
    programs = [handlers.scale_latents(program, 0.6) for program in (model.model, model.guide)]
    ps = list(model.parameters())
    gradients = []
    for estimator in (ours, plain):
        means = [estimator.terms(*programs, x).surrogate.mean() for _ in range(25)]
        gradients.append(torch.stack([flat_gradient(mean, ps) for mean in means]))
    a, b = gradients
    error = ((a.var(0) + b.var(0)) / 25).sqrt()
    assert ((a.mean(0) - b.mean(0)).abs() <= 5 * error + 1e-9).all()
    posterior = flat_gradient(plain.terms(*programs, x).surrogate.mean(), list(model.posterior.parameters()))
    assert posterior.abs().max() > 0.05
    assert not torch.allclose(a.mean(0), b.mean(0), atol=1e-6)  # two estimators, not one


class Shared(torch.nn.Module):
    """A global mean g above local z, which depends on it in model and guide; sub-sampled where ``rows`` are given."""

    rows = None

    def __init__(self):
        super().__init__()
        self.m, self.a, self.t, self.b = (torch.nn.Parameter(torch.tensor(v).double()) for v in (0.4, 0.5, 0.6, 0.2))

    def plate(self, x):
        return pyro.plate("data", len(x), subsample=self.rows)

    def model(self, x):
        g = pyro.sample("g", dist.Normal(x.new_zeros(()), 1.0))
        with self.plate(x) as i:
            z = pyro.sample("z", dist.Normal(g, 1.0))
            pyro.sample("x", dist.Normal(z + self.b, 0.7), obs=x[i])

    def guide(self, x):
        g = pyro.sample("g", dist.Normal(self.m, self.t))
        with self.plate(x) as i:
            pyro.sample("z", dist.Normal(self.a * x[i] + 0.3 * g * self.a, 0.5 + 0.1 * g.tanh()))


def test_stl_of_a_global_latent_and_locals_that_depend_on_it():
    pair, x = Shared(), torch.tensor([0.3, -1.0, 2.0]).double()
    ps = list(pair.parameters())
    points, weights = grid(2, 60)
    g = pair.m + pair.t * points[0]
    scale = 0.5 + 0.1 * g.tanh()
    total = (weights * (normal(g, 0.0, 1.0) - normal(points[0], 0.0, 1.0) + pair.t.log())).sum()
    for value in x:
        z = pair.a * value + 0.3 * g * pair.a + scale * points[1]
        log_w = normal(value, z + pair.b, 0.7) + normal(z, g, 1.0) - normal(points[1], 0.0, 1.0) + scale.log()
        total = total + (weights * log_w).sum()
    expected = flat_gradient(total, ps)
    assert (expected.abs() > 0.1).sum() >= 3
    many = [STL(50).terms(pair.model, pair.guide, x).surrogate.sum() for _ in range(400)]
    within(torch.stack(many).detach(), total.detach())
    within(torch.stack([flat_gradient(value, ps) for value in many]), expected)
    # Sub-samples keep their rows when the guide is run again; their mean over all pairs is the whole.
    for rows in ([0, 1], [1, 2], [0, 2]):
        pair.rows = torch.tensor(rows)
        losses = [STL(200).differentiable_loss(pair.model, pair.guide, x) for _ in range(40)]
        means = [TraceELBO(200).differentiable_loss(pair.model, pair.guide, x) for _ in range(40)]
        a, b = (torch.stack([flat_gradient(loss, ps) for loss in which]) for which in (losses, means))
        assert ((a.mean(0) - b.mean(0)).abs() < 4.5 * ((a.var(0) + b.var(0)) / 40).sqrt()).all()


def test_random_subsamples_are_the_same_when_the_guide_runs_again():
    seen = []

    class Random(Shared):
        def plate(self, x):
            return pyro.plate("data", len(x), subsample_size=4)

        def guide(self, x):
            g = pyro.sample("g", dist.Normal(self.m, self.t))
            with self.plate(x) as i:
                seen.append(i)
                pyro.sample("z", dist.Normal(self.a * x[i] + g, 0.5))

    pair = Random()
    STL(3, max_plate_nesting=1).terms(pair.model, pair.guide, torch.randn(50).double())
    assert len(seen) > 1 and all(torch.equal(i, seen[0]) for i in seen)


@pytest.mark.parametrize(
    "estimator", [STL(4), DReG(4), IWAE(4, "stl"), TailAdaptive(4), IWAE(4)], ids=lambda e: type(e).__name__
)
def test_autonormal_of_a_model_with_local_latents(estimator):
    def model(x):
        b = pyro.param("b", torch.tensor(0.3, dtype=DOUBLE))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.LogNormal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z + b, 0.6), obs=x)

    guide = pyro.infer.autoguide.AutoNormal(model)
    x = torch.tensor([1.4] * 2000).double()
    guide(x)
    guide.double()
    plain = TraceELBO(4) if isinstance(estimator, STL) else IWAE(4)
    means = {}
    for which in (estimator, plain):
        guide.zero_grad()
        which.loss_and_grads(model, guide, x)
        means[which] = {name: p.grad.clone() for name, p in guide.named_parameters()}
        assert len(means[which]) == 2
    for name, g in means[estimator].items():
        other = means[plain][name]
        assert g.shape == (2000,) and g.std() > 0
        if isinstance(estimator, STL | DReG):
            assert abs(g.mean() - other.mean()) < 4 * math.sqrt((g.var() + other.var()) / 2000)


def test_auxiliary_sites_and_observations_of_the_guide():
    """A guide's helper noise u and a factor on its own sample enter log q, under every coefficient."""
    a = torch.full((R,), 0.5, dtype=DOUBLE, requires_grad=True)
    x = torch.full((R,), 1.4, dtype=DOUBLE)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z, 0.6), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            u = pyro.sample("u", dist.Normal(a * x, 0.7), infer={"is_auxiliary": True})
            z = u.exp()
            pyro.sample("z", dist.Delta(z, log_density=-u))

    results = {}
    for estimator in (TraceELBO(3), STL(3), IWAE(3), DReG(3)):
        torch.manual_seed(0)
        surrogate = estimator.terms(model, guide, x).surrogate
        results[type(estimator)] = surrogate.detach(), torch.autograd.grad(surrogate.sum(), a)[0]
    for plain, ours in ((TraceELBO, STL), (IWAE, DReG)):
        (value, g), (again, h) = results[plain], results[ours]
        assert torch.allclose(value, again)
        assert abs(g.mean() - h.mean()) < 4 * math.sqrt((g.var() + h.var()) / R) and abs(off(g, 0.0)) > 10


@pytest.mark.parametrize("estimator", [STL(3), DReG(3)], ids=["STL", "DReG"])
def test_a_factor_in_the_guide_is_weighed_like_the_rest(estimator):
    a = torch.full((R,), 0.5, dtype=DOUBLE, requires_grad=True)
    x = torch.full((R,), 1.4, dtype=DOUBLE)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z, 0.6), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(a * x, 0.7))
            pyro.factor("f", 0.5 * z.square(), has_rsample=True)

    results = []
    for which in (estimator, TraceELBO(3) if isinstance(estimator, STL) else IWAE(3)):
        torch.manual_seed(1)
        results.append(torch.autograd.grad(which.terms(model, guide, x).surrogate.sum(), a)[0])
    g, h = results
    assert abs(g.mean() - h.mean()) < 4 * math.sqrt((g.var() + h.var()) / R) and abs(off(h, 0.0)) > 5


class Entries(torch.nn.Module):
    """A plate of three entries inside the data plate, their latents h made of the datum's z; the data plate at -1, or
    at -3 to the left of the particles."""

    def __init__(self, left):
        super().__init__()
        self.left = left
        self.p = [torch.full((R,), value, dtype=DOUBLE, requires_grad=True) for value in (0.5, 0.3, 0.6)]

    def plates(self, x):
        return pyro.plate("data", len(x), dim=-3 if self.left else -1), pyro.plate(
            "entries", 3, dim=-1 - (not self.left)
        )

    def laid(self, value):
        return value[:, None, None] if self.left else value

    def model(self, x):
        data, entries = self.plates(x)
        with data:
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            with entries:
                h = pyro.sample("h", dist.Normal(z, 1.0))
                pyro.sample("x", dist.Normal(h, 0.7), obs=self.laid(x))

    def guide(self, x):
        a, c, t = self.p
        data, entries = self.plates(x)
        with data:
            z = pyro.sample("z", dist.Normal(self.laid(a * x), self.laid(t)))
            with entries:
                pyro.sample("h", dist.Normal(0.5 * z + self.laid(c * x), 0.6))


def test_plates_inside_and_to_the_left():
    x = torch.linspace(0.5, 2.0, R, dtype=DOUBLE)
    found = {}
    for left in (False, True):
        pair, nesting = Entries(left), 1 if left else 2
        for estimator in (STL, TraceELBO, DReG, IWAE, TailAdaptive):
            surrogate = estimator(4, max_plate_nesting=nesting).terms(pair.model, pair.guide, x).surrogate
            found[estimator, left] = torch.stack(torch.autograd.grad(surrogate.sum(), pair.p))
    pairs = [
        (ours, plain)
        for left in (False, True)
        for ours, plain in (((STL, left), (TraceELBO, left)), ((DReG, left), (IWAE, left)))
    ]
    pairs += [((estimator, False), (estimator, True)) for estimator in (STL, DReG, TailAdaptive)]
    for ours, theirs in pairs:
        a, b = found[ours], found[theirs]
        assert ((a.mean(1) - b.mean(1)).abs() < 4 * ((a.var(1) + b.var(1)) / R).sqrt()).all(), (ours, theirs)
    # Half the data are compared too: their gradients differ, so a scrambled order would show.
    for estimator in (DReG, TailAdaptive):
        a, b = (found[estimator, left][:, : R // 4] for left in (False, True))
        assert ((a.mean(1) - b.mean(1)).abs() < 4 * ((a.var(1) + b.var(1)) / (R // 4)).sqrt()).all()


@pytest.mark.parametrize("estimator", [STL, DReG, TailAdaptive])
@pytest.mark.parametrize("k", [0, -2, 1.5, True, None, "5"])
def test_bad_particles(estimator, k):
    with pytest.raises(ValueError, match="^num_particles must be a whole number of at least 1"):
        estimator(num_particles=k)


def test_one_sample_has_no_rank():
    with pytest.raises(ValueError, match="^num_particles is 1, but TailAdaptive compares samples .* at least 2$"):
        TailAdaptive(1)


@pytest.mark.parametrize("beta", [0.5, torch.tensor(1.0)])
def test_tail_adaptive_refuses_a_beta(beta):
    pair = Line(3)
    model, guide = (handlers.scale_latents(program, beta) for program in (pair.model, pair.guide))
    with pytest.raises(ValueError, match="TailAdaptive is defined only at beta = 1: it fits q .*take any beta$"):
        TailAdaptive().terms(model, guide, pair.x)


def test_a_beta_for_each_site():
    pair = Chain(R)

    def model(x):
        with pyro.plate("data", len(x)):
            z1 = pyro.sample("z1", dist.Normal(x.new_zeros(()), 1.0))
            with handlers.ScaleLatents(0.5):
                z2 = pyro.sample("z2", dist.Normal(pair.r * z1, 0.8))
            pyro.sample("x", dist.Normal(z2, 0.6), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            z1 = pyro.sample("z1", dist.Normal(pair.a * x, pair.t))
            with handlers.ScaleLatents(0.5):
                pyro.sample("z2", dist.Normal(pair.d * z1, pair.s))

    with pytest.raises(ValueError, match="^beta is 1 at z1 and 0.5 at z2, but DReG needs one beta .*; use IWAE$"):
        DReG().terms(model, guide, pair.x)
    gradients = []
    for estimator in (STL(3), TraceELBO(3)):
        surrogate = estimator.terms(model, guide, pair.x).surrogate
        gradients.append(torch.stack(torch.autograd.grad(surrogate.sum(), [pair.a, pair.t, pair.d, pair.s])))
    a, b = gradients
    assert ((a.mean(1) - b.mean(1)).abs() < 4 * ((a.var(1) + b.var(1)) / R).sqrt()).all()


@pytest.mark.parametrize("estimator", [STL(), DReG(), TailAdaptive()], ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("validation", [True, False])
def test_a_discrete_site_is_refused(estimator, validation):
    model = vae(prior=priors.Bernoulli(2), posterior=posteriors.Bernoulli(networks.MLP((1, 4, 4), [3]), 2))
    message = (
        f"^site z of the guide is a Bernoulli, which has no reparameterised samples, and {type(estimator).__name__} "
    )
    with pyro.validation_enabled(validation), pytest.raises(ValueError, match=message) as error:
        estimator.loss(model.model, model.guide, torch.ones(2, 1, 4, 4))
    assert "VIMCO" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("estimator", [DReG(), TailAdaptive(), IWAE()], ids=lambda e: type(e).__name__)
def test_a_global_latent_is_refused(estimator):
    pair = Shared()
    with pytest.raises(ValueError, match="^site g is outside the plate data, .*; use TraceELBO, MeanFieldELBO or STL$"):
        estimator.terms(pair.model, pair.guide, torch.randn(4).double())


def test_masked_data_get_no_gradient():
    pair, mask = Line(4), torch.tensor([True, False, True, True])
    for estimator in (STL(3), DReG(3), TailAdaptive(3), IWAE(3)):
        model, guide = poutine.mask(pair.model, mask), poutine.mask(pair.guide, mask)
        surrogate = estimator.terms(model, guide, pair.x).surrogate
        assert surrogate[1] == 0 and (surrogate[mask] != 0).all()
        for g in torch.autograd.grad(surrogate.sum(), list(pair.p.values())):
            assert g[1] == 0 and (g[mask] != 0).all()
