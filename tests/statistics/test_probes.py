"""Probes and judges: what they tell apart, and what they refuse."""

import math

import pytest
import torch

from ppl_vae import data, evaluation
from ppl_vae.evaluation import near_data, recognised


def test_probes_tell_clusters_apart_and_nothing_else():
    y = torch.arange(300) % 3
    z = torch.randn(300, 2) * 0.1 + torch.tensor([[0.0, 0.0], [1000.0, 0.0], [0.0, 1.0]])[y]
    for judge in (evaluation.linear_probe, evaluation.knn_accuracy):
        assert judge(z[:200], y[:200], z[200:], y[200:]) > 0.95
        assert judge(z[:200], y[torch.randperm(300)][:200], z[200:], y[200:]) < 0.6


def test_bad_probes():
    z, y = torch.randn(10, 2), torch.arange(10) % 2
    with pytest.raises(ValueError, match="z must be codes"):
        evaluation.linear_probe(z, y[:3], z, y)
    with pytest.raises(ValueError, match="test_z must have codes of size 2, not 1"):
        evaluation.knn_accuracy(z, y, z[:, :1], y)
    with pytest.raises(ValueError, match="k must be at most the number of codes, 10, not 11"):
        evaluation.knn_accuracy(z, y, z, y, k=11)
    with pytest.raises(ValueError, match="y must hold at least two classes"):
        evaluation.linear_probe(z, torch.zeros(10), z, y)


@pytest.mark.parametrize("judge", [evaluation.linear_probe, evaluation.knn_accuracy])
def test_classes_are_whole_numbers_whatever_their_dtype(judge):
    y = torch.arange(60) % 3
    z = torch.randn(60, 2, generator=torch.Generator().manual_seed(0)) + 3.0 * y[:, None]
    assert judge(z, y.float(), z, y.double()) == judge(z, y, z, y)
    with pytest.raises(ValueError, match="^y holds 0.5, which is no class; classes are whole numbers such as 0, 1, 2$"):
        judge(z, y / 2, z, y)
    with pytest.raises(ValueError, match="^test_y holds nan, which is no class"):
        judge(z, y, z, torch.full((60,), math.nan))
    z[7, 1] = math.nan
    with pytest.raises(ValueError, match="^z holds 1 codes that are NaN or infinite, the first in row 7$"):
        judge(z, y, z, y)


def test_pictures_of_nan_are_judged_by_nobody():
    x, y = torch.rand(40, 6), torch.arange(40) % 2
    draws = x[:5].clone()
    draws[2, 3] = math.nan
    for call in (lambda: evaluation.near_data(draws, x, x), lambda: evaluation.recognised(draws, x, y, x)):
        with pytest.raises(ValueError, match="^draws holds 1 examples that are NaN or infinite, the first in row 2$"):
            call()
    with pytest.raises(ValueError, match="^y holds 0.5, which is no class"):
        evaluation.recognised(x, x, y / 2, x)
    assert evaluation.recognised(x, x, y.float(), x) == evaluation.recognised(x, x, y, x)


def test_near_data_is_calibrated_on_held_out_data():
    x, held, more = torch.randn(3, 2000, 2, generator=torch.Generator().manual_seed(2)).unbind()
    assert near_data(held, x, held) == pytest.approx(0.95, abs=1e-3)
    assert near_data(more, x, held) == pytest.approx(0.95, abs=0.02)
    assert near_data(more + 8, x, held) < 0.01
    assert near_data(more, x, held, quantile=0.5) == pytest.approx(0.5, abs=0.04)


def test_recognised_knows_digits_from_noise_and_from_one_digit():
    digits = data.load("digits", binarize="none")
    x, y, held, valid = digits.train.x, digits.train.y, digits.test.x, digits.valid
    share, variety = recognised(valid.x, x, y, held)
    assert share > 0.85 and variety > 0.9
    assert recognised(torch.rand(200, 1, 8, 8, generator=torch.Generator().manual_seed(0)), x, y, held)[0] < 0.6
    halves = (valid.x + valid.x.flip(0)) / 2
    assert recognised(halves, x, y, held)[0] < share - 0.2
    share, variety = recognised(valid.x[valid.y == 3], x, y, held)
    assert share > 0.7 and variety < 0.2
