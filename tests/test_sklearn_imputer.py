"""Imputer against the conditional Gaussian of a linear model, and against column means."""

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_wine
from sklearn.impute import SimpleImputer
from test_sklearn_vae import gaussian_of

from ppl_vae.sklearn import Imputer

QUICK = {"hidden": (8,), "epochs": 3, "random_state": 0}


@pytest.fixture(scope="module")
def linear():
    rng = np.random.RandomState(5)
    x = (rng.randn(200, 2) @ rng.randn(2, 4) + 0.5 * rng.randn(200, 4)) * [1.0, 100.0, 0.01, 5.0] + [0, 3000, 1, -7]
    x[rng.rand(*x.shape) < 0.2] = np.nan
    return x, Imputer(2, hidden=(), epochs=60, lr=0.02, num_particles=1024, random_state=0).fit(x)


def conditional(row, mean, covariance):
    """Mean and standard deviation of a row's missing entries given the others."""
    m, o = np.isnan(row), ~np.isnan(row)
    gain = np.linalg.solve(covariance[np.ix_(o, o)], covariance[np.ix_(o, m)]).T
    return mean[m] + gain @ (row - mean)[o], np.sqrt(
        np.diag(covariance[np.ix_(m, m)] - gain @ covariance[np.ix_(o, m)])
    )


def test_missing_entries_become_their_conditional_means(linear):
    x, imputer = linear
    full = imputer.transform(x)
    gaps = np.isnan(x)
    errors = []
    for row, filled in zip(x[gaps.any(1)], full[gaps.any(1)], strict=True):
        mean, sd = conditional(row, *gaussian_of(imputer))
        errors += [*((filled[np.isnan(row)] - mean) / sd)]
    # In conditional standard deviations, of the mean of 1024 weighted points; 1 / 32 is that of independent ones.
    assert len(errors) > 100 and np.sqrt(np.mean(np.square(errors))) < 0.03
    assert np.array_equal(full[~gaps], x[~gaps])


def test_draws_have_the_conditional_distribution(linear):
    x, imputer = linear
    row = x[np.isnan(x).sum(1) == 2][0]
    n = 2000
    imputer.set_params(sample_posterior=True, random_state=7, num_particles=256)
    drawn = imputer.transform(np.repeat(row[None], n, 0))
    mean, sd = conditional(row, *gaussian_of(imputer))
    drawn = drawn[:, np.isnan(row)]
    assert np.abs((drawn.mean(0) - mean) / sd).max() < 4 / np.sqrt(n)
    assert np.abs(drawn.std(0) / sd - 1).max() < 4 / np.sqrt(2 * n)
    first, same = imputer.transform(x), imputer.transform(x)
    other = imputer.set_params(random_state=8).transform(x)
    imputer.set_params(sample_posterior=False)
    gaps = np.isnan(x)
    assert np.array_equal(first, same) and (first != other)[gaps].all() and np.array_equal(other[~gaps], x[~gaps])


@pytest.mark.parametrize("load,epochs,bound", [(load_wine, 100, 0.75), (load_diabetes, 50, 0.85)])
def test_better_than_the_columns_means(load, epochs, bound):
    x = load().data
    rng = np.random.RandomState(0)
    gone = rng.rand(*x.shape) < 0.2
    holed = np.where(gone, np.nan, x)
    imputer = Imputer(4, hidden=(64,), epochs=epochs, lr=0.02, random_state=0)
    ours, means = (i.fit_transform(holed) for i in (imputer, SimpleImputer()))
    errors = [np.sqrt((((filled - x) / x.std(0))[gone] ** 2).mean()) for filled in (ours, means)]
    assert errors[0] < bound * errors[1], errors


@pytest.mark.parametrize("draws", [False, True])
def test_levels_are_levels_and_given_cells_come_back(draws):
    rng = np.random.RandomState(0)
    x = np.column_stack([rng.randn(90), rng.rand(90) < 0.3, rng.randint(3, size=90), rng.poisson(4, 90), rng.rand(90)])
    x[rng.rand(*x.shape) < 0.3] = np.nan
    x[0] = np.nan
    kinds = {1: "binary", 2: "categorical", 3: "count", 4: "positive"}
    full = Imputer(2, kinds=kinds, sample_posterior=draws, **QUICK).fit_transform(x)
    assert np.isfinite(full).all() and np.array_equal(full[~np.isnan(x)], x[~np.isnan(x)])
    assert set(full[:, 1]) == {0, 1} and set(full[:, 2]) <= {0, 1, 2}
    assert (full[:, 3] == full[:, 3].round()).all() and (full[:, 4] > 0).all()


def test_rows_and_dtypes_and_names():
    x = load_wine().data[:60, :4]
    imputer = Imputer(2, **QUICK).fit(x)  # nothing was missing then
    x[::2, 1] = np.nan
    x[1, 3] = np.nan
    full = imputer.transform(x)
    alone = np.concatenate([imputer.transform(row[None]) for row in x])
    assert np.allclose(full, alone, rtol=0, atol=1e-10)
    single = x.astype(np.float32)
    filled = imputer.transform(single)
    assert filled.dtype == np.float32 and np.array_equal(filled[~np.isnan(x)], single[~np.isnan(x)])
    assert np.isnan(x).any()  # the input is not changed
    whole = np.ascontiguousarray(full)
    assert imputer.transform(whole) is not whole and np.array_equal(imputer.transform(whole), whole)
    assert [*imputer.get_feature_names_out()] == ["x0", "x1", "x2", "x3"]
