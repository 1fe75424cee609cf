"""What holds for every estimator: no datum leans on another, scales and beta mean one thing, plain Pyro will do."""

import copy
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from instances import vae
from pyro import poutine

from ppl_vae import estimators, handlers, likelihoods, networks, posteriors, priors
from ppl_vae.estimators import (
    CIWAE,
    IWAE,
    MIWAE,
    MMD,
    NVIL,
    RWS,
    STL,
    TVO,
    VIMCO,
    DisARM,
    DReG,
    Enum,
    FreeBits,
    MeanFieldELBO,
    Renyi,
    TailAdaptive,
    TraceELBO,
)
from ppl_vae.posteriors.normal import SCALE_FLOOR

N = 11
X = torch.rand(N, 3, generator=torch.Generator().manual_seed(1)).bernoulli(generator=torch.Generator().manual_seed(2))

NORMAL = {
    "trace": lambda: TraceELBO(3),
    "mean field": lambda: MeanFieldELBO(3),
    "stl": lambda: STL(3),
    "iwae": lambda: IWAE(3),
    "iwae 1": lambda: IWAE(1),
    "iwae stl": lambda: IWAE(3, "stl"),
    "miwae": lambda: MIWAE(3, 2),
    "ciwae": lambda: CIWAE(3, 0.3),
    "renyi": lambda: Renyi(0.5, 3),
    "renyi -2": lambda: Renyi(-2.0, 3),
    "dreg": lambda: DReG(3),
    "tail adaptive": lambda: TailAdaptive(3),
    "vimco": lambda: VIMCO(3),
    "nvil": lambda: NVIL(3),
    "rws": lambda: RWS(3),
    "rws sleep": lambda: RWS(3, "sleep"),
    "tvo": lambda: TVO(3),
    "mmd": lambda: MMD(3),
    "free bits": lambda: FreeBits(3),
}
BERNOULLI = {
    "trace": lambda: TraceELBO(3),
    "mean field": lambda: MeanFieldELBO(3),
    "vimco": lambda: VIMCO(3),
    "nvil": lambda: NVIL(3),
    "rws": lambda: RWS(3),
    "rws sleep": lambda: RWS(3, "sleep"),
    "tvo": lambda: TVO(3),
    "disarm": lambda: DisARM(4),
    "enum": lambda: Enum(),
}
CASES = [("normal", name) for name in NORMAL] + [("bernoulli", name) for name in BERNOULLI]
EVERY = pytest.mark.parametrize("case", CASES, ids=" ".join)
BATCHWISE = (MMD, FreeBits)  # by design not sums over data


def make(case):
    """Model and estimator of a case."""
    torch.manual_seed(0)
    posterior, prior = (
        (posteriors.Normal, priors.Normal) if case[0] == "normal" else (posteriors.Bernoulli, priors.Bernoulli)
    )
    likelihood = likelihoods.Bernoulli(networks.MLP(2, [4], "tanh"), (3,))
    model = Plated(vae(2, (3,), prior(2), posterior(networks.MLP((3,), [4], "tanh"), 2), likelihood))
    estimator = (NORMAL if case[0] == "normal" else BERNOULLI)[case[1]]()
    with handlers.LocalParameters():
        estimator.terms(model.model, model.guide, X)  # the first run finds the plates; counted noise comes later
    return model, estimator


class Plated(torch.nn.Module):
    """A VAE whose plate may say that its batch is a sub-sample of ``full`` data."""

    full = None

    def __init__(self, model):
        super().__init__()
        self.parts = model

    def plate(self, x):
        return pyro.plate("data", self.full or len(x), subsample=torch.arange(len(x)) if self.full else None)

    def model(self, x, rows=None):
        handlers.register("plated", self)
        with self.plate(x):
            z = pyro.sample("z", self.parts.prior())
            pyro.sample("x", self.parts.likelihood(z), obs=x)

    def guide(self, x, rows=None):
        handlers.register("plated", self)
        with self.plate(x):
            pyro.sample("z", self.parts.posterior(x))


def test_every_estimator_is_here():
    assert {type(make(case)[1]).__name__ for case in CASES} == set(estimators.__all__)


class Noise:
    """Random numbers that belong to data: the ones drawn for datum n at the i-th call do not depend on the batch."""

    def __init__(self, monkeypatch):
        self.rows, self.calls = torch.arange(N), 0
        monkeypatch.setattr("torch.distributions.normal._standard_normal", lambda shape, **_: self.normal(shape))
        monkeypatch.setattr(torch, "normal", lambda mean, std: mean + std * self.normal(mean.shape))
        monkeypatch.setattr(torch, "bernoulli", lambda p: (self.uniform(p.shape) < p).to(p.dtype))
        monkeypatch.setattr(torch, "rand_like", lambda like: self.uniform(like.shape))

    def uniform(self, shape):
        assert shape[-2] == len(self.rows), shape
        self.calls += 1
        generator = torch.Generator().manual_seed(self.calls)
        return torch.rand(*shape[:-2], N, shape[-1], generator=generator).index_select(-2, self.rows)

    def normal(self, shape, **_):
        return self.uniform(shape).clamp(1e-6, 1 - 1e-6).logit() * 0.6

    def at(self, rows):
        """Start anew with the data of a batch."""
        self.rows, self.calls = torch.as_tensor(rows), 0


def run(estimator, pair, x, model=None, guide=None):
    """Terms, loss and gradient by name for one batch."""
    programs = model or pair.model, guide or pair.guide
    with handlers.LocalParameters():
        if isinstance(estimator, NVIL):
            estimator.prepare(x)
        named = dict(pair.named_parameters())
        if isinstance(estimator, torch.nn.Module):
            named.update({f"own.{name}": p for name, p in estimator.named_parameters()})
        terms = estimator.terms(*programs, x)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(estimator, "terms", lambda *_: terms)  # the same draw
            loss = estimator.differentiable_loss(*programs, x)
    gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return terms, loss.detach(), dict(zip(named, gradients, strict=True))


def same(a, b, scale=1.0):
    """Gradients equal but for a factor; some of them must not be 0."""
    assert a.keys() == b.keys() and any(g.abs().max() > 1e-3 for g in a.values() if g is not None)
    for name in a:
        assert (a[name] is None) == (b[name] is None)
        assert a[name] is None or torch.allclose(a[name] * scale, b[name], rtol=1e-4, atol=2e-5), name


NAMES = ("surrogate", "elbo", "reconstruction", "kl")


@EVERY
def test_a_datum_owes_nothing_to_the_others(case, monkeypatch):
    """In another order, in smaller batches, with a weight of its own or beside masked data, its share is the same."""
    pair, estimator = make(case)
    noise = Noise(monkeypatch)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(4))
    batchwise = isinstance(estimator, BATCHWISE)

    def alone(rows):
        noise.at(rows)
        return run(estimator, pair, X[rows])

    def equal(found, share, names=NAMES):
        for name in names:
            expected = share(getattr(terms, name))
            assert torch.allclose(expected, getattr(found, name), rtol=1e-4, atol=1e-5), name

    terms, loss, gradient = alone(torch.arange(N))
    again, other, g = alone(order)
    equal(again, lambda term: term[order])
    assert torch.allclose(loss, other, rtol=1e-5)
    same(gradient, g)
    parts = [alone(rows) for rows in order.split(4)]
    for part, rows in zip(parts, order.split(4), strict=True):
        equal(part[0], lambda term, rows=rows: term[rows], NAMES[1:] if batchwise else NAMES)
    if batchwise:
        return
    assert all(getattr(terms, name).std() > 1e-3 for name in NAMES)  # the data differ, so a scrambled order would show

    def summed(*weights):
        """Loss and gradient of the parts, with a weight each."""
        total = {
            name: None if g is None else sum(w * part[2][name] for w, part in zip(weights, parts, strict=True))
            for name, g in gradient.items()
        }
        return sum(w * part[1] for w, part in zip(weights, parts, strict=True)), total

    expected, g = summed(1.0, 1.0, 1.0)
    assert torch.allclose(loss, expected, rtol=1e-5)
    same(gradient, g)
    for shares in ((1.0, 1.0, 0.0), (2.0, 0.5, 0.0)):  # the last part is masked
        weights = torch.ones(N)
        for share, rows in zip(shares, order.split(4), strict=True):
            weights[rows] = share
        noise.at(torch.arange(N))
        mask, scale = weights > 0, weights.clamp(0.5)
        programs = (poutine.scale(poutine.mask(p, mask), scale) for p in (pair.model, pair.guide))
        weighted, other, gradient = run(estimator, pair, X, *programs)
        equal(weighted, lambda term, mask=mask: mask * term)
        expected, g = summed(*shares)
        assert torch.allclose(other, expected, rtol=1e-5)
        if not (isinstance(estimator, NVIL) and shares[0] > 1):  # whose baseline is that of weight 1
            same(*({name: v for name, v in found.items() if "own." not in name} for found in (gradient, g)))


@EVERY
def test_subsampling_scales_the_loss_by_n_over_b(case):
    pair, estimator = make(case)
    torch.manual_seed(3)
    terms, loss, gradient = run(estimator, pair, X)
    pair.full = 10 * N
    torch.manual_seed(3)
    scaled, tenfold, g = run(estimator, pair, X)
    assert math.isclose(scaled.subsampling, 10) and scaled.scale == 1
    assert all(torch.allclose(getattr(terms, name), getattr(scaled, name)) for name in NAMES)
    assert torch.allclose(10 * loss, tenfold)
    same(gradient, g, 10.0)


@EVERY
@pytest.mark.parametrize("scale", [0.01, 7, torch.tensor(0.3)], ids=str)
def test_a_common_scale_stays_outside(case, scale):
    pair, estimator = make(case)
    torch.manual_seed(3)
    terms, loss, gradient = run(estimator, pair, X)
    torch.manual_seed(3)
    programs = poutine.scale(pair.model, scale), poutine.scale(pair.guide, scale)
    scaled, other, g = run(estimator, pair, X, *programs)
    assert all(torch.allclose(getattr(terms, name), getattr(scaled, name), atol=1e-6) for name in NAMES)
    assert torch.allclose(scale * loss, other)
    same(gradient, g, float(scale))


# Beta means one thing.


def by_hand(pair, x, k, beta, u=None):
    """log p(x | z) + beta (log p(z) - log q(z | x)), (K, B), of the samples the present seed gives."""
    q, parts = pair.parts.posterior(x), pair.parts
    z = q.expand((k, len(x)))() if u is None else u
    return parts.likelihood(z).log_prob(x) + beta * (parts.prior().log_prob(z) - q.log_prob(z))


def log_mean_exp(log_w):
    return log_w.logsumexp(0) - math.log(len(log_w))


def mean(log_w):
    return log_w.mean(0)


BOUNDS = {
    "trace": (3, mean),
    "stl": (3, mean),
    "iwae": (3, log_mean_exp),
    "iwae 1": (1, mean),
    "iwae stl": (3, log_mean_exp),
    "miwae": (6, lambda w: torch.stack([log_mean_exp(w[:3]), log_mean_exp(w[3:])]).mean(0)),
    "ciwae": (3, lambda w: 0.3 * mean(w) + 0.7 * log_mean_exp(w)),
    "renyi": (3, lambda w: 2 * log_mean_exp(0.5 * w)),
    "renyi -2": (3, lambda w: log_mean_exp(3 * w) / 3),
    "dreg": (3, log_mean_exp),
    "vimco": (3, log_mean_exp),
    "nvil": (3, mean),
}
BETAS = pytest.mark.parametrize("beta", [0.0, 0.25, 1.0, 4.0])
FREE = [case for case in CASES if not make(case)[1].unit_beta]
UNIT = [case for case in CASES if make(case)[1].unit_beta]


def scaled(pair, beta):
    return handlers.scale_latents(pair.model, beta), handlers.scale_latents(pair.guide, beta)


@BETAS
@pytest.mark.parametrize("case", [case for case in FREE if case[1] in BOUNDS], ids=" ".join)
def test_beta_enters_the_log_weights(case, beta):
    pair, estimator = make(case)
    k, bound = BOUNDS[case[1]]
    torch.manual_seed(5)
    terms, _, gradient = run(estimator, pair, X, *scaled(pair, beta))
    torch.manual_seed(5)
    assert torch.allclose(terms.surrogate, bound(by_hand(pair, X, k, beta)), rtol=1e-5, atol=1e-5)
    assert all(g is None or g.isfinite().all() for g in gradient.values())


@BETAS
def test_beta_of_the_estimators_with_samples_of_their_own(beta):
    pair, estimator = make(("bernoulli", "disarm"))
    torch.manual_seed(5)
    terms, _, _ = run(estimator, pair, X, *scaled(pair, beta))
    torch.manual_seed(5)
    u = torch.rand(2, N, 2)
    z = (torch.cat([u, 1 - u]) < pair.parts.posterior(X).base_dist.probs).float()
    assert torch.allclose(terms.surrogate, mean(by_hand(pair, X, 4, beta, z)), atol=1e-5)

    pair, estimator = make(("bernoulli", "enum"))
    z = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 2)[:, None].expand(4, N, 2)
    expected = (pair.parts.posterior(X).log_prob(z).exp() * by_hand(pair, X, 4, beta, z)).sum(0)
    assert torch.allclose(run(estimator, pair, X, *scaled(pair, beta))[0].surrogate, expected, atol=1e-5)

    pair, _ = make(("normal", "trace"))
    q = pair.parts.posterior(X).base_dist
    kl = 0.5 * (q.loc**2 + q.scale**2 - 1 - 2 * q.scale.log())
    torch.manual_seed(5)
    reconstruction = by_hand(pair, X, 3, 0.0).mean(0)
    for estimator, expected in (
        (MeanFieldELBO(3), reconstruction - beta * kl.sum(-1)),
        (FreeBits(3, nats=0.0), reconstruction - beta * kl.mean(0).sum()),
        (FreeBits(3, nats=50.0), reconstruction - beta * 100.0),
        (MMD(3, weight=0.0, alpha=1.0), reconstruction),
    ):
        torch.manual_seed(5)
        surrogate = run(estimator, pair, X, *scaled(pair, beta))[0].surrogate
        assert torch.allclose(surrogate, expected, rtol=1e-4, atol=1e-4), type(estimator)
    surrogates = []
    for weight, at in ((0.0, beta), (2.0, beta), (2.0, 1.0)):
        torch.manual_seed(5)
        surrogates.append(run(MMD(3, weight=weight, alpha=0.0), pair, X, *scaled(pair, at))[0].surrogate)
    torch.manual_seed(5)
    assert torch.allclose(surrogates[0], mean(by_hand(pair, X, 3, beta)), atol=1e-5)
    torch.manual_seed(5)
    unit = surrogates[2] - mean(by_hand(pair, X, 3, 1.0))  # -2 MMD^2
    assert torch.allclose(surrogates[1] - surrogates[0], beta * unit, atol=1e-5) and unit.abs().max() > 1e-3


@BETAS
@pytest.mark.parametrize("case", FREE, ids=" ".join)
def test_a_tensor_beta_is_a_number(case, beta):
    pair, estimator = make(case)
    torch.manual_seed(5)
    terms, loss, gradient = run(estimator, pair, X, *scaled(pair, beta))
    torch.manual_seed(5)
    again, other, g = run(estimator, pair, X, *scaled(pair, torch.tensor(beta)))
    assert all(torch.allclose(getattr(terms, name), getattr(again, name)) for name in NAMES)
    assert torch.allclose(loss, other)
    same(gradient, g)
    plain = run(estimator, pair, X)[0]
    assert plain.elbo.isfinite().all() and plain.scale == terms.scale == 1


@pytest.mark.parametrize("case", UNIT, ids=" ".join)
@pytest.mark.parametrize("beta", [0.0, 0.5, torch.tensor(0.5)], ids=str)
def test_where_beta_has_no_meaning_it_is_refused(case, beta):
    pair, estimator = make(case)
    with pytest.raises(ValueError, match=f"but {type(estimator).__name__} is defined only at beta = 1: ") as error:
        run(estimator, pair, X, *scaled(pair, beta))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("name", [name for name in NORMAL if name not in ("rws sleep", "mmd", "free bits")])
def test_two_identical_components_are_the_normal_prior(name, beta):
    results = []
    for mixture in (False, True):
        pair, estimator = make(("normal", name))
        if estimator.unit_beta and beta != 1:
            pytest.skip("beta = 1 alone")
        if mixture:
            prior = priors.MixtureOfGaussians(2, components=2)
            torch.nn.init.zeros_(prior.means)
            torch.nn.init.constant_(prior.raw_scales, math.log(math.expm1(1 - SCALE_FLOOR)))
            pair.parts.prior = prior
        elif isinstance(estimator, MeanFieldELBO):
            estimator = TraceELBO(3)  # the mixture's KL is sampled
        torch.manual_seed(6)
        _, loss, gradient = run(estimator, pair, X, *scaled(pair, beta))
        results.append((loss, {key: g for key, g in gradient.items() if "prior" not in key}))
    assert torch.allclose(results[0][0], results[1][0], rtol=1e-5)
    for key, g in results[0][1].items():
        assert g is None or torch.allclose(g, results[1][1][key], rtol=1e-4, atol=1e-4), key


# Plain Pyro.


@EVERY
def test_pyros_svi_moves_every_parameter(case):
    pair, estimator = make(case)
    ps = list(pair.parameters())
    if case == ("bernoulli", "nvil"):  # reparameterised sites need no baseline
        estimator.prepare(X)
        ps += estimator.parameters()
    before = [p.detach().clone() for p in ps]
    svi = pyro.infer.SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-2}), estimator)
    losses = [svi.step(X) for _ in range(3)]
    assert all(isinstance(loss, float) and math.isfinite(loss) for loss in losses)
    assert not any(torch.equal(a, b) for a, b in zip(before, ps, strict=True))
    assert math.isfinite(svi.evaluate_loss(X))


@pytest.mark.parametrize("case", [("bernoulli", "nvil"), ("bernoulli", "vimco"), ("normal", "dreg")], ids=" ".join)
def test_pyros_svi_learns(case):
    pair, estimator = make(case)
    svi = pyro.infer.SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 2e-2}), estimator)
    losses = [svi.step(X) for _ in range(150)]
    assert sum(losses[-20:]) < sum(losses[:20]) - 10


@EVERY
def test_the_module_form_finds_the_parameters(case):
    pair, estimator = make(case)
    if isinstance(estimator, NVIL):
        estimator.prepare(X)
    module = estimator(pair.model, pair.guide)
    found = {id(p) for p in module.parameters()}
    assert {id(p) for p in pair.parameters()} <= found
    assert not isinstance(estimator, NVIL) or {id(p) for p in estimator.parameters()} <= found
    torch.manual_seed(3)
    loss = module(X)
    loss.backward()
    torch.manual_seed(3)
    assert torch.allclose(loss, run(estimator, pair, X)[1])
    assert all(p.grad is not None for p in pair.parameters())


@EVERY
def test_copies_and_no_gradient(case):
    pair, estimator = make(case)
    with torch.no_grad(), handlers.LocalParameters():
        assert not estimator.terms(pair.model, pair.guide, X).surrogate.requires_grad
    clone = copy.deepcopy(estimator)
    assert clone.num_particles == estimator.num_particles and type(clone) is type(estimator)


def autonormal(x):
    """A model with local latents and Pyro's autoguide of it: a helper site and a Delta, which depends on it."""

    def model(x):
        b = pyro.param("b", torch.zeros(3))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z + b, 0.7).to_event(1), obs=x)

    guide = pyro.infer.autoguide.AutoNormal(model, init_scale=0.5)
    guide(x)
    with torch.no_grad():
        guide.locs.z.normal_()
    return model, guide


@pytest.mark.parametrize(
    "name", [name for name in NORMAL if name not in ("rws sleep", "mmd", "mean field", "free bits")]
)
def test_an_autoguide_is_the_guide_it_stands_for(name):
    _, estimator = make(("normal", name))
    model, auto = autonormal(X)
    loc, scale = auto.locs.z.detach().requires_grad_(), auto.scales.z.detach().requires_grad_()

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, scale).to_event(1))

    torch.manual_seed(3)
    plain = estimator.terms(model, guide, X).surrogate
    torch.manual_seed(3)
    ours = estimator.terms(model, auto, X).surrogate
    assert torch.allclose(plain, ours, atol=1e-5)
    gradients = torch.autograd.grad(plain.sum(), [loc, scale])
    raw = auto.scales.z_unconstrained  # of which the scale is the softplus
    theirs = torch.autograd.grad(ours.sum(), [auto.locs.z, raw])
    assert torch.allclose(gradients[0], theirs[0], rtol=1e-4, atol=1e-4) and gradients[0].std() > 0.1
    assert torch.allclose(gradients[1] * raw.sigmoid(), theirs[1], rtol=1e-4, atol=1e-4) and theirs[1].std() > 0.01


@pytest.mark.parametrize("name", [name for name in NORMAL if name not in ("rws sleep", "mmd")])
def test_autonormal_in_pyros_svi(name):
    model, guide = autonormal(X)
    _, estimator = make(("normal", name))
    svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 5e-2}), estimator)
    before = [p.detach().clone() for p in guide.parameters()]
    losses = [svi.step(X) for _ in range(40)]
    assert not any(torch.equal(a, b) for a, b in zip(before, guide.parameters(), strict=True))
    assert sum(losses[-10:]) < sum(losses[:10]) and pyro.param("b").abs().min() > 0


def outside(x):
    g = pyro.sample("g", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(g[..., None].expand(*g.shape, 2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z.sum(-1, keepdim=True).expand(*z.shape[:-1], 3), 1.0).to_event(1), obs=x)


def guide_outside(x):
    g = pyro.sample("g", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x[:, :2] + g[..., None], 1.0).to_event(1))


@EVERY
def test_global_latents_are_refused_in_one_sentence_or_taken(case):
    _, estimator = make(case)
    if not estimator.per_datum:
        assert estimator.terms(outside, guide_outside, X).surrogate.shape == (N,)
        return
    with (
        pytest.raises(ValueError, match="^site g is outside the plate data, and ") as error,
        handlers.LocalParameters(),
    ):
        estimator.terms(outside, guide_outside, X)
    assert type(estimator).__name__ in str(error.value) and "; use " in str(error.value)
    assert "\n" not in str(error.value)


def two_plates(x):
    with pyro.plate("first", len(x), dim=-1):
        z = pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(2)).to_event(1))
        pyro.sample("x", dist.Normal(z.sum(-1, keepdim=True).expand(*z.shape[:-1], 3), 1.0).to_event(1), obs=x)
    with pyro.plate("second", 4, dim=-1):
        pyro.sample("y", dist.Normal(0.0, 1.0), obs=torch.ones(4))


def guide_two_plates(x):
    with pyro.plate("first", len(x), dim=-1):
        pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(2)).to_event(1))


@EVERY
def test_two_data_plates_are_refused(case):
    _, estimator = make(case)
    with pytest.raises(
        ValueError, match="^the observed sites x and y share no plate .their plates are first and second.; "
    ):
        with handlers.LocalParameters():
            estimator.terms(two_plates, guide_two_plates, X)


@EVERY
@pytest.mark.parametrize("validation", [True, False])
def test_sites_of_one_side_alone(case, validation):
    pair, estimator = make(case)

    def more(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", pair.parts.posterior(x))
            pyro.sample("extra", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    def helped(x):
        with pyro.plate("data", len(x)):
            u = pyro.sample("u", dist.Normal(torch.zeros(2), 1.0).to_event(1), infer={"is_auxiliary": True})
            q = dist.Normal(u, 1.0) if case[0] == "normal" else dist.Bernoulli(logits=u)
            pyro.sample("z", q.to_event(1))

    with pyro.validation_enabled(validation), handlers.LocalParameters():
        with pytest.raises(
            ValueError, match="^the guide samples extra, but the model does not; .*is_auxiliary"
        ) as error:
            estimator.terms(pair.model, more, X)
        assert "\n" not in str(error.value)
        if not (isinstance(estimator, DisARM | MMD | Enum) or case[1] == "rws sleep"):
            assert estimator.terms(pair.model, helped, X).elbo.shape == (N,)


def test_too_little_room_for_plates_is_one_sentence():
    def model(x):
        with pyro.plate("data", len(x)), pyro.plate("entries", 3, dim=-2):
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x.T)

    with pytest.raises(ValueError, match="max_plate_nesting is 1, but a site .* more plates than that; leave it out"):
        estimators.IWAE(4, max_plate_nesting=1).terms(model, lambda x: None, torch.ones(5, 3))
    assert estimators.IWAE(4).terms(model, lambda x: None, torch.ones(5, 3)).elbo.shape == (5,)
