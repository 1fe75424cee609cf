"""Verdicts: what is said of a collapsed, overfitted, diverged, untrusted or undertrained model, and of a sound one."""

import math

import numpy as np
import pytest
import torch

from ppl_vae import SVI, VAE, data, evaluation, fit, likelihoods, models, networks, posteriors, priors
from ppl_vae.evaluation import collapsed, spreads, verdict

SOUND = {
    "log_likelihood": -23.0, "elbo": -23.4, "kl": 4.2, "gain": 4.4, "gain_stderr": 0.2, "active_units": 4,
    "baseline_log_likelihood": -27.4, "khat": 0.3, "num_particles": 100,
}  # fmt: skip


def names(*given, **more):
    return [found.name for found in verdict(*given, **more)]


def rows(curve, term="elbo", train=None, **more):
    pairs = zip(curve, curve if train is None else train, strict=True)
    return [
        {"stage": "", "epoch": i + 1, "step": 12 * (i + 1), "valid": {term: v}, "train": {term: t}, **more}
        for i, (v, t) in enumerate(pairs)
    ]


@pytest.mark.parametrize(("figures", "said"), [
    ({}, []),
    ({"active_units": 14, "kl": 0.79, "gain": 1.1, "gain_stderr": 0.1}, ["collapsed"]),  # measured on the digits
    ({"active_units": 1}, []),
    ({"gain": 0.3, "gain_stderr": 0.2}, ["collapsed"]),
    ({"gain": -0.3, "gain_stderr": 0.2}, ["collapsed"]),
    ({"gain": 0.5, "elbo": -27.0}, ["overfitted"]),  # of a training gain of 4.4
    ({"gain": -9.0, "gain_stderr": 1.0}, ["overfitted"]),
    ({"gain": -9.0, "gain_stderr": 1.0, "kl": 0.1}, ["collapsed"]),
    ({"khat": 0.71}, ["untrusted"]),
    ({"khat": math.nan}, ["untrusted"]),
    ({"khat": 0.6, "num_particles": 5000}, []),
    ({"khat": math.nan, "num_particles": 20}, []),  # too few for a k-hat
    ({"log_likelihood": -math.inf}, ["diverged"]),
    ({"elbo": None}, ["diverged"]),
    ({"spread_least": 0.003, "spread_most": 0.4}, ["diverged"]),
    ({"spread_least": 0.4, "spread_most": 40.0}, ["diverged"]),
    ({"spread_least": 0.05, "spread_most": 1.0}, []),
])  # fmt: skip
def test_what_the_figures_show(figures, said):
    assert names(SOUND | figures, rows([-24.0, -23.0, -23.1, -23.2, -23.0, -23.1, -23.2])) == said


def test_the_elbo_of_training_and_test_are_worlds_apart():
    course = rows([-40.0, -26.0, -30.0, -35.0, -40.0], train=[-40.0, -15.0, -10.0, -5.0, 0.0])
    figures = SOUND | {"elbo": -26.0, "gain": 1.8}
    assert names(figures, course) == ["overfitted"]
    assert "of its gain of 12.4 nats on training rows 1.4 nats are left" in verdict(figures, course)[0].sentence
    assert names(figures | {"gain_stderr": 4.0, "gain": 9.0}, course) == []  # too few rows to tell


def test_programs_of_ones_own_may_have_a_small_kl():
    program = models.Program(lambda x: None, lambda x: None)
    assert names(SOUND | {"kl": 0.1}, model=program) == [] and names(SOUND | {"kl": 0.1}) == ["collapsed"]


@pytest.mark.parametrize(("curve", "patience", "said"), [
    (-30 + 5 * (1 - np.exp(-np.arange(20) / 15)), None, ["undertrained"]),
    (-30 + 5 * (1 - np.exp(-np.arange(200) / 15)), None, []),
    (-30 + 0.1 * np.random.default_rng(0).standard_normal(40), None, []),  # noise
    (np.r_[-30 + np.arange(20) / 4, -25.5 - np.arange(10) / 4], None, []),  # overfitting
    (np.r_[-30 + np.arange(28) / 4, -25.5, -25.4, -25.3], 3, []),  # stopped by patience
    (np.array([-30.0, -28.0]), None, ["undertrained"]),
    (np.array([-30.0]), None, []),
    (np.r_[-30 + 0.04 * np.arange(6) / 5], None, []),  # 0.04 nats
    (np.r_[-100.0, -30 + 0.4 * np.arange(6) / 5], None, []),  # of 70
])  # fmt: skip
def test_a_validation_curve_that_still_rises(curve, patience, said):
    assert names({}, rows([*map(float, curve)]), patience=patience) == said
    if np.ptp(curve) > 0.1:  # what is little in nats may be much in another unit
        assert names({}, rows([*map(float, -curve)], term="squared_error"), patience=patience) == said


def test_rows_of_other_stages_and_terms_are_not_judged():
    rising = rows([-30.0, -28.0, -26.0])
    assert names({}, [{**row, "stage": "codes"} for row in rising]) == []
    assert names({}, rows([3.0, 2.0, 1.0], term="loss")) == []  # of a game, it may mean anything
    assert names({}, [{**row, "valid": None} for row in rising]) == []


def test_the_advice_fits():
    (found,) = verdict(SOUND | {"kl": 0.2}, rows([-26.0] * 20))
    assert str(found) == (
        "The model is collapsed: its codes carry 0.20 nats of information in all, less than 1 nat. "
        "Try: train longer (--epochs 167), a KL warm-up (--beta linear --beta.steps 666)."
    )
    density = SOUND | {"kl": 0.2, "log_likelihood_kind": "density"}
    assert "smaller scale" in verdict(density)[0].advice
    assert "--beta 1 instead of 4" in verdict(density, rows([-26.0] * 20, beta=4.0))[0].advice
    assert collapsed(verdict(density)) and not collapsed(verdict(SOUND | {"khat": 2.0}))


def normal(scale="pixel", **more):
    torch.manual_seed(0)
    return VAE(priors.Normal(2), likelihood=likelihoods.Normal(networks.MLP(2, [8]), 3, scale=scale, **more))


def test_a_scale_at_its_floor_is_found_in_the_units_of_the_data():
    x = 5.0 * torch.randn(300, 3, generator=torch.Generator().manual_seed(1))
    for unit in (1.0, 1000.0):
        model = normal()
        model.likelihood.start_at(unit * x.mean(0), unit * x.std(0))
        assert spreads(model, unit * x, train=unit * x)["spread_least"] == pytest.approx(1.0, abs=0.1)
        with torch.no_grad():
            model.likelihood.raw_scale[1] = -30.0
        found = spreads(model, unit * x, train=unit * x)
        assert found["spread_least"] < 0.001 and names(SOUND | found) == ["diverged"]
    fixed = normal(0.001)
    assert spreads(fixed, x, train=x) == {}  # it is the user's choice
    y = x.clone()
    y[:, 0] = 3.0
    assert spreads(normal("learned"), y, train=y)["spread_most"] < 1  # entries that do not vary are left out


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def digits_vae(digits, dim=16):
    torch.manual_seed(0)
    encoder, decoder = networks.MLP(digits.shape, [64]), networks.MLP(dim, [64])
    return VAE(priors.Normal(dim), posteriors.Normal(encoder, dim), likelihoods.Bernoulli(decoder, digits.shape))


def trained(digits, steps, **more):
    model = digits_vae(digits)
    epochs = math.ceil(steps / 12)
    history = fit(SVI(model), digits.train, digits.valid, epochs=epochs, progress=False, compile=False, **more)
    results = evaluation.evaluate(model, digits.test, num_particles=100, train=digits.train)
    return results, history.rows


def test_a_run_of_240_steps_is_collapsed_whatever_its_active_units(digits):
    results, course = trained(digits, 240)
    assert results["active_units"] >= 6 and results["kl"] < 1
    assert "collapsed" in names(results, course)


@pytest.mark.slow
def test_a_well_trained_one_with_few_active_units_is_not(digits):
    results, course = trained(digits, 2000, lr=3e-3)
    assert results["active_units"] <= 8 and results["gain"] > 2
    assert "collapsed" not in names(results, course) and "overfitted" not in names(results, course)


def test_a_code_of_pure_noise_is_collapsed_by_its_gain(digits):
    """A KL of many nats that help nothing: a decoder that ignores its codes, at the fitted marginals."""
    model = digits_vae(digits, 4)
    model.likelihood.start(digits.train.resolve(model.support))
    with torch.no_grad():
        model.likelihood.head.layer.weight.zero_()
        layer = model.posterior.head.layer
        layer.weight[4:], layer.bias[4:] = 0.0, math.log(math.e - 1)  # q of deviation 1
        means = model.encode(digits.test.resolve(model.support).take(slice(None))[0])
        layer.weight[:4] /= means.square().sum(1).mean().sqrt() / 2
        layer.bias[:4] = 0.0
    results = evaluation.evaluate(model, digits.test, num_particles=2000, limit=100, train=digits.train)
    assert results["kl"] > 1 and results["gain_stderr"] < 0.1  # paired; that of the log-likelihood itself is 0.5
    assert names(results | {"khat": 0.0}, model=model) == ["collapsed"], results
