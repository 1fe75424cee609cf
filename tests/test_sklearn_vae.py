"""VAETransformer against closed forms: a linear one is factor analysis; and as a part of scikit-learn's pipelines."""

import math

import numpy as np
import pytest
import torch
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from ppl_vae import evaluation, priors
from ppl_vae.sklearn import VAETransformer

WINE = load_wine().data
QUICK = {"hidden": (8,), "epochs": 3, "random_state": 0}


def gaussian_of(vae):
    """Mean (D,) and covariance (D, D) of x under a linear VAETransformer, from its weights."""
    p = vae.model_.likelihood
    unit, zero = p.real_unit.numpy(), p.real_zero.numpy()
    layer = p.head.layer
    w, b = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    spread = unit * (torch.nn.functional.softplus(p.raw_real).detach().numpy() + 1e-3)
    w = unit[:, None] * w
    return zero + unit * b + vae.origin_, w @ w.T + np.diag(spread**2)


def gaussian_log_prob(x, mean, covariance):
    out = []
    for row in x:
        seen = ~np.isnan(row)
        d, s = (row - mean)[seen], covariance[np.ix_(seen, seen)]
        out.append(-0.5 * (d @ np.linalg.solve(s, d) + np.linalg.slogdet(2 * math.pi * s)[1]))
    return np.array(out)


@pytest.fixture(scope="module")
def linear():
    """A linear model of correlated columns in units of their own, with missing entries."""
    rng = np.random.RandomState(3)
    x = (rng.randn(200, 2) @ rng.randn(2, 4) + 0.5 * rng.randn(200, 4)) * [1.0, 100.0, 0.01, 5.0] + [0, 3000, 1, -7]
    x[rng.rand(*x.shape) < 0.2] = np.nan
    return x, VAETransformer(2, hidden=(), epochs=60, lr=0.02, num_particles=1024, random_state=0).fit(x)


def test_score_samples_is_the_gaussians_log_density_of_the_observed_entries(linear):
    x, vae = linear
    exact = gaussian_log_prob(x, *gaussian_of(vae))
    error = vae.score_samples(x) - exact
    # The posterior fits rows without gaps, so 1024 points err by 0.003 nats there; with gaps it is wider than needed.
    assert np.abs(error[~np.isnan(x).any(1)]).max() < 0.01
    assert np.sqrt((error**2).mean()) < 0.03
    assert vae.score(x) == pytest.approx(exact.mean(), abs=0.01)
    assert vae.score_samples(np.full((1, 4), np.nan)) == pytest.approx(0.0, abs=0.1)  # no entry, no density
    independent = evaluation.log_likelihood(vae.model_, vae._coded(x), num_particles=1024, seed=2).value.numpy()
    assert (error**2).mean() < 0.5 * ((independent - exact) ** 2).mean()  # points err less than independent draws do


def test_sampling_gives_the_gaussian_back(linear):
    _, vae = linear
    mean, covariance = gaussian_of(vae)
    n = 20_000
    drawn = vae.sample(n, random_state=1)
    assert np.abs((drawn.mean(0) - mean) / np.sqrt(np.diag(covariance) / n)).max() < 4  # standard errors
    d = np.sqrt(np.diag(covariance))
    assert np.abs(np.corrcoef(drawn.T) - covariance / np.outer(d, d)).max() < 4 / math.sqrt(n)
    some, same, other = (vae.sample(5, random_state=seed) for seed in (1, 1, 2))
    assert np.array_equal(some, same) and not np.array_equal(some, other)


def test_codes_go_back_to_the_datas_units(linear):
    x, vae = linear
    z = vae.transform(x)
    w, b = (p.detach().numpy() for p in vae.model_.likelihood.head.layer.parameters())
    p = vae.model_.likelihood
    wanted = vae.origin_ + p.real_zero.numpy() + p.real_unit.numpy() * (z @ w.T + b)
    assert np.allclose(vae.inverse_transform(z), wanted, rtol=1e-9)
    error = np.nanmean((vae.inverse_transform(z) - x) ** 2, 0) / np.nanvar(x, 0)
    assert (error < 0.8).all() and error.min() < 0.2  # the first column is nearly all noise


def test_a_linear_one_has_the_likelihood_of_probabilistic_pca():
    rng = np.random.RandomState(1)
    x = rng.randn(500, 2) @ rng.randn(2, 5) * 2 + rng.randn(500, 5)  # isotropic noise, as PCA's
    vae = VAETransformer(2, hidden=(), epochs=40, lr=0.03, validation_fraction=0.0, random_state=0).fit(x)
    # Factor analysis has four parameters more than PCA: about 4 / 2 / 500 nats a row. The rest is unfinished training.
    assert vae.score(x) == pytest.approx(PCA(2).fit(x).score(x), abs=0.05)


def test_a_rows_figures_do_not_depend_on_the_others():
    x = WINE.copy()
    x[::3, 2] = np.nan
    vae = VAETransformer(2, **QUICK).fit(x)
    for call in (vae.score_samples, vae.transform):
        alone = np.concatenate([call(row[None]) for row in x[:5]])
        assert np.allclose(call(x)[:5], alone, rtol=0, atol=1e-10)
    whole = vae.score_samples(x)
    assert np.ptp(np.diff(vae.score_samples(np.repeat(x[:1], 3, 0)))) < 1e-10
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ppl_vae.sklearn.base.NUMBERS", 50_000)  # many pieces
        assert np.allclose(vae.score_samples(x), whole, rtol=0, atol=1e-10)


def test_units_are_the_datas():
    vae = VAETransformer(2, **QUICK)
    x = np.round(WINE * 1024) / 1024
    score = vae.fit(x).score_samples(x)
    x[:, 1] *= 1024  # a power of 2: not a bit of the mantissas changes
    assert np.allclose(vae.fit(x).score_samples(x), score - math.log(1024), rtol=0, atol=1e-4)
    x[:, 1] /= 1024
    x[:, 3] += 2.0**33  # float32 has no room for the column's own digits there
    assert np.allclose(vae.fit(x).score_samples(x), score, rtol=0, atol=1e-4)
    assert np.allclose(vae.inverse_transform(vae.transform(x))[:, 3] - 2.0**33, WINE[:, 3], atol=40)


def test_constant_columns_and_float32():
    rounded = np.where(np.arange(178) % 2, 0.1 + 0.2, 0.3)  # differ in their last bit
    x = np.column_stack([WINE[:, :3], np.full(178, 0.1), rounded])
    vae = VAETransformer(2, **QUICK).fit(x)
    assert np.isfinite(vae.score_samples(x)).all()
    assert np.allclose(vae.inverse_transform(vae.transform(x))[:, 3], 0.1, atol=2.0)
    for call in (vae.transform, lambda x: vae.inverse_transform(vae.transform(x))):
        assert call(x.astype(np.float32)).dtype == np.float32 and call(x).dtype == np.float64


def test_kinds_of_columns():
    x = load_digits().data[:100, [10, 20, 30, 40]].round()
    x[:, 0] = x[:, 0] > 3
    x[:, 1] = np.digitize(x[:, 1], [4, 8])
    vae = VAETransformer(2, kinds={0: "binary", 1: "ordinal", 2: "count"}, **QUICK).fit(x)
    assert vae.kinds_ == {"0": "binary", "1": "ordinal(3)", "2": "count", "3": "real"}
    drawn = vae.sample(200, random_state=0)
    assert set(drawn[:, 0]) == {0, 1} and set(drawn[:, 1]) <= {0, 1, 2} and (drawn[:, 2] == drawn[:, 2].round()).all()
    p = vae.inverse_transform(vae.transform(x))[:, 0]
    assert (p >= 0).all() and (p <= 1).all()
    assert VAETransformer(2, kinds="auto", **QUICK).fit(x).kinds_["0"] == "binary"
    x[3, 1] = 7
    with pytest.raises(ValueError, match="X has, in row 3, 7 in column '1', but ordinal takes .* 0 to 2"):
        vae.score_samples(x)


def test_a_prior_of_ones_choice():
    vae = VAETransformer(2, prior=priors.MixtureOfGaussians, **QUICK).fit(WINE)
    assert isinstance(vae.model_.prior, priors.MixtureOfGaussians) and np.isfinite(vae.score(WINE))
    with pytest.raises(TypeError, match="prior must be a function from n_components to a prior"):
        VAETransformer(2, prior=priors.Normal(2), **QUICK).fit(WINE)
    with pytest.raises(ValueError, match="posterior lives|posterior Normal lives"):
        VAETransformer(2, prior=priors.Dirichlet, **QUICK).fit(WINE)


def test_the_best_weights_are_kept_and_beta_warms_up():
    vae = VAETransformer(2, hidden=64, epochs=30, lr=0.05, warmup=10, random_state=0).fit(WINE)
    rows = vae.history_.rows
    best = int(np.argmax([row["valid"]["elbo"] for row in rows]))
    assert len(rows) == 30 and rows[0]["beta"] < 0.2 and rows[-1]["beta"] == 1 and best < 29
    kept = vae.transform(WINE)
    assert np.array_equal(vae.set_params(epochs=best + 1).fit(WINE).transform(WINE), kept)  # its last epoch is its best
    assert "valid" not in VAETransformer(2, validation_fraction=0, **QUICK).fit(WINE).history_.rows[0]
    assert VAETransformer(2, warmup=0, beta=0.5, **QUICK).fit(WINE).history_.rows[0]["beta"] == 0.5


def test_data_that_cannot_be_right():
    x = WINE.copy()
    x[:, 4] = np.nan
    with pytest.raises(ValueError, match="column 4 of X holds no number, only NaN; drop it"):
        VAETransformer(2, **QUICK).fit(x)
    x[:, 4] = WINE[:, 4] * 1e-30
    with pytest.raises(ValueError, match="column 4 of X has a standard deviation of .*e-29, outside float32's reach"):
        VAETransformer(2, **QUICK).fit(x)
    with pytest.raises(ValueError, match="beta must be a finite number of at least 0, not -1"):
        VAETransformer(2, beta=-1, **QUICK).fit(WINE)
    with pytest.raises(ValueError, match="num_particles must be a whole number of at least 1, not 0"):
        VAETransformer(2, num_particles=0, **QUICK).fit(WINE).score_samples(WINE)


def test_in_pipelines_and_searches():
    x, y = load_wine(return_X_y=True)
    vae = VAETransformer(2, hidden=(16,), epochs=25, lr=0.02, num_particles=16, random_state=0)
    assert make_pipeline(StandardScaler(), vae, LogisticRegression()).fit(x, y).score(x, y) > 0.8
    search = GridSearchCV(vae, {"n_components": np.arange(1, 3), "epochs": [1, 10]}, cv=2).fit(x)
    assert search.best_params_["epochs"] == 10 and np.isfinite(search.cv_results_["mean_test_score"]).all()
    scores = cross_val_score(vae.set_params(epochs=5), x, cv=2)
    assert scores.shape == (2,) and np.isfinite(scores).all()


def test_data_frames():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(WINE[:, :3], columns=["alcohol", "acid", "ash"])
    frame.loc[3, "acid"] = np.nan
    vae = VAETransformer(2, kinds={"ash": "positive"}, **QUICK).set_output(transform="pandas").fit(frame)
    assert vae.kinds_ == {"alcohol": "real", "acid": "real", "ash": "positive"}
    codes = vae.transform(frame)
    assert [*codes.columns] == ["vaetransformer0", "vaetransformer1"] and codes.index.equals(frame.index)
    frame["acid"] = np.nan
    with pytest.raises(ValueError, match="column 'acid' of X holds no number"):
        VAETransformer(2, **QUICK).fit(frame)
    frame["acid"], frame["town"] = WINE[:, 1], ["a", "b"] * 89
    mixed = make_column_transformer((OneHotEncoder(), ["town"]), remainder="passthrough")
    assert make_pipeline(mixed, VAETransformer(2, kinds="auto", **QUICK)).fit_transform(frame).shape == (178, 2)
