import math

import numpy as np
import pytest
import torch
from scipy import stats

from ppl_vae.kinds import Column
from ppl_vae.statistics.columns import column_gaps, column_scores, correlation_gaps, rank_correlations

NAN = math.nan


def test_rank_correlations_are_scipys_over_the_rows_that_both_columns_have():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(80, 5))
    x[:, 1] = np.round(x[:, 0] + x[:, 1])  # ties
    x[:, 2] = x[:, 0] > 0.3
    x[draw.random(x.shape) < 0.2] = NAN
    x[:, 4] = draw.normal(size=80)  # complete
    found = rank_correlations(torch.from_numpy(x)).numpy()
    for i in range(5):
        for j in range(5):
            both = ~np.isnan(x[:, i]) & ~np.isnan(x[:, j])
            assert found[i, j] == pytest.approx(stats.spearmanr(x[both, i], x[both, j]).statistic, abs=1e-12)
    whole = rank_correlations(torch.from_numpy(x[:, 3:]).nan_to_num(0.0)).numpy()
    assert whole[0, 1] == pytest.approx(stats.spearmanr(np.nan_to_num(x[:, 3]), x[:, 4]).statistic, abs=1e-12)


def test_rank_correlations_of_what_does_not_vary_are_not_defined():
    x = torch.tensor([[1.0, 2.0, NAN, 1.0], [2.0, 2.0, NAN, NAN], [3.0, 2.0, NAN, 3.0], [0.0, 2.0, NAN, NAN]])
    found = rank_correlations(x)
    assert found[0, 0] == 1 and found[1].isnan().all() and found[2].isnan().all()
    assert found[0, 3].isnan()  # two rows only
    assert rank_correlations(x[:1]).isnan().all()
    assert correlation_gaps(x[:, 1:3], x[:, 1:3]).largest() is None
    assert correlation_gaps(x[:, :1], x[:, :1]).largest() is None


def test_differences_of_correlations_have_the_standard_error_that_is_said():
    draw = torch.Generator().manual_seed(5)
    mix = torch.randn(30, 30, generator=draw) * 0.3 + torch.eye(30)
    gaps = correlation_gaps(*(torch.randn(n, 30, generator=draw) @ mix for n in (60, 300)))
    z = gaps.z[tuple(torch.triu_indices(30, 30, 1))]
    wrong, told = gaps.differing()
    assert told == 435 and z.std().item() == pytest.approx(1, abs=0.12)  # 435 dependent values: 3 to 4 times 0.034
    assert wrong == int((z.abs() > 2).sum()) and 5 <= wrong <= 40  # 20 by chance
    i, j = gaps.largest()
    assert (gaps.first - gaps.second).abs().max() == (gaps.first - gaps.second)[i, j].abs() and i < j


def test_gaps_of_ordered_columns_are_those_of_kolmogorov_and_smirnov():
    draw = np.random.default_rng(1)
    a = np.stack([draw.normal(size=90), draw.poisson(3, 90), draw.integers(0, 3, 90)], 1)
    b = np.stack([draw.normal(0.5, size=200), draw.poisson(3, 200), draw.integers(1, 3, 200)], 1)
    columns = [Column("x"), Column("n", "count"), Column("o", "ordinal", 3)]
    a[:5, 0] = NAN
    found = column_gaps(torch.from_numpy(a), torch.from_numpy(b), columns)
    for i in range(3):
        expected = stats.ks_2samp(a[~np.isnan(a[:, i]), i], b[:, i], method="asymp")
        assert found.distance[i].item() == pytest.approx(expected.statistic)
        assert found.p_value[i].item() == pytest.approx(expected.pvalue, rel=0.1, abs=1e-3)  # scipy's has a correction
    assert found.differing() == [0, 2] and found.distance[0] > found.distance[2]


def test_gaps_of_levels_are_total_variations():
    columns = [Column("b", "binary", 2), Column("c", "categorical", 4)]
    a = torch.tensor([[0.0, 0.0], [1.0, 1.0], [1.0, 1.0], [1.0, NAN]] * 20)
    b = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 3.0], [1.0, 3.0]] * 20)
    found = column_gaps(a, b, columns)
    assert found.distance.tolist() == pytest.approx([0.25, 0.5])
    assert found.p_value[0].item() == pytest.approx(stats.chi2_contingency([[20, 60], [40, 40]], False).pvalue)
    assert found.differing() == [1, 0]


def test_p_values_of_one_distribution_are_uniform():
    draw = torch.Generator().manual_seed(2)
    a, b = (torch.rand(300, 200, generator=draw) for _ in range(2))
    share = (column_gaps(a, b, [Column(str(i)) for i in range(200)]).p_value < 0.1).double().mean()
    assert abs(share - 0.1) < 3 * math.sqrt(0.1 * 0.9 / 200)


def test_what_cannot_be_compared_is_not_defined():
    columns = [Column("empty"), Column("constant"), Column("one level", "categorical", 3), Column("zeros", "count")]
    a = torch.tensor([[NAN, 2.0, 1.0, 0.0]] * 5)
    found = column_gaps(a, torch.tensor([[0.0, 2.1, 1.0, 0.0], [0.0, 1.9, 1.0, 1.0]]), columns)
    assert found.distance[:2].isnan().all() and found.distance[2] == 0 and found.p_value[2] == 1
    assert found.distance[3] == 0.5
    with pytest.raises(ValueError, match=r"other must be a table \(N, 4\), not of shape \(2, 3\)"):
        column_gaps(a, a[:2, :3], columns)


def test_scores_are_the_share_explained_and_the_gain_over_the_most_frequent_level():
    columns = [Column("x"), Column("c", "categorical", 3), Column("k"), Column("e"), Column("n", "count")]
    x = torch.tensor([[1.0, 0, 4, NAN, 0], [2.0, 1, 4, NAN, 2], [3.0, 1, 4, NAN, NAN], [4.0, 2, 4, NAN, 4]])
    means = torch.tensor([[2.5, 0.4, 4, 1, 2], [2.5, 1.2, 4, 1, 2], [2.5, 0.8, 5, 1, 99], [2.5, 0.0, 4, 1, 2]])
    scores = column_scores(x, means, columns)
    assert scores[0] == 0 and scores[1] == (0.75 - 0.5) / 0.5 and scores[4] == 0
    assert scores[2:4].isnan().all()
    assert (column_scores(x, x.nan_to_num(1.0), columns)[[0, 1, 4]] == 1).all()
    with pytest.raises(ValueError, match="the 4 rows of x, not 3"):
        column_scores(x, means[:3], columns)
