"""Ranks: the band and the test of symmetry against simulation and brute force."""

import itertools
import math

import numpy as np
import pytest
import torch

from ppl_vae.statistics.ranks import SBC, VSBC, holm, uniform_ranks, walk_tail


def test_the_band_holds_whole_curves_as_often_as_it_says():
    rng = np.random.default_rng(1)
    ranks = torch.from_numpy(rng.integers(0, 20, size=(60, 4000)))
    result = SBC(ranks, 19, tuple("z" * 4000), torch.zeros(60, 4000))
    for level in (0.5, 0.95):
        low, high = result.band(level)
        d = result.ecdf_difference
        inside = ((d >= low[:, None]) & (d <= high[:, None])).all(0).double().mean().item()
        # Simulated with 10000 draws, tested with 4000; bounds are counts, so the band can only be too wide, by little.
        error = math.sqrt(level * (1 - level) * (1 / 4000 + 1 / 10000))
        assert level - 4 * error < inside < level + 4 * error + 0.03
        agree = (result.p_values > 1 - level).double().mean().item()
        assert abs(agree - inside) < 0.01
    pointwise = uniform_ranks(60, 19)[0]
    assert pointwise.shape == (19, 61) and pointwise.max() <= 1 and pointwise.min() >= 0


def test_symmetry_by_brute_force():
    for n in (1, 5, 8):
        steps = np.array(list(itertools.product([-1, 1], repeat=n)))
        farthest = np.abs(steps.cumsum(1)).max(1)
        for a in range(n + 2):
            assert walk_tail(n, a) == pytest.approx((farthest >= a).mean(), abs=1e-12)
    p = torch.rand(25, 6, generator=torch.Generator().manual_seed(0))
    for column, found in zip(p.numpy().T, VSBC(p, tuple("abcdef")).p_values, strict=True):
        both = np.concatenate([column, 1 - column])
        distance = max(abs(np.mean(column <= t) - np.mean(1 - column <= t)) for t in both)
        assert found == pytest.approx(walk_tail(25, round(25 * distance)))


def test_holm():
    assert holm(torch.tensor([0.01, 0.04, 0.02]), 0.05).tolist() == [True, True, True]
    assert holm(torch.tensor([0.01, 0.04, 0.03]), 0.05).tolist() == [True, False, False]
    assert holm(torch.tensor([0.04, 0.9]), 0.05).tolist() == [False, False]
