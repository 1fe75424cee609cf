"""Figures that cannot be computed: of models, codes and scores that hold NaN, and of classes that are none."""

import copy
import math

import pytest
import torch
from instances import SHAPE, plain, vae
from torch import nn

from ppl_vae import SVI, estimators, evaluation, fit, models
from ppl_vae.data import Split

X = torch.rand(30, *SHAPE, generator=torch.Generator().manual_seed(1)).round()
SMALL = {"num_chains": 2, "num_temperatures": 3}


def broken(model, at="likelihood.head.layer.bias", value=math.nan):
    """A copy of a model with two numbers of one parameter spoilt."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        spoilt = dict(model.named_parameters())[at].view(-1)
        spoilt[0], spoilt[1] = value, -value
    return model


FIGURES = {
    "log_likelihood": lambda m: evaluation.log_likelihood(m, X),
    "annealed_log_likelihood": lambda m: evaluation.annealed_log_likelihood(m, X, **SMALL),
    "bidirectional": lambda m: evaluation.bidirectional(m, X, **SMALL),
    "elbo": lambda m: evaluation.elbo(m, X),
    "evaluate": lambda m: evaluation.evaluate(m, Split(X)),
    "gaps": lambda m: evaluation.gaps(m, X, steps=1, num_particles=30),
    "active_units": lambda m: evaluation.active_units(m, X),
    "codes": lambda m: evaluation.codes(m, X),
    "kl_by_dimension": lambda m: evaluation.kl_by_dimension(m, X),
    "reconstruction_error": lambda m: evaluation.reconstruction_error(m, X),
    "anomaly_scores": lambda m: evaluation.anomaly_scores(m, X),
    "denoise": lambda m: evaluation.denoise(m, X),
    "compress": lambda m: evaluation.compress(m, X, train=X),
    "continuity": lambda m: evaluation.continuity(m, X[:5], X[5:10]),
    "random_codes": lambda m: evaluation.random_codes(m, 3),
    "inpaint": lambda m: evaluation.inpaint(m, X, num_samples=2),
    "sbc": lambda m: evaluation.calibration.sbc(m, X),
    "snr": lambda m: evaluation.gradients.snr(m, estimators.TraceELBO(), X, repeats=4),
    "to_arviz": lambda m: evaluation.to_arviz(m, X, num_draws=2),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_model_of_nan_is_refused_by_every_figure_with_the_parameter_s_name(name):
    model = broken(vae())
    with pytest.raises(
        ValueError, match=r"^parameter likelihood\.head\.layer\.bias of the model holds NaN, so no "
    ) as caught:
        FIGURES[name](model)
    assert "\n" not in str(caught.value)


def test_a_program_of_nan_is_refused():
    inner = vae()
    program = models.Program(inner.model, inner.guide)
    program.prepare(X)
    with torch.no_grad():
        inner.posterior.head.layer.bias[0] = math.nan
    with pytest.raises(ValueError, match=r"parameter .*posterior\.head\.layer\.bias of the model holds NaN"):
        evaluation.log_likelihood(program, X)


def test_an_autoencoder_of_nan_is_refused():
    ae = broken(models.Autoencoder(*plain()), "to_code.layer.bias")
    with pytest.raises(ValueError, match=r"parameter to_code\.layer\.bias of the model holds NaN"):
        evaluation.evaluate(ae, Split(X))


def test_a_figure_of_a_model_that_gives_nan_is_nan_in_evaluate():
    """Infinite weights are not NaN, but inf - inf is."""
    at = "posterior.head.layer.weight"
    found = evaluation.evaluate(broken(vae(), at, math.inf), Split(X), num_particles=50)
    undefined = {"log_likelihood", "log_likelihood_stderr", "elbo", "reconstruction", "kl"}
    undefined |= {"bits_per_dim", "elbo_bits_per_dim", "active_units", "ess", "khat", "reconstruction_error"}
    assert {name for name, value in found.items() if isinstance(value, float) and math.isnan(value)} == undefined
    assert found["error_unknown"] == 1 and found["n"] == 30


def test_medians_of_evaluate_leave_no_datum_out(monkeypatch):
    """Of one datum in thirty the weights are NaN: the median of the others is not that of all."""
    likely = evaluation.summary.log_likelihood

    def spoilt(*args, **kwargs):
        found = likely(*args, **kwargs)
        for column in (found.value, found.stderr, found.ess, found.khat):
            column[3] = math.nan
        return found

    monkeypatch.setattr(evaluation.summary, "log_likelihood", spoilt)
    found = evaluation.evaluate(vae(), Split(X), num_particles=50)
    assert all(math.isnan(found[name]) for name in ("log_likelihood", "ess", "khat", "bits_per_dim"))
    assert "log_likelihood_error" not in found and found["error_unknown"] >= 1 / 30


def test_the_error_of_evaluate_is_that_of_the_log_likelihood():
    model = vae()
    nn.init.constant_(model.posterior.head.layer.bias[2:], 2.0)  # wide, so that the weights are bounded
    found = evaluation.evaluate(model, Split(X), num_particles=400)
    again = evaluation.log_likelihood(model, X, num_particles=400)
    assert found["log_likelihood_error"] == pytest.approx(again.mean_error, rel=1e-4)
    assert found["error_unknown"] == (~again.error_known).double().mean() == 0
    few = evaluation.evaluate(model, Split(X), num_particles=20)
    assert "log_likelihood_error" not in few and few["error_unknown"] == 1 and few["log_likelihood_stderr"] > 0


def test_codes_of_nan_are_not_counted():
    model = broken(vae(), "posterior.head.layer.weight", math.inf)
    for call in (
        lambda: evaluation.active_units(model, X),
        lambda: evaluation.compress(model, X, train=X),
        lambda: evaluation.project(evaluation.codes(model, X)),
    ):
        with pytest.raises(
            ValueError, match="the codes of 30 of the 30 examples of .* are NaN or infinite, the first in row 0"
        ):
            call()


def test_a_line_through_pictures_of_nan_is_not_even():
    ae = models.Autoencoder(*plain())
    nn.init.constant_(ae.to_data.layer.weight, math.inf)
    assert evaluation.continuity(ae, X[:4], X[4:8]).isnan().all()


def test_levels_of_an_imputation_that_is_nan_are_nan():
    from ppl_vae import VAE, likelihoods, networks, posteriors, priors

    kinds = {"age": "positive", "sex": "binary"}
    model = VAE(
        priors.Normal(2),
        posteriors.Normal(networks.TableEncoder(2, [8], kinds=kinds), 2),
        likelihoods.Columns(networks.MLP(2, [8]), 2, kinds),
    )
    with torch.no_grad():
        model.likelihood.head.layer.weight.fill_(math.inf)
    done = evaluation.impute(model, torch.tensor([[30.0, math.nan]]))
    assert done.missing[0, 1] and done.x[0, 1].isnan() and done.uncertainty[0, 1].isnan()


def test_an_objective_s_training_is_left_alone():
    """The check is one of evaluation: fitting has its own."""
    model = vae()
    fit(SVI(model), (X,), epochs=1, batch_size=10, progress=False)
    assert evaluation.log_likelihood(model, X, num_particles=30).value.isfinite().all()
