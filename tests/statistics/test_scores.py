"""Scores, units and projections: closed forms, second implementations, and what is refused."""

import math

import numpy as np
import pytest
import torch

from ppl_vae import evaluation


def test_denoising_gain():
    clean = torch.zeros(4, 3)
    assert evaluation.denoising_gain(clean, clean + 1, clean + 0.5) == pytest.approx(10 * math.log10(4))
    assert evaluation.denoising_gain(clean, clean + 1, clean + 2) == pytest.approx(-10 * math.log10(4))
    assert evaluation.denoising_gain(clean, clean + 1, clean) == math.inf
    with pytest.raises(ValueError, match="noisy must differ from clean"):
        evaluation.denoising_gain(clean, clean, clean)
    with pytest.raises(ValueError, match="must have one shape"):
        evaluation.denoising_gain(clean, clean[:1], clean)


def test_threshold_is_a_quantile_of_normal_scores():
    scores = torch.randn(1000)
    assert (scores <= evaluation.threshold(scores, 0.9)).float().mean().item() == pytest.approx(0.9, abs=1e-3)
    with pytest.raises(ValueError, match="quantile must be a share between 0 and 1, not 1.5"):
        evaluation.threshold(scores, 1.5)
    with pytest.raises(ValueError, match="scores is empty"):
        evaluation.threshold(torch.empty(0))


def test_auroc_counts_pairs_with_ties_as_halves():
    scores, anomalous = torch.randint(0, 6, (60,)).float(), torch.rand(60) < 0.3
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[anomalous].tolist() for b in scores[~anomalous].tolist()]
    assert evaluation.auroc(scores, anomalous) == pytest.approx(np.mean(pairs))
    from sklearn.metrics import roc_auc_score

    assert evaluation.auroc(scores, anomalous) == pytest.approx(roc_auc_score(anomalous, scores))
    with pytest.raises(ValueError, match="anomalous must hold both kinds"):
        evaluation.auroc(scores, torch.zeros(60))
    with pytest.raises(ValueError, match="must be vectors of one length"):
        evaluation.auroc(scores, anomalous[:3])


def test_scores_of_nan_are_refused():
    scores, anomalous = torch.tensor([0.1, math.nan, 0.9]), torch.tensor([False, False, True])
    message = "scores holds 1 NaN among 3, the first at place 1; leave out the data that have no score"
    for call in (lambda: evaluation.auroc(scores, anomalous), lambda: evaluation.threshold(scores)):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(ValueError, match="anomalous holds 1 NaN"):
        evaluation.auroc(scores.nan_to_num(), torch.tensor([0.0, math.nan, 1.0]))


def test_infinite_scores_are_the_highest():
    """-log p(x) of impossible data; a quantile next to them is no inf - inf."""
    scores = torch.tensor([1.0, 2.0, 3.0, 4.0, math.inf])
    assert evaluation.auroc(scores, torch.tensor([False, False, False, False, True])) == 1.0
    assert evaluation.threshold(scores, 0.75) == 4.0 and evaluation.threshold(scores, 0.8) == math.inf
    assert evaluation.threshold(torch.full((5,), math.inf)) == math.inf
    x = torch.randn(101)
    for q in (0.0, 0.013, 0.5, 0.95, 1.0):
        assert evaluation.threshold(x, q) == pytest.approx(torch.quantile(x.double(), q).item())


def test_bits_per_dim():
    # 8-bit data under the uniform density on [0, 1]: log-likelihood 0, and 8 bits for every one of 256 levels.
    assert evaluation.bits_per_dim(0.0, (3, 4, 4), levels=256) == pytest.approx(8.0)
    assert evaluation.bits_per_dim(-math.log(2) * 12, (3, 4)) == pytest.approx(1.0)
    # A density that puts all mass on one level is 256 on it: 0 bits.
    assert evaluation.bits_per_dim(5 * math.log(256), (5,), levels=256) == pytest.approx(0.0)
    values = evaluation.bits_per_dim(torch.tensor([-1.0, -2.0]), (2,))
    assert torch.allclose(values, torch.tensor([0.5, 1.0]) / math.log(2))


def test_projection_keeps_two_dimensions_and_finds_the_widest():
    codes = torch.randn(50, 2)
    assert torch.equal(evaluation.project(codes), codes)
    wide = torch.randn(200, 5) * torch.tensor([0.1, 9.0, 0.1, 3.0, 0.1])
    spread = evaluation.project(wide).std(0)
    assert spread[0].item() == pytest.approx(wide[:, 1].std().item(), rel=0.02)
    assert spread[1].item() == pytest.approx(wide[:, 3].std().item(), rel=0.02)
    assert evaluation.project(torch.randn(5, 1)).shape == (5, 2)
