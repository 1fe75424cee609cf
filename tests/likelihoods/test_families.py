"""What the single families promise beyond the contract: exactness, starts, extremes, bad arguments."""

import math

import pytest
import scipy.stats
import torch
from torch import nn

from ppl_vae import SVI, VAE, data, evaluation, fit, likelihoods, networks, posteriors, priors
from ppl_vae.distributions.missing import MissingEntries

POSITIVE, UNIT, COUNT = [0.3, 1.0, 7.5], [0.05, 0.5, 0.97], [0.0, 2.0, 31.0]
DATA = {
    "Bernoulli": [0.0, 1.0, 1.0],
    "Beta": UNIT,
    "Categorical": [0.0, 0.4, 1.0],
    "ContinuousBernoulli": [0.0, 0.3, 1.0],
    "DiscretizedLogisticMixture": [0.0, 0.4, 1.0],
    "Gamma": POSITIVE,
    "Laplace": [-3.0, 0.0, 2.0],
    "LogNormal": POSITIVE,
    "LogitNormal": UNIT,
    "Multinomial": COUNT,
    "NegativeBinomial": COUNT,
    "Normal": [-3.0, 0.0, 2.0],
    "Poisson": COUNT,
    "StudentT": [-3.0, 0.0, 2.0],
    "ZeroInflatedNegativeBinomial": COUNT,
    "ZeroInflatedPoisson": COUNT,
}
MASSES = {"Bernoulli", "Categorical", "DiscretizedLogisticMixture", "Multinomial", "NegativeBinomial", "Poisson"}
MASSES |= {"ZeroInflatedNegativeBinomial", "ZeroInflatedPoisson"}


def make(name, shape=3, **options):
    torch.manual_seed(0)
    return getattr(likelihoods, name)(networks.MLP(2, []), shape, **options)


def still(likelihood):
    """The likelihood with a head that gives its bias whatever the code."""
    nn.init.zeros_(likelihood.head.layer.weight)
    return likelihood.eval()


def set_head(likelihood, *values):
    still(likelihood)
    for i, value in enumerate(values):
        likelihood.head.bias(i).data.fill_(value)
    return likelihood(torch.zeros(2))


def test_all_are_here():
    assert set(DATA) == set(likelihoods.__all__) - {"Of", "Columns", "Completed", "Missing", "Scaled"}


@pytest.mark.parametrize("name", DATA)
def test_mass_or_density(name):
    likelihood = make(name)
    assert likelihood.mass == (name in MASSES)
    assert likelihood.levels == (256 if name in ("Categorical", "DiscretizedLogisticMixture") else None)
    assert likelihood.support.check(torch.tensor(DATA[name])).all()
    assert likelihood(torch.zeros(2)).support.is_discrete == likelihood.mass


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("size", [-80.0, 80.0])
def test_extreme_heads_give_finite_log_probs_and_gradients(name, size):
    likelihood = make(name)
    x = torch.tensor(DATA[name])
    for index in range(likelihood.head.parameters_per_event):
        still(likelihood)
        likelihood.head.layer.bias.data.zero_()
        likelihood.head.bias(index).data.fill_(size)
        likelihood.zero_grad()
        value = likelihood(torch.zeros(2)).log_prob(x)
        value.backward()
        assert value.isfinite()
        assert all(p.grad is None or p.grad.isfinite().all() for p in likelihood.parameters())


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("conv", [False, True])
def test_started_at_the_data_the_mean_is_theirs(name, conv):
    shape = (2, 4, 4)
    level = 3.0 if DATA[name] in (POSITIVE, COUNT) else 0.4
    torch.manual_seed(0)
    decoder = networks.Conv.decoder(2, [3], shape) if conv else networks.MLP(2, [])
    likelihood = getattr(likelihoods, name)(decoder, shape)
    mean = torch.stack([torch.full((4, 4), level), torch.full((4, 4), level / 2)])
    assert likelihood.start_at(mean, torch.full(shape, level / 8)) is likelihood
    got = still(likelihood)(torch.randn(5, 2)).mean
    tolerance = {"LogitNormal": 0.02, "DiscretizedLogisticMixture": 0.02}.get(name, 1e-4)
    assert torch.allclose(got, mean.expand(5, *shape), rtol=1e-3, atol=tolerance)


@pytest.mark.parametrize("name", ["Beta", "Gamma", "Laplace", "LogNormal", "LogitNormal", "Normal", "StudentT"])
@pytest.mark.parametrize("word", ["learned", "pixel", "network"])
def test_started_at_the_data_the_deviation_is_theirs(name, word):
    option = "concentration" if name in ("Beta", "Gamma") else "scale"
    likelihood = make(name, **{option: word}).start_at(torch.full((3,), 0.4), torch.full((3,), 0.1))
    p = still(likelihood)(torch.zeros(2))
    assert torch.allclose(p.variance.sqrt(), torch.full((3,), 0.1), rtol=0.15)


def test_negative_binomials_start_at_the_overdispersion():
    likelihood = make("NegativeBinomial").start_at(torch.full((3,), 5.0), torch.full((3,), 4.0))
    assert torch.allclose(still(likelihood)(torch.zeros(2)).variance, torch.tensor(16.0), rtol=1e-3)


def test_against_scipy():
    """log_prob with known parameters, written into the head's bias."""
    raw = 0.7
    soft = math.log1p(math.exp(raw)) + 1e-6
    share = 1 / (1 + math.exp(-raw))
    expected = {
        "Laplace": scipy.stats.laplace(raw, 2.0).logpdf(DATA["Laplace"]),
        "StudentT": scipy.stats.t(4.0, raw, 2.0).logpdf(DATA["StudentT"]),
        "LogNormal": scipy.stats.lognorm(2.0, scale=math.exp(raw)).logpdf(POSITIVE),
        "Gamma": scipy.stats.gamma(2.0, scale=soft / 2.0).logpdf(POSITIVE),
        "Beta": scipy.stats.beta(2.0 * share, 2.0 * (1 - share)).logpdf(UNIT),
        "Poisson": scipy.stats.poisson(soft).logpmf(COUNT),
        "NegativeBinomial": scipy.stats.nbinom(2.0, 2.0 / (2.0 + soft)).logpmf(COUNT),
    }
    options = {"Laplace": {"scale": 2.0}, "StudentT": {"df": 4, "scale": 2.0}, "LogNormal": {"scale": 2.0}}
    options |= {name: {"concentration": 2.0} for name in ("Gamma", "Beta", "NegativeBinomial")}
    for name, value in expected.items():
        p = set_head(make(name, **options.get(name, {})), raw)
        x = torch.tensor(DATA[name])
        assert torch.allclose(p.base_dist.log_prob(x).double(), torch.tensor(value), atol=3e-5), name
    p = set_head(make("ZeroInflatedPoisson"), raw, 2.0)  # gate logit 2 - 2 = 0
    poisson = torch.tensor(scipy.stats.poisson(soft).pmf(COUNT))
    expected = (0.5 * poisson + torch.tensor([0.5, 0.0, 0.0])).log()
    assert torch.allclose(p.base_dist.log_prob(torch.tensor(COUNT)).double(), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("Laplace", {"scale": 0}, "scale must be a positive number"),
        ("Gamma", {"concentration": -1.0}, "concentration must be a positive number, 'learned', 'pixel' or 'network'"),
        ("NegativeBinomial", {"concentration": "optimal"}, "concentration must be .* not 'optimal'"),
        ("StudentT", {"df": 1.0}, "df must be a number above 1, .* not 1.0"),
        ("StudentT", {"df": "fixed"}, "df must be"),
        ("Categorical", {"levels": 1}, "levels must be a whole number of at least 2, not 1"),
        ("DiscretizedLogisticMixture", {"components": 0}, "components must be a whole number of at least 1, not 0"),
        ("DiscretizedLogisticMixture", {"levels": 1}, "levels must be"),
        ("Multinomial", {"total_count": 0}, "total_count must be a whole number of at least 1, not 0"),
        ("Multinomial", {"shape": 1}, "shape must hold at least 2 words"),
    ],
)
def test_bad_arguments(name, options, message):
    with pytest.raises(ValueError, match=message):
        make(name, **options)


@pytest.mark.parametrize(
    ("name", "x", "message"),
    [
        ("Beta", [[0.5, 1.0, 0.2]], r"outside the likelihood's support \(0, 1\) .*; dequantize grey levels"),
        ("LogitNormal", [[0.5, 0.0, 0.2]], "continuous-bernoulli"),
        ("Categorical", [[0.5, 1.0, 0.2]], r"256 levels k/255 in \[0, 1\] .*; round it to 256 levels"),
        ("Poisson", [[0.5, 1.0, 2.0]], "round it if these are counts"),
        ("Gamma", [[0.0, 1.0, 2.0]], "leave zeros out or add a small number"),
        ("ContinuousBernoulli", [[0.0, 1.0, 2.0]], "divide it by 255"),
    ],
)
def test_data_outside_the_support(name, x, message):
    with pytest.raises(ValueError, match=message):
        data.as_split(torch.tensor(x)).check(make(name).support)


def test_counts_that_were_scaled():
    with pytest.raises(ValueError, match="0, 1, 2, .*; load it with scale='none' if these are counts"):
        data.load("digits").train.check(make("Poisson").support)


def test_dequantized_data_are_not_on_levels():
    split = data.Split(torch.rand(4, 3).round(), levels=3)
    with pytest.raises(ValueError, match="dequantized to .* use dequantize=False"):
        split.check(make("Categorical", levels=3).support)
    split.check(make("Beta").support)


def test_multinomial_totals():
    likelihood = make("Multinomial")
    assert likelihood(torch.zeros(4, 2)).sample().sum(-1).tolist() == [100.0] * 4
    likelihood.start_at(torch.tensor([1.0, 4.2, 3.0]))
    assert likelihood(torch.zeros(4, 2)).sample().sum(-1).tolist() == [8.0] * 4
    fixed = make("Multinomial", total_count=5).start_at(torch.tensor([1.0, 4.2, 3.0]))
    assert fixed(torch.zeros(2)).mean.sum().item() == pytest.approx(5.0)


# The optimal scale


def test_optimal_scale_is_the_root_mean_squared_error_in_training():
    likelihood, z, x = make("Normal", scale="optimal"), torch.randn(50, 2), torch.randn(50, 3)
    error = (x - likelihood(z).mean).square().mean()
    normal = torch.distributions.Normal(likelihood(z).mean, error.sqrt())
    assert torch.allclose(likelihood(z).log_prob(x), normal.log_prob(x).sum(-1))
    # the most that one scale can give
    assert likelihood(z).log_prob(x).sum().item() == pytest.approx(
        -75 * (math.log(2 * math.pi * error.item()) + 1), rel=1e-5
    )


def test_optimal_scale_has_the_gradient_of_the_profile():
    likelihood, z, x = make("Normal", scale="optimal"), torch.randn(20, 2), torch.randn(20, 3)
    likelihood(z).log_prob(x).sum().backward()
    ours = likelihood.head.layer.weight.grad.clone()
    likelihood.zero_grad()
    (-30 * (x - likelihood(z).mean).square().mean().log()).backward()
    assert torch.allclose(ours, likelihood.head.layer.weight.grad, rtol=1e-4, atol=1e-5)


def test_optimal_scale_in_evaluation_is_a_density_of_its_own():
    likelihood, z = make("Normal", 1, scale="optimal"), torch.zeros(1, 2)
    batches = torch.randn(400, 64, 1, generator=torch.Generator().manual_seed(0)) * 0.3
    errors = [(x - likelihood(z).mean).square().mean().item() for x in batches]
    for x in batches:
        likelihood(z).log_prob(x)
    assert likelihood.variance.item() == pytest.approx(sum(errors[-40:]) / 40, rel=0.15)
    kept = likelihood.variance.clone()
    likelihood.eval()
    x = torch.linspace(-9, 9, 20001)[:, None]
    assert torch.trapezoid(likelihood(z[0]).log_prob(x).exp(), x[:, 0]).item() == pytest.approx(1.0, abs=1e-4)
    assert torch.equal(likelihood.variance, kept)
    # one datum's figure does not depend on the others'
    assert torch.allclose(likelihood(z[0]).log_prob(x)[:5], likelihood(z[0]).log_prob(x[:5]))
    likelihood.train()
    with torch.no_grad():
        likelihood(z).log_prob(x)
    assert torch.equal(likelihood.variance, kept)


def test_optimal_scale_leaves_missing_entries_out():
    likelihood, z, x = make("Normal", scale="optimal"), torch.randn(50, 2), torch.randn(50, 3)
    x[:, 1] = math.nan
    p = likelihoods.Missing(likelihood)(z)
    error = (x - p.mean)[:, [0, 2]].square().mean()
    normal = torch.distributions.Normal(p.mean, error.sqrt())
    assert torch.allclose(p.log_prob(x), normal.log_prob(x.nan_to_num())[:, [0, 2]].sum(-1))
    assert likelihood.variance.item() == pytest.approx(error.item(), rel=1e-5)


def test_optimal_scale_trains_and_resumes(tmp_path):
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([3.0, 0.2, 0.2])

    def model():
        torch.manual_seed(0)
        return VAE(priors.Normal(2), posteriors.Normal(networks.MLP(3, []), 2), make("Normal", scale="optimal"))

    whole = model()
    options = {"batch_size": 40, "lr": 0.03, "progress": False}
    fit(SVI(whole), x, epochs=10, out=tmp_path / "whole", **options)
    halved = model()
    fit(SVI(halved), x, epochs=5, out=tmp_path / "halved", **options)
    again = model()
    fit(SVI(again), x, epochs=10, out=tmp_path / "halved", resume=True, **options)
    assert whole.likelihood.batches == 50 and whole.likelihood.variance < 2.5
    assert torch.equal(whole.likelihood.variance, again.likelihood.variance)


# Missing entries


@pytest.mark.parametrize("name", sorted(set(DATA) - {"Multinomial"}))
def test_any_likelihood_with_missing_entries(name):
    likelihood = make(name)
    wrapped = likelihoods.Missing(likelihood.eval())
    x = torch.tensor(DATA[name])
    z = torch.randn(4, 5, 2)
    assert torch.allclose(wrapped(z).log_prob(x), likelihood(z).log_prob(x), atol=1e-5)
    p = likelihood(z)
    hole = x.clone()
    hole[1] = math.nan
    expected = p.base_dist.log_prob(x)[..., [0, 2]].sum(-1)
    assert torch.allclose(wrapped(z).log_prob(hole), expected, atol=1e-5)
    assert isinstance(wrapped(z), MissingEntries) and wrapped.mass == likelihood.mass
    assert wrapped.support.check(hole).all() and wrapped.support.is_discrete == likelihood.mass
    wrapped(z).log_prob(torch.full((3,), math.nan)).sum().backward()
    assert all(q.grad is None or (q.grad == 0).all() for q in likelihood.parameters())


def test_missing_refuses():
    with pytest.raises(ValueError, match="likelihood Multinomial is over whole events"):
        likelihoods.Missing(make("Multinomial"))
    with pytest.raises(TypeError, match="likelihood must be one of ppl_vae.likelihoods"):
        likelihoods.Missing(networks.MLP(2, []))
    with pytest.raises(ValueError, match=r"wrap it, as in networks.FillMissing\(network, \(3,\)\)"):
        VAE(
            priors.Normal(2),
            posteriors.Normal(networks.MLP(3, [4]), 2),
            likelihoods.Missing(make("Normal")),
        )


@pytest.mark.parametrize("mask", [False, True])
def test_a_vae_of_data_with_holes(mask):
    torch.manual_seed(0)
    x = torch.randn(120, 1) * torch.tensor([1.0, -1.0, 2.0]) + 0.1 * torch.randn(120, 3) + 4.0
    holes = x.clone()
    holes[torch.rand(120, 3) < 0.2] = math.nan
    split = data.as_split(holes)
    encoder = networks.FillMissing(networks.MLP(6 if mask else 3, [16]), 3, fill=split.mean(), mask=mask)
    likelihood = likelihoods.Missing(make("Normal")).start_at(split.mean(), split.std())
    vae = VAE(priors.Normal(2), posteriors.Normal(encoder, 2), likelihood)
    history = fit(SVI(vae), split, epochs=60, batch_size=40, lr=0.02, progress=False)
    assert history.rows[-1]["train"]["loss"] < history.rows[0]["train"]["loss"] - 0.5
    figures = evaluation.evaluate(vae, split, num_particles=20)
    assert figures["log_likelihood_kind"] == "density"
    assert all(math.isfinite(v) for k, v in figures.items() if isinstance(v, float) and k != "khat")
    seen = (~holes.isnan()).sum().item() / 120
    assert figures["bits_per_dim"] == pytest.approx(-figures["log_likelihood"] / seen / math.log(2))
