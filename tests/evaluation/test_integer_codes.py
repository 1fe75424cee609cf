"""Models with integer codes in every function of ``evaluation``: what works on them, and what is refused in words."""

import math

import pytest
import torch
from integer_codes import SHAPE, grid_model, pictures, table_model

from ppl_vae import data, evaluation
from ppl_vae.evaluation.discrete import lookup, vectors

X = pictures()
REFUSED = {
    "interpolate": (lambda m: evaluation.interpolate(m, X[:2], X[2:4]), "sample_means"),
    "continuity": (lambda m: evaluation.continuity(m, X[:2], X[2:4]), "sample_means"),
    "traverse": (lambda m: evaluation.traverse(m, X), "sample_means"),
    "manifold": (lambda m: evaluation.manifold(m, X), "sample_means"),
    "active_units": (lambda m: evaluation.active_units(m, X), "code_usage"),
    "kl_by_dimension": (lambda m: evaluation.kl_by_dimension(m, X), "elbo"),
    "compress": (lambda m: evaluation.compress(m, X, train=X), "file_sizes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_needs_real_codes_is_refused_and_says_what_to_use(name):
    call, instead = REFUSED[name]
    said = rf"^{name} needs codes that are real numbers; those of a VQVAE are integers.* Use evaluation\.{instead}"
    with pytest.raises(TypeError, match=said):
        call(grid_model())
    assert instead in evaluation.__all__


@pytest.mark.parametrize("name", ["log_likelihood", "annealed_log_likelihood", "bidirectional"])
def test_a_sampled_density_is_refused_in_favour_of_the_bound(name):
    with pytest.raises(TypeError, match=r"of a VQVAE only a bound is known: use evaluation\.elbo"):
        getattr(evaluation, name)(grid_model(), X)


def test_the_anomaly_score_is_the_negative_bound():
    model = grid_model()
    torch.testing.assert_close(evaluation.anomaly_scores(model, X), -evaluation.elbo(model, X).elbo)
    errors = evaluation.anomaly_scores(model, X, score="reconstruction")
    torch.testing.assert_close(errors, evaluation.reconstruction_error(model, X))
    with pytest.raises(TypeError, match="VQVAE has no log-likelihood; use score 'auto', a bound on it"):
        evaluation.anomaly_scores(model, X, score="log-likelihood")


def test_draws_follow_p_of_x_given_the_codes_of_the_same_seed():
    model, n = grid_model(), 4000
    means, draws = evaluation.sample_means(model, n, seed=5), evaluation.sample_draws(model, n, seed=5)
    assert set(draws.unique().tolist()) == {0.0, 1.0} and draws.shape == (n, *SHAPE)
    # Of every pixel the mean of (x - p) / sqrt(p (1 - p)), standard Normal; 16 pixels.
    error = ((draws - means) / (means * (1 - means)).sqrt()).mean(0) * math.sqrt(n)
    assert error.abs().max() < 4.5
    codes = evaluation.random_codes(model, n, seed=5)
    torch.testing.assert_close(evaluation.decode(model, codes), means)
    assert not codes.is_floating_point() and int(codes.max()) < model.num_codes
    assert evaluation.near_data(means[:20], X, X) >= 0


def test_rows_of_a_table_are_draws_and_not_means():
    model = table_model()
    rows, means = evaluation.sample_rows(model, 500, seed=2), evaluation.sample_means(model, 500, seed=2)
    assert rows.shape == (500, 3) and len(means.unique(dim=0)) <= 9  # of 3 x 3 codes
    assert len(rows.unique(dim=0)) == 500
    assert [column.kind for column in evaluation.columns_of(model)] == ["real"] * 3


def test_vectors_are_those_that_the_likelihood_takes():
    model = grid_model()
    codes = evaluation.codes(model, X)
    by_place = lookup(model, codes)
    assert by_place.shape == (len(X), 2, 2, 3)
    torch.testing.assert_close(by_place, model.quantizer.codebook[codes])
    torch.testing.assert_close(vectors(model, codes), model.values_at(codes).flatten(1))


def test_bits_per_dimension_are_those_of_the_bound():
    model = grid_model()
    found = evaluation.evaluate(model, data.Split(X), train=data.Split(X))
    bits = -evaluation.elbo(model, X).elbo.mean().item() / math.log(2) / 16
    assert found["bits_per_dim"] == pytest.approx(bits, rel=1e-5)
    assert found["elbo_bits_per_dim"] == found["bits_per_dim"]
    assert "log_likelihood" not in found and "spread_least" not in found


def test_a_learned_scale_is_judged_beside_the_data():
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(1))
    found = evaluation.spreads(table_model(), x, train=x)
    assert 0.5 < found["spread_least"] <= found["spread_most"] < 2  # at the start the scale is about 1


def test_figures_of_integer_codes_are_told_in_their_words():
    codes, plain = {"num_codes": 6}, {}
    for name in ("elbo", "kl", "bits_per_dim", "gain"):
        figure = evaluation.figures.FIGURES[name]
        assert figure.told(codes).startswith(figure.of_codes) and figure.told(plain).startswith(figure.words)
        assert figure.of_codes and figure.of_codes != figure.words


SOUND = {"elbo": -20.0, "kl": 9.0, "gain": 7.0, "gain_stderr": 0.2, "code_perplexity": 64.0, "num_codes": 128}


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({}, []),
        ({"code_perplexity": 12.9}, []),
        ({"code_perplexity": 12.7}, ["unused"]),
        ({"code_perplexity": 1.05, "gain": -8.0}, ["collapsed"]),
        ({"kl": 0.5}, ["collapsed"]),
        ({"gain": 0.1}, []),
        ({"gain": -5.0}, ["costly"]),
        ({"gain": -5.0, "code_perplexity": 4.0}, ["costly", "unused"]),
    ],
)
def test_verdicts_on_a_codebook(figures, said):
    found = evaluation.verdict(SOUND | figures, model=grid_model())
    assert [one.name for one in found] == said
    assert [one.serious for one in found] == [name == "collapsed" for name in said]
    assert not any("--beta" in one.advice or "--likelihood.scale" in one.advice for one in found)


def test_the_course_of_the_reconstruction_tells_an_undertrained_model():
    rows = [{"stage": "", "epoch": i, "step": i, "valid": {"reconstruction": -50.0 + i}} for i in range(1, 31)]
    late = [*rows, *({**rows[-1], "epoch": i} for i in range(31, 61))]
    assert [one.name for one in evaluation.verdict(SOUND, rows, model=grid_model())] == ["undertrained"]
    assert evaluation.verdict(SOUND, late, model=grid_model()) == []
