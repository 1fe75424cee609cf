"""Bounds that weigh samples: their values and gradients against integrals done by quadrature."""

import itertools
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from contracts import LinearGaussian, within
from instances import vae
from quadrature import Chain, Line, draws, exact, grid, off

from ppl_vae import likelihoods, networks, posteriors, priors
from ppl_vae.estimators import CIWAE, IWAE, MIWAE, VIMCO, Renyi, TraceELBO

R = 20_000
DECENT = {"a": 0.65, "c": -0.2, "t": 0.65}  # a guide near the posterior
X = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))


def log_mean_exp(log_w):
    return log_w.logsumexp(0) - math.log(len(log_w))


def renyi(alpha):
    return lambda log_w: log_mean_exp((1 - alpha) * log_w) / (1 - alpha)


def ciwae(share):
    return lambda log_w: share * log_w.mean(0) + (1 - share) * log_mean_exp(log_w)


CASES = {
    "iwae 1": (IWAE(1), log_mean_exp, 1),
    "iwae 2": (IWAE(2), log_mean_exp, 2),
    "iwae 3": (IWAE(3), log_mean_exp, 3),
    "iwae stl 1": (IWAE(1, "stl"), log_mean_exp, 1),
    "miwae 2 x 3": (MIWAE(2, 3), log_mean_exp, 2),
    "miwae 3 x 2": (MIWAE(3, 2), log_mean_exp, 3),
    "ciwae": (CIWAE(2, 0.3), ciwae(0.3), 2),
    "renyi 0.5": (Renyi(0.5, 2), renyi(0.5), 2),
    "renyi 0.5, 3": (Renyi(0.5, 3), renyi(0.5), 3),
    "renyi -1": (Renyi(-1.0, 2), renyi(-1.0), 2),
    "renyi 2": (Renyi(2, 2), renyi(2.0), 2),
    "vimco": (VIMCO(2), log_mean_exp, 2),
}


def unbiased(family, estimator, bound, k, beta):
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


@pytest.mark.parametrize("beta", [0.0, 0.25, 1.0, 4.0])
@pytest.mark.parametrize("case", CASES)
def test_value_and_gradient_against_quadrature(case, beta):
    unbiased(Line, *CASES[case], beta)


@pytest.mark.parametrize("beta", [0.0, 0.25, 1.0, 4.0])
@pytest.mark.parametrize("case", [case for case in CASES if CASES[case][2] < 3])
def test_a_latent_that_depends_on_another(case, beta):
    unbiased(Chain, *CASES[case], beta)


@pytest.mark.parametrize("family", [Line, Chain])
@pytest.mark.parametrize("beta", [0.25, 1.0, 4.0])
def test_the_stl_gradient_of_iwae_is_biased_for_the_guide_alone(family, beta):
    expected, gradient = exact(family, log_mean_exp, 2, beta)
    values, gradients = draws(IWAE(2, "stl"), family(R), beta)
    assert abs(off(values, expected)) < 4
    assert all(abs(off(gradients[name], gradient[name])) < 4 for name in family(1).decoder)
    assert max(abs(off(gradients[name], gradient[name])) for name in family.encoder) > 10


def test_iwae_rises_with_k_and_meets_the_evidence():
    exactly = [exact(Line, log_mean_exp, k)[0] for k in (1, 2, 3)]
    evidence = Line().evidence().detach()
    assert exactly[0] < exactly[1] < exactly[2] < evidence
    values = [draws(IWAE(k), Line(20_000), seed=k)[0] for k in (1, 2, 4, 8, 32)]
    for low, high in itertools.pairwise(values):
        assert high.mean() - low.mean() > 4 * math.sqrt((low.var() + high.var()) / len(low))
    tight = draws(IWAE(1000), Line(2000, **DECENT))[0]
    # The gap is Var(w / p(x)) / 2K to first order, 0.0003 nats here.
    assert abs(tight.mean() - evidence) < 0.001 + 4 * tight.std() / math.sqrt(len(tight))
    assert tight.std() / math.sqrt(len(tight)) < 0.002


def test_iwae_meets_the_evidence_of_a_linear_gaussian():
    pair = LinearGaussian()
    values = torch.stack([IWAE(1000).terms(pair.model, pair.guide, X).surrogate.detach() for _ in range(20)])
    gap = pair.log_likelihood(X).detach() - values.mean(0)
    elbo = pair.terms(X)[0] - pair.terms(X)[1]
    assert (gap < 0.1 * (pair.log_likelihood(X) - elbo)).all()
    assert (gap > -4 * values.std(0) / math.sqrt(20)).all()


def seeded(estimator, pair, *args, gradient=True, seed=3):
    torch.manual_seed(seed)
    surrogate = estimator.terms(pair.model, pair.guide, *args).surrogate
    return (surrogate.detach(), pair.gradient(surrogate.sum())) if gradient else surrogate.detach()


ONE = {"iwae": IWAE(1), "miwae": MIWAE(1, 1), "ciwae": CIWAE(1, 0.4), "stl": IWAE(1, "stl")}


@pytest.mark.parametrize("name", ONE)
def test_one_sample_is_the_elbo_bit_for_bit(name):
    pair = LinearGaussian()
    (value, gradient), (elbo, expected) = seeded(ONE[name], pair, X), seeded(TraceELBO(1), pair, X)
    assert torch.equal(value, elbo) if name != "ciwae" else torch.allclose(value, elbo, rtol=1e-6)
    if name == "iwae":
        assert torch.equal(gradient, expected)
    elif name != "stl":
        assert torch.allclose(gradient, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (Renyi(0, 7), IWAE(7)),
        (Renyi(0.0, 7), IWAE(7)),
        (MIWAE(7, 1), IWAE(7)),
        (CIWAE(7, 0), IWAE(7)),
        (CIWAE(7, 1), TraceELBO(7)),
        (MIWAE(1, 7), TraceELBO(7)),
        (Renyi(1 - 1e-6, 7), TraceELBO(7)),
        (Renyi(1 + 1e-6, 7), TraceELBO(7)),
    ],
)
def test_special_cases_coincide(a, b):
    pair = LinearGaussian()
    (value, gradient), (expected, expected_gradient) = seeded(a, pair, X), seeded(b, pair, X)
    assert torch.allclose(value, expected, rtol=1e-4, atol=1e-4)
    assert torch.allclose(gradient, expected_gradient, rtol=1e-3, atol=1e-3)


def test_renyi_bounds_are_ordered_by_alpha():
    # For the same samples, as power means are; strictly where weights differ.
    pair = LinearGaussian()
    values = [seeded(Renyi(alpha, 5), pair, X, gradient=False) for alpha in (5.0, 2.0, 0.999, 0.5, 0.0, -1.0, -5.0)]
    values.insert(3, seeded(TraceELBO(5), pair, X, gradient=False))
    order = [0, 1, 3, 2, 4, 5, 6, 7]
    values = torch.stack([values[i] for i in order])
    assert (values.diff(dim=0) > -1e-5).all() and (values[0] < values[-1] - 1).all()


def test_renyi_with_hard_weights():
    bound = Renyi(0.5, 3).bound
    log_w = torch.tensor([[-1e4, 300.0], [-1e4 - 200, 0.0], [-2e4, -300.0]], requires_grad=True)
    expected = 2 * (torch.logsumexp(0.5 * log_w.double(), 0) - math.log(3))
    assert torch.allclose(bound(log_w).double(), expected)
    (gradient,) = torch.autograd.grad(bound(log_w).sum(), log_w)
    assert torch.allclose(gradient, (0.5 * log_w).softmax(0))
    assert torch.allclose(
        Renyi(3, 3).bound(log_w).double(), -(torch.logsumexp(-2 * log_w.double(), 0) - math.log(3)) / 2
    )
    # A sample of weight 0 counts as one, under an order that allows it.
    dead = torch.tensor([[0.0], [-math.inf]])
    assert torch.allclose(Renyi(0.5, 2).bound(dead), torch.tensor(2 * math.log(0.5)))


def test_negative_alpha_exceeds_the_evidence_as_k_grows():
    values, _ = draws(Renyi(-1.0, 1000), Line(500))
    evidence = Line().evidence()
    assert values.mean() > evidence + 0.02
    assert draws(IWAE(1000), Line(500))[0].mean() < evidence + 0.005


def vamp(hidden=4):
    torch.manual_seed(2)
    posterior = posteriors.Normal(networks.MLP((2,), [hidden], "tanh"), 1)
    prior = priors.VampPrior(posterior, 3, inputs="real")
    model = vae(1, (2,), prior, posterior, likelihoods.Normal(networks.MLP(1, [hidden], "tanh"), (2,), scale=0.5))
    with torch.no_grad():
        model.posterior.head.bias(1).fill_(-1.0)
    return model.double()


def vamp_exact(model, x, k, nodes=60):
    """IWAE_K of a one-dimensional VAE (B,), by the quadrature of k normal variables."""
    points, weights = grid(k, nodes)
    q = model.posterior(x)
    eps = points[:, :, None]  # (K, G, 1)
    z = q.base_dist.loc[..., 0] + q.base_dist.scale[..., 0] * eps
    log_q = -0.5 * eps**2 - 0.5 * math.log(2 * math.pi) - q.base_dist.scale[..., 0].log()
    log_p = model.prior().log_prob(z[..., None]) + model.likelihood(z[..., None]).log_prob(x)
    return (weights[:, None] * log_mean_exp(log_p - log_q)).sum(0)


@pytest.mark.parametrize("estimator", [IWAE(2), MIWAE(2, 2)], ids=lambda e: type(e).__name__)
def test_a_prior_that_shares_the_encoders_parameters(estimator):
    check_vamp(estimator, 2)


def check_vamp(estimator, k):
    model, x = vamp(), torch.tensor([[0.5, -1.0]], dtype=torch.float64)
    ps = list(model.parameters())
    expected = vamp_exact(model, x, k)[0]
    flat = flat_gradient(expected, ps)
    assert torch.allclose(expected.detach(), vamp_exact(model, x, k, 70)[0].detach(), atol=1e-4)
    many = x.expand(1000, -1)
    values, gradients = [], []
    for _ in range(60):
        mean = estimator.terms(model.model, model.guide, many).surrogate.mean()
        values.append(mean.detach())
        gradients.append(flat_gradient(mean, ps))
    within(torch.stack(values), expected.detach())
    within(torch.stack(gradients), flat)
    for part in (model.prior, model.posterior, model.likelihood):
        assert flat_gradient(vamp_exact(model, x, k)[0], list(part.parameters())).abs().max() > 0.01


def flat_gradient(scalar, ps):
    gradients = torch.autograd.grad(scalar, ps, allow_unused=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(ps, gradients, strict=True)])


class Rainforth:
    """Signal-to-noise ratio of every parameter's gradient for K = 8 and 128, and the slope in K between them."""

    low, high, size = 8, 128, 10_000

    @classmethod
    def slopes(cls, make):
        ratios = []
        for k in (cls.low, cls.high):
            _, gradients = draws(make(k), Line(cls.size, **DECENT), seed=k)
            ratios.append({name: (g.mean().abs() / g.std()).item() for name, g in gradients.items()})
        return {name: math.log(ratios[1][name] / ratios[0][name]) / math.log(cls.high / cls.low) for name in ratios[0]}


def test_the_encoders_signal_fades_with_k_and_the_decoders_grows():
    slopes = Rainforth.slopes(IWAE)
    #  -1/2 and 1/2.
    assert all(abs(slopes[name] + 0.5) < 0.15 for name in ("a", "c")), slopes
    assert all(abs(slopes[name] - 0.5) < 0.15 for name in ("w", "b")), slopes


@pytest.mark.parametrize("estimator", [IWAE, MIWAE, CIWAE, Renyi])
@pytest.mark.parametrize("k", [0, -2, 1.5, True, None, "5"])
def test_bad_particles(estimator, k):
    with pytest.raises(ValueError, match="^num_particles must be a whole number of at least 1"):
        estimator(num_particles=k)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Renyi(0.5, 1), "num_particles is 1, but Renyi compares samples with one another and needs at least 2"),
        (lambda: Renyi(1, 5), "alpha is 1, where the Renyi bound is the ELBO; use TraceELBO or MeanFieldELBO"),
        (lambda: Renyi(1.0, 5), "alpha is 1"),
        (lambda: Renyi(math.nan), "alpha must be a finite number other than 1, not nan"),
        (lambda: Renyi(math.inf), "alpha must be a finite number other than 1, not inf"),
        (lambda: Renyi(True), "alpha must be a finite number other than 1, not True"),
        (lambda: Renyi("half"), "alpha must be a finite number other than 1, not 'half'"),
        (lambda: CIWAE(5, 1.5), r"share must be a number in \[0, 1\], the weight of the ELBO, not 1.5"),
        (lambda: CIWAE(5, -0.1), r"share must be a number in \[0, 1\]"),
        (lambda: CIWAE(5, math.nan), r"share must be a number in \[0, 1\]"),
        (lambda: CIWAE(5, False), r"share must be a number in \[0, 1\]"),
        (lambda: MIWAE(5, 0), "num_bounds must be a whole number of at least 1"),
        (lambda: IWAE(5, "STL"), "gradient 'STL' is unknown; .*stl"),
        (lambda: IWAE(5, None), "gradient None is unknown"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make()


def categorical():
    logits = torch.zeros(3, requires_grad=True)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Categorical(torch.ones(3)))
            pyro.sample("x", dist.Normal(z.float(), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Categorical(logits=logits))

    return model, guide


@pytest.mark.parametrize(
    "estimator", [IWAE(), IWAE(5, "stl"), MIWAE(), CIWAE(), Renyi()], ids=lambda e: type(e).__name__
)
@pytest.mark.parametrize("validation", [True, False])
def test_a_discrete_site_is_refused(estimator, validation):
    message = (
        f"^site z of the guide is a Categorical, which has no reparameterised samples, and {type(estimator).__name__}"
    )
    with pyro.validation_enabled(validation), pytest.raises(ValueError, match=message) as error:
        estimator.loss_and_grads(*categorical(), X[:, 0])
    assert "VIMCO" in str(error.value) and "\n" not in str(error.value)
