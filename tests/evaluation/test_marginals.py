import math

import pytest
import torch
from linear import BIAS, WEIGHT, exact_vae, rows

from ppl_vae import VAE, likelihoods, models, networks, posteriors, priors
from ppl_vae.evaluation import column_gaps, columns_of, rank_correlations, sample_rows
from ppl_vae.kinds import Column


def test_rows_have_the_marginals_and_the_correlations_of_the_model():
    drawn = sample_rows(exact_vae(), 4000)
    sd = (1 + WEIGHT.square()).sqrt()
    assert ((drawn.mean(0) - BIAS).abs() < 4 * sd / math.sqrt(4000)).all()
    assert ((drawn.std(0) / sd - 1).abs() < 4 / math.sqrt(8000)).all()
    r = WEIGHT[:, None] * WEIGHT / (sd[:, None] * sd)
    expected = 6 / math.pi * (r / 2).asin()  # Spearman's of a normal distribution
    off = ~torch.eye(4, dtype=torch.bool)
    assert ((rank_correlations(drawn) - expected)[off].abs() < 4 / math.sqrt(4000)).all()
    same = column_gaps(rows(1000), drawn, [Column(name) for name in "abcd"])
    assert (same.p_value > 0.001).all()
    assert torch.equal(drawn, sample_rows(exact_vae(), 4000)) and not torch.equal(
        drawn, sample_rows(exact_vae(), 4000, seed=1)
    )


def test_rows_of_a_multinomial_have_the_totals_of_the_data():
    vae = VAE(priors.Normal(1), likelihood=likelihoods.Multinomial(networks.MLP(1, [4]), 3))
    x = torch.tensor([[1.0, 2.0, 2.0], [0.0, 9.0, 0.0]])
    assert sample_rows(vae, 4, x=x).sum(1).tolist() == [5, 9, 5, 9]


def test_an_autoencoder_draws_codes_around_those_of_the_data():
    ae = models.Autoencoder(networks.MLP(4, [4]), networks.MLP(2, [4]), 2, 4)
    assert sample_rows(ae, 7, x=torch.randn(50, 4)).shape == (7, 4)
    with pytest.raises(TypeError, match="has no prior to draw from; give x"):
        sample_rows(ae, 7)


def test_columns_have_the_names_and_the_kinds_that_are_known():
    kinds = {"age": "positive", "city": ["categorical", "Oslo", "Rome", "Wien"]}
    guide = posteriors.Normal(networks.TableEncoder(2, [4], kinds=kinds), 1)
    table = VAE(priors.Normal(1), guide, likelihoods.Columns(networks.MLP(1, [4]), 2, kinds))
    assert columns_of(table)[1].words == ("Oslo", "Rome", "Wien") and columns_of(table)[0].name == "age"
    assert [(c.name, c.kind) for c in columns_of(table, ["a", "b"])] == [("a", "positive"), ("b", "categorical")]
    for likelihood, kind in (
        (likelihoods.Poisson, "count"),
        (likelihoods.Bernoulli, "binary"),
        (likelihoods.Gamma, "positive"),
        (likelihoods.Normal, "real"),
    ):
        vae = VAE(priors.Normal(1), likelihood=likelihood(networks.MLP(1, [4]), 2))
        assert [(c.name, c.kind) for c in columns_of(vae)] == [("0", kind), ("1", kind)]
    assert columns_of(vae, ["a", "b"], {"b": "ordinal(3)"})[1] == Column("b", "ordinal", 3)
    with pytest.raises(ValueError, match="names must hold one name for each of the 2 columns, not 1"):
        columns_of(vae, ["a"])
    picture = VAE(priors.Normal(1), likelihood=likelihoods.Bernoulli(networks.MLP(1, [4]), (1, 4, 4)))
    with pytest.raises(ValueError, match="one of tables"):
        columns_of(picture)
