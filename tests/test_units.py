"""Units are the model's: weights and densities equal scaling outside, and log p(x) is a density of x as it is given."""

import copy
import math

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from sklearn.datasets import load_wine
from torch import nn

import ppl_vae
from ppl_vae import (
    SVI,
    VAE,
    Reconstruction,
    distributions,
    estimators,
    evaluation,
    fit,
    likelihoods,
    models,
    networks,
    penalties,
    posteriors,
    priors,
    supports,
)
from ppl_vae.cli import main
from ppl_vae.data import as_split
from ppl_vae.training.capture import Captured

D = 4
FACTORS = torch.tensor([2000.0, 1.0, 0.01, 50.0])


def rows(n=96):
    draw = torch.Generator().manual_seed(11)
    u = torch.randn(n, D, generator=draw) @ torch.randn(D, D, generator=draw)
    return u * FACTORS + torch.tensor([5e4, 0.0, 3.0, -7.0])


X = rows()


def moments(x):
    return as_split(x).mean(), as_split(x).std()


def outside(x, by="standard", of=None):
    """x scaled by the units of ``of``, and these units."""
    of = x if of is None else of
    shift, unit = moments(of) if by == "standard" else (of.amin(0), of.amax(0) - of.amin(0))
    return (x - shift) / unit, unit


def vae(scaled, likelihood=likelihoods.Normal, by="standard", prior=None, condition=None, missing=False, **options):
    torch.manual_seed(3)
    size = 0 if condition is None else condition.size
    encoder = networks.MLP(((2 if missing else 1) * D) + size, [8])
    decoder = networks.MLP(2 + size, [8])
    encoder = networks.FillMissing(encoder, D, mask=True) if missing else encoder
    if condition is not None:
        encoder, decoder = networks.Conditioned(encoder, condition), networks.Conditioned(decoder, condition)
    p = likelihood(decoder, D, **options)
    if scaled:
        encoder, p = networks.Scaled.around(encoder, by), likelihoods.Scaled(p, by)
    p = likelihoods.Missing(p) if missing else p
    q = posteriors.Normal(encoder, 2)
    return VAE(priors.Normal(2) if prior is None else prior(q), q, p)


def trained(model, x, y=None, estimator=None, **options):
    data = x if y is None else (x, y)
    settings = {"epochs": 4, "batch_size": 16, "progress": False, "compile": False} | options
    history = fit(SVI(model, estimator), data, **settings)
    return model, history.rows[-1]["train"]


def assert_same_weights(inside, out, tolerance=2e-4):
    """Up to the rounding of x and its moments to float32, which 24 steps of Adam may enlarge."""
    for one, other in zip(inside.parameters(), out.parameters(), strict=True):
        assert torch.allclose(one, other, atol=tolerance)


CASES = {
    "normal": {},
    "optimal": {"scale": "optimal"},
    "student": {"likelihood": likelihoods.StudentT},
    "by range": {"by": "unit"},
    "on the interval": {"by": "unit", "likelihood": likelihoods.ContinuousBernoulli},
    "vamp": {"prior": lambda q: priors.VampPrior(q, 5, inputs="real")},
    "given labels": {"condition": networks.Label(3)},
}


@pytest.mark.parametrize("case", CASES)
def test_weights_and_densities_are_those_of_scaling_outside(case):
    options = CASES[case]
    y = torch.arange(len(X)) % 3 if "condition" in options else None
    u, unit = outside(X, options.get("by", "standard"))
    (out, of_out), (inside, of_inside) = trained(vae(False, **options), u, y), trained(vae(True, **options), X, y)
    assert_same_weights(inside, out)
    volume = unit.log().sum().item()
    assert of_inside["loss"] == pytest.approx(of_out["loss"] + volume, abs=1e-3)
    there, here = (evaluation.log_likelihood(m, v, y, num_particles=20).value for m, v in ((out, u), (inside, X)))
    assert torch.allclose(there - here, torch.full_like(here, volume), atol=2e-3)
    shown, back = evaluation.reconstruct(inside, X, y), evaluation.reconstruct(out, u, y)
    assert torch.allclose((shown - X.mean(0)) / unit, (back * unit + (X - u * unit)[0] - X.mean(0)) / unit, atol=1e-3)


def test_pseudo_inputs_are_learned_in_the_encoders_units_and_lie_among_the_data():
    inside, _ = trained(vae(True, prior=CASES["vamp"]["prior"]), X)
    start = X[torch.arange(5)]
    moved = (inside.prior.pseudo_inputs - start).abs() / X.std(0)
    assert moved.max() < 0.1 and (moved.amax(0) > 1e-3).all()  # 24 steps of 0.001, in every column's own unit


@pytest.mark.parametrize("estimator", [None, estimators.IWAE(5)], ids=["elbo", "iwae"])
def test_income_in_thousands_changes_log_p_by_log_1000_a_row(estimator):
    def loss(factor):
        x = X.clone()
        x[:, 0] /= factor
        model, train = trained(vae(True), x, estimator=copy.deepcopy(estimator))
        return model, train["loss"], evaluation.log_likelihood(model, x, num_particles=20).value

    (model, before, log_p), (_, after, log_p_after) = loss(1.0), loss(1000.0)
    assert before - after == pytest.approx(math.log(1000), abs=1e-3)
    assert torch.allclose(log_p_after - log_p, torch.full_like(log_p, math.log(1000)), atol=2e-3)
    # a power of 2 changes no bit of x / unit, so the weights are the same to the bit
    binary, less, log_p_after = loss(1024.0)
    if estimator is None:  # the log-weights of IWAE are rounded with the constant
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), binary.parameters(), strict=True))
    assert before - less == pytest.approx(math.log(1024), abs=1e-4)
    assert torch.allclose(log_p_after - log_p, torch.full_like(log_p, math.log(1024)), atol=2e-4)


def test_only_seen_entries_have_a_jacobian():
    hole = X.clone()
    hole[::2, 0] = torch.nan
    hole[::3, 2] = torch.nan
    shift, unit = moments(hole)
    inside, _ = trained(vae(True, missing=True), hole)
    out, _ = trained(vae(False, missing=True), (hole - shift) / unit)
    assert_same_weights(inside, out)
    z = torch.zeros(len(X), 2)
    expected = out.likelihood(z).log_prob((hole - shift) / unit) - (unit.log() * ~hole.isnan()).sum(1)
    assert torch.allclose(inside.likelihood(z).log_prob(hole), expected, atol=1e-3)
    nothing = torch.full((1, D), torch.nan)
    assert inside.likelihood(z[:1]).log_prob(nothing).item() == 0
    filled = evaluation.impute(inside, hole, num_samples=10)
    assert (filled.x[::2, 0] - 5e4).abs().max() < 5 * X[:, 0].std() and filled.x.isfinite().all()


@pytest.mark.parametrize("case", ["normal", "optimal", "vamp", "given labels", "by range"])
def test_captured_steps_are_eager_ones_and_read_units_that_are_set_later(case):
    objective = SVI(vae(True, **CASES[case])).train()
    batch = (X[:16], torch.arange(16) % 3) if case == "given labels" else (X[:16],)
    objective.prepare(*batch)
    captured = Captured(objective.train(), batch, compiled=False)
    objective.start(as_split(X))
    found = []
    for step in (captured, eager(objective)):
        state = copy.deepcopy(objective.state_dict())
        objective.zero_grad()
        torch.manual_seed(2)
        found.append([step(batch).value.detach().clone(), *(p.grad.clone() for p in objective.parameters())])
        objective.load_state_dict(state)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def eager(objective):
    def step(batch):
        loss = objective(*batch)
        loss.value.backward()
        return loss

    return step


def test_the_distribution_is_that_of_shift_plus_unit_u():
    torch.manual_seed(0)
    shift, unit = torch.tensor([5.0, -1.0, 100.0]), torch.tensor([10.0, 0.1, 3.0])
    base = dist.Normal(torch.randn(7, 3), torch.rand(7, 3) + 0.5).to_event(1)
    p = distributions.Scaled(base, shift, unit)
    closed = dist.Normal(shift + unit * base.base_dist.loc, unit * base.base_dist.scale).to_event(1)
    x = closed.sample((4,))
    assert torch.allclose(p.log_prob(x), closed.log_prob(x), atol=1e-4)
    for name in ("mean", "variance", "stddev"):
        assert torch.allclose(getattr(p, name), getattr(closed, name))
    assert torch.allclose(p.entropy(), closed.entropy())
    torch.manual_seed(1)
    drawn = p.rsample((5,))
    torch.manual_seed(1)
    assert torch.allclose(drawn, closed.rsample((5,)))
    wide = p.expand((2, 7))
    assert wide.batch_shape == (2, 7) and torch.equal(wide.log_prob(x[0]), p.log_prob(x[0]).expand(2, 7))
    seen = torch.rand(4, 7, 3) < 0.5
    each = distributions.missing.entry_log_prob(p, torch.where(seen, x, torch.nan), seen)
    assert torch.allclose(each[seen], closed.base_dist.log_prob(x)[seen], atol=1e-4)
    single = distributions.Scaled(dist.Uniform(torch.zeros(3), torch.ones(3)), shift, unit)  # no event: by entry
    assert torch.allclose(single.log_prob(shift + unit / 2), -unit.log())
    assert single.support.check(shift + unit).all() and not single.support.check(shift + 1.01 * unit).any()


@pytest.mark.parametrize("scale", ["standard", "unit"])
@pytest.mark.parametrize("kind", ["plain", "penalised", "stacked", "regularised"])
def test_autoencoders_train_in_their_units_and_give_back_the_datas(kind, scale):
    def made(scale):
        torch.manual_seed(5)
        nets = networks.MLP(D, [6]), networks.MLP(2, [6]), 2, D, "identity"
        if kind == "stacked":
            return models.StackedAutoencoder(*nets, pretrain=2, beside=True, scale=scale)
        if kind == "regularised":
            return models.RegularizedAutoencoder(*nets, components=2, scale=scale)
        extra = {} if kind == "plain" else {"penalty": [penalties.L1(0.1), penalties.Contraction(0.1)]}
        return models.Autoencoder(*nets, **extra, scale=scale)

    u, unit = outside(X, scale)
    settings = {"epochs": 4, "batch_size": 16, "progress": False, "compile": False}
    inside, out = made(scale), made(None)
    first, second = (fit(Reconstruction(m), v, **settings).rows for m, v in ((inside, X), (out, u)))
    assert_same_weights(inside, out)
    assert len(first) == (8 if kind == "stacked" else 4)
    for one, other in zip(first, second, strict=True):
        assert one["train"] == pytest.approx(other["train"], rel=1e-3)
    assert torch.allclose(inside.encode(X), out.encode(u), atol=1e-3)
    error = evaluation.reconstruction_error(inside, X)
    assert torch.allclose(error, ((out(u) - u) * unit).square().sum(1).detach(), rtol=1e-3)


def test_a_cross_entropy_in_the_range_of_the_rows():
    torch.manual_seed(0)
    ae = models.Autoencoder(networks.MLP(D, [6]), networks.MLP(2, [6]), 2, D, scale="unit")
    fit(Reconstruction(ae, "bce"), X, epochs=1, progress=False)
    assert supports.of(ae.support) != supports.UNIT_INTERVAL and ae.support.check(X).all()
    low, high = X.amin(0), X.amax(0)
    assert ((ae(X) >= low) & (ae(X) <= high)).all()


def test_pictures_have_units_by_channel():
    torch.manual_seed(0)
    x = torch.randn(50, 2, 3, 3) * torch.tensor([10.0, 0.1])[:, None, None] + torch.arange(9.0).reshape(3, 3)
    network = networks.Scaled(networks.Conv((2, 3, 3), [3]), (2, 3, 3))
    network.start(as_split(x))
    assert network.units.shift.shape == (2, 1, 1)
    assert torch.allclose(network.units.shift.flatten(), x.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(network.units.unit.flatten(), x.transpose(0, 1).flatten(1).std(1, correction=0), rtol=1e-5)
    flat = networks.Scaled.around(networks.Conditioned.around(networks.MLP, networks.Label(4), (2, 3, 3), [5]), "unit")
    flat.layers.start(as_split(x))
    units = flat.layers.units
    assert torch.equal(units.shift[:9], x[:, 0].amin().expand(9)) and torch.equal(units.shift[18:], torch.zeros(4))
    assert torch.equal(units.unit[18:], torch.ones(4))
    (shift, unit), y = units.of((2, 3, 3)), torch.arange(50) % 4
    seen = flat.layers.layers(torch.cat([((x - shift) / unit).flatten(1), nn.functional.one_hot(y, 4)], 1))
    assert torch.allclose(flat(x, y), seen, atol=1e-6)


def test_units_of_constant_and_empty_columns_and_what_is_set_stays():
    x = X.clone()
    x[:, 1], x[:, 2] = 1e6 + 0.1, torch.nan
    for by in ("standard", "unit"):
        units = networks.Units(D, by)
        units.start(as_split(x))
        assert units.unit[1:3].tolist() == [1.0, 1.0] and units.shift[2] == 0 and units.known
        before = units.shift.clone()
        units.start(as_split(2 * x))
        assert torch.equal(units.shift, before)
        again = networks.Units(D, by)
        again.load_state_dict(units.state_dict())
        again.start(as_split(2 * x))  # loaded units stay too
        assert torch.equal(again.shift, before)
    low, high = as_split(x).range()
    assert low[[0, 3]].equal(x.amin(0)[[0, 3]]) and high[2] == low[2] == 0


def test_rows_outside_of_the_range_are_refused(tmp_path):
    model = vae(True, by="unit", likelihood=likelihoods.ContinuousBernoulli)
    beyond = X[:20].clone()
    beyond[7, 3] = X[:, 3].amax() + 12
    message = r"row 7, .* in column 3, outside the training rows' range from .* use a likelihood on the real line"
    with pytest.raises(ValueError, match=message):
        fit(SVI(model), X, beyond, epochs=1, progress=False)
    with pytest.raises(ValueError, match=message):
        evaluation.log_likelihood(model, beyond, num_particles=2)
    fit(SVI(vae(True, by="unit")), X, beyond, epochs=1, progress=False)  # a Normal takes any number


MLP = networks.MLP(2, [5])


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: likelihoods.Scaled(likelihoods.Poisson(MLP, 3)), ValueError, "Poisson is a mass on the counts"),
        (lambda: likelihoods.Scaled(likelihoods.Bernoulli(MLP, 3)), ValueError, r"mass on \{0, 1\}"),
        (lambda: likelihoods.Scaled(likelihoods.Categorical(MLP, 3)), ValueError, "is a mass"),
        (lambda: likelihoods.Scaled(likelihoods.Columns(MLP, 3)), ValueError, "has units of its columns inside"),
        (lambda: likelihoods.Scaled(likelihoods.Missing(likelihoods.Normal(MLP, 3))), ValueError, "outermost"),
        (lambda: likelihoods.Scaled(likelihoods.Gamma(MLP, 3)), ValueError, "the positive numbers, which standardised"),
        (lambda: likelihoods.Scaled(likelihoods.Beta(MLP, 3), "unit"), ValueError, "minimum and maximum leave"),
        (lambda: likelihoods.Scaled(likelihoods.ContinuousBernoulli(MLP, 3)), ValueError, "standardised data leave"),
        (lambda: likelihoods.Scaled(likelihoods.Normal(MLP, 3), "unti"), ValueError, "'unti' is unknown.*unit"),
        (lambda: likelihoods.Scaled(MLP), TypeError, "likelihood must be one of .*, not a MLP"),
        (lambda: networks.Scaled(networks.MLP(3, [5]), 4), ValueError, r"takes \(3,\), but shape is \(4,\)"),
        (
            lambda: networks.Scaled(networks.Conditioned(networks.MLP(5, [5]), networks.Label(2)), 3),
            ValueError,
            "Conditioned, which must be outermost",
        ),
        (lambda: distributions.Scaled(dist.Poisson(1.0), 0.0, 2.0), ValueError, "the counts, whose multiples"),
        (
            lambda: models.Autoencoder(networks.MLP(3, [5]), MLP, 2, 3, "sigmoid", scale="standard"),
            ValueError,
            "'sigmoid' stays in",
        ),
    ],
)
def test_what_cannot_be_scaled_is_refused(make, error, words):
    with pytest.raises(error, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_the_natural_posterior_of_a_scaled_likelihood_is_scaled():
    torch.manual_seed(0)
    model = VAE(priors.Normal(2), likelihood=likelihoods.Scaled(likelihoods.Normal(networks.MLP(2, [5]), D)))
    assert isinstance(model.posterior.network, networks.Scaled)
    fit(SVI(model), X, epochs=1, progress=False)
    assert torch.equal(model.posterior.network.units.unit, model.likelihood.units.unit)


@pytest.mark.parametrize("words", [["--likelihood", "normal"], ["--model", "autoencoder"]], ids=["vae", "autoencoder"])
def test_a_loaded_model_takes_raw_rows(words, tmp_path):
    """Wine: proline goes to 1,680, and a model of standardised rows gave -866,465 nats for them."""
    x = load_wine().data.astype("float32")
    np.save(tmp_path / "wine.npy", x)
    line = ["train", "--data", tmp_path / "wine.npy", "--out", tmp_path / "run", "--hidden", "16", "--epochs", "2"]
    small = ["--latent-dim", "2", "--no-report", "--no-progress", "--quiet"]
    assert main([*map(str, line), *words, *small]) == 0
    model, raw = ppl_vae.load(tmp_path / "run"), torch.from_numpy(x)
    unit = torch.from_numpy(x.std(0))
    if words[0] == "--model":
        assert model.units.by == "standard" and model.output == "identity"
        assert (evaluation.reconstruct(model, raw) - raw).div(unit).abs().mean() < 1
        return
    found = evaluation.log_likelihood(model, raw, num_particles=50).value.mean().item()
    alone = dist.Normal(raw.mean(0), unit).to_event(1).log_prob(raw).mean().item()  # a Normal for every column
    assert found == pytest.approx(alone, abs=3)
