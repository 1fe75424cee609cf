"""Moments of vectors against their definitions, and their errors against repetitions."""

import math

import pytest
import torch

from ppl_vae.statistics.moments import Moments, jackknife


def test_squared_mean_is_unbiased_and_its_error_is_its_spread():
    """Truth |mu|^2 and tr(S) within 4 standard errors, z-scores of unit size away from 0 and no larger at it."""
    torch.manual_seed(0)
    scale = 0.1 + torch.rand(20)
    for mu in (0.0, 0.3):
        squares, variances, z, noises = [], [], [], []
        for _ in range(200):
            moments = Moments(20, 53, torch.zeros(1))
            for i in range(53):
                moments.add(i, 1.0 + mu + scale * torch.randn(20))
            square, variance = moments.squared(torch.ones(20))
            value, error = jackknife(square, moments.noise())
            noises.append(moments.noise())
            squares.append(value), variances.append(variance[0]), z.append((value - 20 * mu**2) / error)
        for draws, truth in ((squares, 20 * mu**2), (variances, scale.square().sum())):
            draws = torch.stack(draws)
            assert abs(draws.mean() - truth) < 4 * draws.std() / math.sqrt(200)
        # 200 z-scores: std 1 +- 4/sqrt(400), and less where the floor is in force, which rules out large negative ones:
        # the jackknife's own error is smallest where the mean happens to be nearest 0.
        assert (0.4 if mu == 0 else 0.8) < torch.stack(z).std() < 1.25
        assert mu or torch.stack(z).min() > -2.5
        theory = (2 * scale.pow(4).sum()).sqrt() / 53
        assert torch.stack(noises).square().mean().sqrt() == pytest.approx(theory.item(), rel=0.1)


def test_moments_are_those_of_all_vectors():
    draws = torch.randn(11, 7, generator=torch.Generator().manual_seed(0)).double() + 3
    moments = Moments(7, 11, draws)
    for i, vector in enumerate(draws):
        moments.add(i, vector)
    square, variance = moments.squared()
    assert torch.allclose(moments.mean(), draws.mean(0)) and square.shape == variance.shape == (12,)
    assert torch.allclose(variance[0], draws.var(0).sum())
    for i in range(11):  # eleven blocks of one
        left = torch.cat([draws[:i], draws[i + 1 :]])
        assert torch.allclose(variance[1 + i], left.var(0).sum())
        assert torch.allclose(square[1 + i], left.mean(0).square().sum() - left.var(0).sum() / 10)
