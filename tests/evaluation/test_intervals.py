import math
from statistics import NormalDist

import pytest
import torch
from linear import BIAS, WEIGHT, exact_vae, rows

from ppl_vae import VAE, likelihoods, models, networks, posteriors, priors
from ppl_vae.evaluation import imputation_intervals, sample_rows

NAN = math.nan


def test_every_known_entry_is_hidden_once_and_by_itself():
    x = rows(30)
    x[3, 1], x[4] = NAN, NAN
    found = imputation_intervals(exact_vae(), x)
    places = set(zip(found.row.tolist(), found.column.tolist(), strict=True))
    assert len(places) == len(found.truth) == 120 - 5 and (3, 1) not in places
    assert torch.equal(found.truth, x[found.row, found.column])
    assert (found.low <= found.middle).all() and (found.middle <= found.high).all()
    again, other = (imputation_intervals(exact_vae(), x, seed=seed) for seed in (0, 1))
    assert torch.equal(found.high, again.high) and not torch.equal(found.high, other.high)
    two = imputation_intervals(exact_vae(), x, parts=2)
    assert len(two.truth) == 115 and two.level == 0.9


def test_the_coverage_of_a_right_model_is_nominal():
    found = imputation_intervals(exact_vae(), rows(1500))
    for column in range(4):
        share, error = found.coverage(column)
        assert error == pytest.approx(math.sqrt(0.09 / 1500)) and abs(share - 0.9) < 3 * error, column
    share, error = found.coverage()
    assert abs(share - 0.9) < 3 * error and error == pytest.approx(math.sqrt(0.09 / 6000), rel=0.15)
    half = imputation_intervals(exact_vae(), rows(1500), level=0.5)
    assert abs(half.coverage()[0] - 0.5) < 3 * half.coverage()[1]
    assert torch.equal(half.rank, found.rank)


def test_the_draws_are_given_the_entries_that_are_not_hidden():
    x = rows(1500)
    found = imputation_intervals(exact_vae(), x, parts=4, num_samples=400)  # one entry of four at once
    for column in (0, 2):
        here = found.column == column
        others = [i for i in range(4) if i != column]
        k = 1 + WEIGHT[others].square().sum()
        mean = ((x[:, others] - BIAS[others]) * WEIGHT[others]).sum(1) / k
        expected = BIAS[column] + WEIGHT[column] * mean
        sd = (WEIGHT[column].square() / k + 1).sqrt()
        row = found.row[here]
        error = (found.middle[here] - expected[row]).abs().mean() / sd
        assert error < 0.08  # a median of 400 draws has a mean absolute error of 1.25 * 0.8 / 20 = 0.05 sd
        width = (found.high - found.low)[here].mean() / sd
        assert width.item() == pytest.approx(2 * NormalDist().inv_cdf(0.95), rel=0.02)


def test_a_model_that_is_too_sure_covers_less():
    found = imputation_intervals(exact_vae(scale=0.5), rows(1500))
    share, error = found.coverage(3)  # weight 0: the column is noise of scale 1, drawn at scale 0.5
    z = NormalDist().inv_cdf(0.95)
    expected = 2 * NormalDist().cdf(z / 2) - 1
    assert abs(share - expected) < 4 * error and found.coverage()[0] < 0.75


def test_levels_and_counts_are_covered_as_often_as_numbers_are():
    """A model whose code says nothing is right by itself: ties are broken at random, so that coverage is nominal."""
    kinds = {0: "count", 1: "binary", 2: "categorical(3)", 3: "ordinal(4)", 4: "positive"}
    torch.manual_seed(3)
    likelihood = likelihoods.Columns(networks.MLP(1, []), 5, kinds)
    vae = VAE(priors.Normal(1), posteriors.Normal(networks.TableEncoder(5, [4], kinds=kinds), 1), likelihood)
    with torch.no_grad():
        likelihood.head.layer.weight.zero_()
    x = sample_rows(vae, 1500, seed=8)
    found = imputation_intervals(vae, x)
    for column in range(5):
        share, error = found.coverage(column)
        assert abs(share - 0.9) < 3 * error, column
    binary = found.column == 1
    one = likelihood(torch.zeros(1, 1)).base.level_probs(4)[0, 1, 1].item()
    for value, probability in ((0.0, 1 - one), (1.0, one)):
        mean = found.agreeing[binary & (found.truth == value)].mean().item()
        assert mean == pytest.approx(probability, abs=4 * math.sqrt(probability * (1 - probability) / (99 * 300)))


def test_weights_lead_to_the_exact_posterior():
    wide, x = exact_vae(factor=4.0), rows(400)
    plain, weighted = (imputation_intervals(wide, x, num_samples=400, weighted=w) for w in (False, True))
    exact = imputation_intervals(exact_vae(), x, num_samples=400)
    width = lambda found: (found.high - found.low).mean().item()  # noqa: E731
    assert width(plain) > 1.2 * width(exact) and width(weighted) == pytest.approx(width(exact), rel=0.05)


def test_what_cannot_be_hidden_is_refused():
    x = rows(5)
    vae = exact_vae()
    whole = VAE(priors.Normal(1), likelihood=likelihoods.Normal(networks.MLP(1, [4]), 4))
    with pytest.raises(ValueError, match="likelihood Normal takes no missing entries; use likelihoods.Columns or"):
        imputation_intervals(whole, x)
    with pytest.raises(TypeError, match="vae must be a VAE to draw missing entries, not Autoencoder"):
        imputation_intervals(models.Autoencoder(networks.MLP(4, [4]), networks.MLP(1, [4]), 1, 4), x)
    with pytest.raises(ValueError, match="no known entry to hide"):
        imputation_intervals(vae, torch.full((2, 4), NAN))
    with pytest.raises(ValueError, match="parts"):
        imputation_intervals(vae, x, parts=1)
    with pytest.raises(TypeError, match="write level=3"):
        imputation_intervals(vae, x, 3)
    assert all(math.isnan(value) for value in imputation_intervals(vae, x).coverage(9))
