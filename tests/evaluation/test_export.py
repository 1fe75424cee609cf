import builtins
import math
import warnings

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from contracts import LinearGaussian, within

from ppl_vae import VAE, evaluation, likelihoods, models, networks, posteriors, priors
from ppl_vae.evaluation import to_arviz
from ppl_vae.statistics.weights import summarize

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    az = pytest.importorskip("arviz")

X = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))


def make_vae():
    torch.manual_seed(0)
    return VAE(
        priors.Normal(2),
        posteriors.Normal(networks.MLP((1, 4, 4), [8]), 2),
        likelihoods.Bernoulli(networks.MLP(2, [8]), (1, 4, 4)),
    )


def test_groups_have_their_sites_dimensions_and_shapes():
    x = (torch.rand(5, 1, 4, 4) > 0.5).float()
    found = to_arviz(make_vae(), x, num_draws=50, chains=4)
    assert sorted(found.groups()) == [
        "log_likelihood",
        "observed_data",
        "posterior",
        "posterior_predictive",
        "prior",
        "prior_predictive",
        "sample_stats",
    ]
    pixels = ("x_dim_0", "x_dim_1", "x_dim_2")
    for group, name, dims, shape in (
        ("posterior", "z", ("chain", "draw", "data", "z_dim_0"), (4, 50, 5, 2)),
        ("prior", "z", ("chain", "draw", "data", "z_dim_0"), (4, 50, 5, 2)),
        ("log_likelihood", "x", ("chain", "draw", "data"), (4, 50, 5)),
        ("sample_stats", "log_weight", ("chain", "draw", "data"), (4, 50, 5)),
        ("posterior_predictive", "x", ("chain", "draw", "data", *pixels), (4, 50, 5, 1, 4, 4)),
        ("prior_predictive", "x", ("chain", "draw", "data", *pixels), (4, 50, 5, 1, 4, 4)),
        ("observed_data", "x", ("data", *pixels), (5, 1, 4, 4)),
    ):
        assert found[group][name].dims == dims and found[group][name].shape == shape, group
    np.testing.assert_array_equal(found.observed_data.x.values, x.numpy())
    assert set(np.unique(found.posterior_predictive.x)) <= {0.0, 1.0}
    summary = az.summary(found)
    assert len(summary) == 10 and {"mean", "sd", "r_hat"} <= set(summary.columns)
    without = to_arviz(make_vae(), x, num_draws=20, predictive=False)
    assert sorted(without.groups()) == ["log_likelihood", "observed_data", "posterior", "sample_stats"]


def test_draws_are_the_guides_and_in_arviz_say_what_ours_say():
    model = LinearGaussian()
    found = to_arviz(model, X, num_draws=500, chains=4, predictive=True)
    exact = (X @ model.a.T + model.c).detach()
    z = torch.tensor(found.posterior.z.values).flatten(0, 1)
    within(z, exact)
    assert torch.allclose(z.std(0), model.t.detach().expand(6, 2), rtol=0.1)
    np.testing.assert_allclose(az.summary(found, round_to=8)["mean"], z.mean(0).flatten(), rtol=1e-3, atol=1e-4)
    reconstruction, kl = (term.detach() for term in model.terms(X))
    log_p, log_w = (
        torch.tensor(group.values).flatten(0, 1) for group in (found.log_likelihood.x, found.sample_stats.log_weight)
    )
    within(log_p, reconstruction)
    within(log_w, reconstruction - kl)
    decoded = (exact @ model.w.T + model.b).detach()
    within(torch.tensor(found.posterior_predictive.x.values).flatten(0, 1), decoded)
    within(torch.tensor(found.prior.z.values).flatten(0, 1), torch.zeros(6, 2))
    within(torch.tensor(found.prior_predictive.x.values).flatten(0, 1), model.b.detach().expand(6, 3))
    predicted = torch.tensor(found.posterior_predictive.x.values).flatten(0, 1)
    variance = (model.w.square() @ model.t.square() + model.s**2).detach().expand(6, 3)
    within((predicted - decoded).square(), variance)  # its own draws of z, and the noise


def test_the_weights_give_the_log_likelihood_and_psis_agrees():
    model = LinearGaussian()
    found = to_arviz(model, X, num_draws=2000, predictive=False)
    log_w = torch.tensor(found.sample_stats.log_weight.values).flatten(0, 1)
    value, stderr, _, khat = summarize(log_w)
    ours = evaluation.log_likelihood(model, X, num_particles=2000)
    assert ((value - ours.value).abs() < 4 * (stderr.square() + ours.stderr.square()).sqrt() + 1e-4).all()
    flat = found.sample_stats.log_weight.stack(__sample__=("chain", "draw"))
    _, theirs = az.psislw(flat, reff=1.0)
    np.testing.assert_allclose(theirs.values, khat.numpy(), atol=0.05)


@pytest.mark.filterwarnings("ignore:For one or more samples", "ignore:Estimated shape parameter")
def test_waic_and_loo_of_an_exact_guide():
    # Of local codes under the exact posterior, 1 / E[1 / p(x | z)] = p(x): LOO is the log-likelihood itself.
    model = LinearGaussian()
    with torch.no_grad():
        model.w.mul_(0.15)
        covariance = torch.linalg.inv(torch.eye(2) + model.w.T @ model.w / model.s**2)

    def guide(x):
        with pyro.plate("data", len(x)):
            mean = (x - model.b) @ model.w / model.s**2 @ covariance
            pyro.sample("z", dist.MultivariateNormal(mean, covariance))

    model.guide = guide
    x = model.b.detach() + 0.7 * X  # as the model has it: no outlier
    found = to_arviz(model, x, num_draws=4000, predictive=False)
    log_p = found.log_likelihood.x.values.reshape(-1, 6)
    waic = az.waic(found, pointwise=True)
    lppd = np.logaddexp.reduce(log_p, 0) - math.log(len(log_p))
    np.testing.assert_allclose(waic.waic_i, lppd - log_p.var(0), rtol=1e-4, atol=1e-5)
    loo = az.loo(found, pointwise=True, reff=1.0)
    inverse = np.exp(-log_p)
    error = inverse.std(0) / inverse.mean(0) / math.sqrt(len(log_p))
    assert (np.abs(loo.loo_i.values - model.log_likelihood(x).detach().numpy()) < 4 * error).all()
    assert error.max() < 0.03
    assert np.ptp(found.sample_stats.log_weight.values, axis=(0, 1)).max() < 1e-3  # the exact guide


@pytest.mark.filterwarnings("ignore:Estimated shape parameter")
def test_a_program_with_global_latents_has_one_weight_a_draw():
    def model(x):
        w = pyro.sample("w", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(w * z[..., None], 1.0).to_event(1), obs=x)

    def guide(x):
        pyro.sample("w", dist.Normal(torch.ones(2), 0.5).to_event(1))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.sum(-1) / 2, 0.7))

    program = models.Program(model, guide)
    x = torch.randn(4, 2)
    found = to_arviz(program, x, num_draws=300)
    assert found.posterior.w.dims == ("chain", "draw", "w_dim_0") and found.posterior.w.shape == (1, 300, 2)
    assert found.posterior.z.dims == ("chain", "draw", "data") and found.posterior.z.shape == (1, 300, 4)
    assert found.sample_stats.log_weight.dims == ("chain", "draw")
    w, z = (torch.tensor(found.posterior[name].values[0]) for name in ("w", "z"))
    log_p = dist.Normal(w[:, None] * z[..., None], 1.0).log_prob(x).sum(-1)
    np.testing.assert_allclose(found.log_likelihood.x.values[0], log_p, rtol=1e-4, atol=1e-4)
    joint = log_p.sum(1) + dist.Normal(0.0, 1.0).log_prob(w).sum(1) + dist.Normal(0.0, 1.0).log_prob(z).sum(1)
    joint -= dist.Normal(1.0, 0.5).log_prob(w).sum(1) + dist.Normal(x.sum(-1) / 2, 0.7).log_prob(z).sum(1)
    np.testing.assert_allclose(found.sample_stats.log_weight.values[0], joint, rtol=1e-4, atol=1e-4)
    assert az.loo(found, pointwise=True).loo_i.shape == (4,)


def test_plates_inside_the_data_plate_are_dimensions():
    def model(x):
        with pyro.plate("rows", len(x), dim=-2):
            top = pyro.sample("top", dist.Normal(torch.zeros(1), 1.0))
            with pyro.plate("readings", 3, dim=-1):
                pyro.sample("x", dist.Normal(top, 1.0), obs=x)

    def guide(x):
        with pyro.plate("rows", len(x), dim=-2):
            pyro.sample("top", dist.Normal(x.mean(-1, keepdim=True), 0.5))

    found = to_arviz(models.Program(model, guide), torch.randn(5, 3), num_draws=30)
    assert found.posterior.top.shape == (1, 30, 5)
    assert found.observed_data.x.shape == (5, 3)
    assert found.posterior_predictive.x.shape == (1, 30, 5, 3)


def test_pieces_and_the_callers_generators(monkeypatch):
    model, state = LinearGaussian(), torch.get_rng_state()
    whole = to_arviz(model, X, num_draws=40, chains=2, seed=1)
    again = to_arviz(model, X, num_draws=40, chains=2, seed=1)
    np.testing.assert_array_equal(whole.posterior.z, again.posterior.z)
    assert not np.array_equal(whole.posterior.z, to_arviz(model, X, num_draws=40, chains=2, seed=2).posterior.z)
    assert torch.equal(torch.get_rng_state(), state)
    monkeypatch.setattr("ppl_vae.evaluation.export.NUMBERS", X.numel() * 9)  # pieces of 9 draws, the last of 8
    assert to_arviz(model, X, num_draws=40, chains=2).posterior_predictive.x.shape == (2, 40, 6, 3)
    monkeypatch.setattr("ppl_vae.evaluation.export.NUMBERS", 1)
    assert to_arviz(model, X, num_draws=4).posterior_predictive.x.shape == (1, 4, 6, 3)


def test_without_arviz_one_sentence_says_how_to_get_it(monkeypatch):
    real = builtins.__import__

    def absent(name, *args, **kwargs):
        if name == "arviz":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ValueError, match=r"arviz is not installed; pip install 'ppl_vae\[arviz\]'"):
        to_arviz(LinearGaussian(), X)
    monkeypatch.undo()
    for name in ("num_draws", "chains"):
        with pytest.raises(ValueError, match=f"{name} must be a whole number"):
            to_arviz(LinearGaussian(), X, **{name: 0})
