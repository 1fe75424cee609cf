"""Every estimator keeps scikit-learn's contract; AutoencoderTransformer does what PCA does."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

import ppl_vae.sklearn
from ppl_vae.sklearn import AnomalyDetector, AutoencoderTransformer, Imputer, VAETransformer

X = load_digits().data[:300]


SMALL = [
    kind(hidden=(8,), epochs=2, **options)
    for kind, options in (
        (AutoencoderTransformer, {}),
        (VAETransformer, {"num_particles": 8}),
        (Imputer, {"num_particles": 8}),
        (AnomalyDetector, {"num_particles": 8}),
    )
]


def test_every_estimator_is_here():
    assert sorted(type(estimator).__name__ for estimator in SMALL) == ppl_vae.sklearn.__all__


@pytest.mark.filterwarnings("ignore:the code is no smaller")
@parametrize_with_checks(SMALL)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the code is no smaller", "ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learns_own_checks_of_the_defaults():
    check_estimator(AutoencoderTransformer())


def test_a_linear_one_reconstructs_as_pca_does():
    x = X[:, X.std(0) > 0]
    x = (x - x.mean(0)) / x.std(0)
    ours = AutoencoderTransformer(n_components=4, hidden=(), epochs=300, lr=0.02, batch_size=300, random_state=0).fit(x)
    pca = PCA(4).fit(x)
    errors = [((x - t.inverse_transform(t.transform(x))) ** 2).sum(1).mean() for t in (ours, pca)]
    assert errors[0] == pytest.approx(errors[1], rel=0.01)


def test_in_a_pipeline_with_names_and_back():
    y = load_digits().target[:300]
    pipeline = make_pipeline(
        AutoencoderTransformer(8, epochs=30, random_state=0), LogisticRegression(max_iter=2000)
    ).fit(X, y)
    assert pipeline.score(X, y) > 0.8
    reducer = pipeline[0]
    assert [*reducer.get_feature_names_out()[:2]] == ["autoencodertransformer0", "autoencodertransformer1"]
    back = reducer.inverse_transform(reducer.transform(X))
    assert back.shape == X.shape and ((X - back) ** 2).sum() < ((X - X.mean(0)) ** 2).sum()
    again = pickle.loads(pickle.dumps(reducer))
    assert np.array_equal(again.transform(X), reducer.transform(X))


def test_patience_keeps_the_best_weights_on_held_out_rows():
    patient = AutoencoderTransformer(8, epochs=60, lr=0.03, patience=3, random_state=0).fit(X)
    rows = patient.history_.rows
    assert patient.history_.stopped_early and len(rows) < 60
    losses = [row["valid"]["loss"] for row in rows]
    assert losses.index(min(losses)) == len(rows) - 4
    assert "valid" not in AutoencoderTransformer(8, epochs=1).fit(X).history_.rows[0]


@pytest.mark.parametrize("estimator", SMALL, ids=lambda estimator: type(estimator).__name__)
def test_random_state_alone_decides(estimator):
    def fitted(random_state):
        model = clone(estimator).set_params(random_state=random_state).fit(X[:50])
        return np.concatenate([p.detach().flatten().numpy() for p in model.model_.parameters()])

    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    one, same, other = fitted(0), fitted(0), fitted(1)
    assert np.array_equal(one, same) and not np.allclose(one, other)
    assert np.array_equal(fitted(np.random.RandomState(0)), one)
    assert torch.equal(torch.get_rng_state(), before) and np.array_equal(np.random.get_state()[1], numpy_before)
    np.random.seed(0)  # None is numpy's global state, as everywhere in scikit-learn
    assert np.array_equal(fitted(None), one) and not np.array_equal(fitted(None), one)


def test_seed_is_the_former_name_of_random_state():
    with pytest.warns(FutureWarning, match="seed is now called random_state; write random_state=3"):
        old = AutoencoderTransformer(epochs=1, seed=3).fit_transform(X)
    assert np.array_equal(old, AutoencoderTransformer(epochs=1, random_state=3).fit_transform(X))


@pytest.mark.parametrize("estimator", SMALL, ids=lambda estimator: type(estimator).__name__)
def test_numbers_of_numpy_and_a_pickle_of_the_fitted(estimator):
    grid = {"n_components": np.int64(3), "hidden": np.array([8, 4]), "epochs": np.int64(1), "lr": np.float64(0.01)}
    fitted = clone(estimator).set_params(**grid, batch_size=np.int64(16), random_state=0).fit(X[:50])
    assert fitted.model_.dim == 3
    again = pickle.loads(pickle.dumps(fitted))
    call = "predict" if isinstance(estimator, AnomalyDetector) else "transform"
    assert np.array_equal(getattr(again, call)(X), getattr(fitted, call)(X))
    assert clone(again).get_params().keys() == estimator.get_params().keys()


BAD = [
    ({"n_components": 0}, "n_components must be a whole number of at least 1, not 0"),
    ({"epochs": 0}, "epochs must be a whole number of at least 1, not 0"),
    ({"hidden": (8, "a")}, "hidden must be a whole number of at least 1, not 'a'"),
    ({"batch_size": 1.5}, "batch_size must be a whole number of at least 1, not 1.5"),
    ({"lr": -1.0}, "lr must be a positive number, not -1.0"),
    ({"patience": 0}, "patience must be a whole number of at least 1, not 0"),
    ({"patience": 2, "validation_fraction": 0.001}, "validation_fraction gives none of 50; give more rows"),
    ({"patience": 2, "validation_fraction": 1.0}, "validation_fraction must be a share .* not 1.0"),
    ({"random_state": "a"}, "'a' cannot be used to seed"),
]


@pytest.mark.parametrize("estimator", SMALL, ids=lambda estimator: type(estimator).__name__)
@pytest.mark.parametrize("change,message", BAD, ids=lambda value: "" if isinstance(value, str) else str(value))
def test_bad_arguments(estimator, change, message):
    with pytest.raises(ValueError, match=message):
        clone(estimator).set_params(**change).fit(X[:50])


def test_codes_of_another_size():
    for kind in (AutoencoderTransformer, VAETransformer):
        with pytest.raises(ValueError, match="X must have n_components = 2 columns, not 64"):
            kind(2, epochs=1).fit(X[:50]).inverse_transform(X)
