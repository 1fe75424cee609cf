"""The transformer keeps scikit-learn's contract."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

import ppl_vae.sklearn
from ppl_vae.sklearn import AutoencoderTransformer

X = load_digits().data[:300]


@pytest.mark.filterwarnings("ignore:the code is no smaller")
@parametrize_with_checks([AutoencoderTransformer(hidden=(8,), epochs=3)])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the code is no smaller", "ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learns_own_checks_of_the_defaults():
    check_estimator(AutoencoderTransformer())


def test_a_linear_one_reconstructs_as_pca_does():
    x = X[:, X.std(0) > 0]
    x = (x - x.mean(0)) / x.std(0)
    ours = AutoencoderTransformer(n_components=4, hidden=(), epochs=300, lr=0.02, batch_size=300).fit(x)
    pca = PCA(4).fit(x)
    errors = [((x - t.inverse_transform(t.transform(x))) ** 2).sum(1).mean() for t in (ours, pca)]
    assert errors[0] == pytest.approx(errors[1], rel=0.01)


def test_in_a_pipeline_with_names_and_back():
    y = load_digits().target[:300]
    pipeline = make_pipeline(AutoencoderTransformer(8, epochs=30), LogisticRegression(max_iter=2000)).fit(X, y)
    assert pipeline.score(X, y) > 0.8
    reducer = pipeline[0]
    assert [*reducer.get_feature_names_out()[:2]] == ["autoencodertransformer0", "autoencodertransformer1"]
    back = reducer.inverse_transform(reducer.transform(X))
    assert back.shape == X.shape and ((X - back) ** 2).sum() < ((X - X.mean(0)) ** 2).sum()
    again = pickle.loads(pickle.dumps(reducer))
    assert np.array_equal(again.transform(X), reducer.transform(X))


def test_the_seed_alone_decides():
    before = torch.get_rng_state()
    one, same, other = (AutoencoderTransformer(epochs=1, seed=seed).fit_transform(X) for seed in (0, 0, 1))
    assert np.array_equal(one, same) and not np.allclose(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_bad_arguments():
    with pytest.raises(ValueError, match="n_components must be a whole number of at least 1, not 0"):
        AutoencoderTransformer(0).fit(X)
    with pytest.raises(ValueError, match="epochs must be a whole number of at least 1, not 0"):
        AutoencoderTransformer(epochs=0).fit(X)
    with pytest.raises(ValueError, match="X must have n_components = 2 columns, not 64"):
        AutoencoderTransformer(epochs=1).fit(X).inverse_transform(X)
    assert ppl_vae.sklearn.__all__ == ["AutoencoderTransformer"]
