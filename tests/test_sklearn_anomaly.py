"""AnomalyDetector: scikit-learn's signs, its threshold, and a digit it has never seen."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from ppl_vae.sklearn import AnomalyDetector, VAETransformer

RNG = np.random.RandomState(0)
NORMAL = RNG.randn(200, 3) @ RNG.randn(3, 3)
QUICK = {"hidden": (8,), "epochs": 20, "lr": 0.01, "random_state": 0, "num_particles": 32}


def test_signs_are_those_of_isolation_forest():
    far = np.array([[30.0, -30.0, 30.0], [0.0, 40.0, 0.0]])
    detectors = [AnomalyDetector(2, contamination=0.1, **QUICK), IsolationForest(contamination=0.1, random_state=0)]
    for detector in detectors:
        predicted = detector.fit(NORMAL).predict(NORMAL)
        assert (predicted == -1).sum() == 20
        scores, decision = detector.score_samples(NORMAL), detector.decision_function(NORMAL)
        assert np.allclose(decision, scores - detector.offset_)
        assert np.array_equal(predicted == -1, decision < 0)
        assert [*detector.predict(far)] == [-1, -1] and detector.score_samples(far).max() < np.median(scores)


def test_the_box_plots_fence():
    detector = AnomalyDetector(2, **QUICK).fit(NORMAL)
    low, high = np.quantile(detector.score_samples(NORMAL), [0.25, 0.75])
    assert detector.offset_ == pytest.approx(low - 1.5 * (high - low))
    assert 0 < (detector.predict(NORMAL) == -1).mean() < 0.08
    assert np.array_equal(detector.fit_predict(NORMAL), detector.predict(NORMAL))


def test_scores_are_the_transformers():
    x = NORMAL.copy()
    x[::4, 1] = np.nan
    scores = AnomalyDetector(2, **QUICK).fit(x).score_samples(x)
    assert np.array_equal(scores, VAETransformer(2, **QUICK).fit(x).score_samples(x))


def test_a_digit_never_seen_before():
    x, y = load_digits(return_X_y=True)
    known, new = x[y != 4], x[y == 4]
    detector = AnomalyDetector(8, hidden=(64,), epochs=30, lr=5e-3, num_particles=32, random_state=0).fit(known[:1200])
    test = np.concatenate([known[1200:], new])
    score = roc_auc_score(np.arange(len(test)) >= len(known) - 1200, -detector.score_samples(test))
    assert score > 0.94  # 0.968; an isolation forest has 0.915


@pytest.mark.parametrize("share", [0, -0.1, 0.6, "many", True, None])
def test_bad_contamination(share):
    with pytest.raises(ValueError, match="contamination must be 'auto' or a share above 0 and at most 0.5, not"):
        AnomalyDetector(contamination=share).fit(NORMAL)
