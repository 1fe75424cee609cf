"""One encoder and one decoder: pages, jobs and metrics show the same; and what goes through the doors of evaluation."""

import inspect
import json
import re

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from instances import plain, vae

from ppl_vae import VAE, data, estimators, evaluation, likelihoods, models, networks, posteriors, priors
from ppl_vae.evaluation import figures
from ppl_vae.reporting import plots, report

SHAPE = (6,)
PICTURE = (1, 2, 3)  # rows that are drawn as pictures, not as tables
X6 = torch.rand(6, 6, generator=torch.Generator().manual_seed(1))


class Meanless:
    """A distribution that does not know its mean."""

    def __init__(self, base):
        self.base = base

    def __getattr__(self, name):
        if name in ("mean", "variance"):
            raise NotImplementedError
        return getattr(self.base, name)


def model_of(prior, likelihood=likelihoods.Normal, meanless=False, shape=PICTURE):
    torch.manual_seed(0)
    model = VAE(prior, likelihood=likelihood(networks.MLP(3, [8]), shape))
    if meanless:
        model.likelihood.register_forward_hook(lambda *call: Meanless(call[2]))
    return model


MODELS = {
    "multinomial": lambda: model_of(priors.Normal(3), likelihoods.Multinomial),
    "no mean": lambda: model_of(priors.Normal(3), meanless=True),
    "sphere": lambda: model_of(priors.Hyperspherical(3)),
    "one-hot": lambda: model_of(priors.OneHotCategorical(3)),
    "binary": lambda: model_of(priors.Bernoulli(3)),
    "autoencoder": lambda: models.Autoencoder(
        networks.MLP(PICTURE, [8]), networks.MLP(3, [8]), 3, PICTURE, output="identity"
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_what_a_page_shows_is_what_the_metric_measured(name, tmp_path, monkeypatch):
    model, drawn = MODELS[name](), {}
    x = torch.randint(1, 40, (30, *PICTURE), generator=torch.Generator().manual_seed(1)).float()
    for plot in ("reconstructions", "interpolation"):
        real = getattr(plots, plot)
        monkeypatch.setattr(plots, plot, lambda *a, plot=plot, real=real: drawn.update({plot: a}) or real(*a))
    split = data.Split(x)
    report.write(tmp_path, model, data.Data("", split, split, split, None, {}), [], {})
    shown, means = drawn["reconstructions"]
    error = evaluation.reconstruction_error(model, x[: len(shown)])
    assert torch.equal((shown - means).square().flatten(1).sum(1), error)
    assert torch.equal(evaluation.denoise(model, shown), means)
    if name != "no mean":  # whose draws depend on how many are drawn together
        (lines,) = drawn["interpolation"]
        assert torch.allclose(lines[:, 0], means[: len(lines)], rtol=1e-4, atol=1e-4)
        found = evaluation.evaluate(model, x[: len(shown)])["reconstruction_error"]
        assert found == pytest.approx(error.mean().item(), rel=1e-5)
    if name == "multinomial":
        assert torch.allclose(means.flatten(1).sum(1), shown.flatten(1).sum(1))
        assert torch.allclose(evaluation.traverse(model, x).flatten(2).sum(-1), x[0].sum().expand(3, 9))
        fine = evaluation.compress(model, x, train=x, levels=2**16)
        assert torch.allclose(fine.distortion[: len(error)], error, rtol=1e-2)


def test_a_likelihood_without_a_mean_is_averaged_over_draws():
    model, exact = model_of(priors.Normal(3), meanless=True, shape=SHAPE), model_of(priors.Normal(3), shape=SHAPE)
    x = torch.randn(20, 6)
    noise = exact.likelihood(torch.zeros(1, 3)).base_dist.scale.max().item() / 16
    far = evaluation.reconstruct(model, x) - evaluation.reconstruct(exact, x)
    assert 0.5 * noise < far.std() < 1.5 * noise and far.abs().max() < 5 * noise


def test_a_posterior_without_a_mean_is_averaged():
    model = VAE(
        priors.LogNormal(2),
        posteriors.Gamma(networks.MLP(SHAPE, [16]), 2),
        likelihoods.Bernoulli(networks.MLP(2, [16]), SHAPE),
    )
    q = model.posterior(X6)
    model.posterior.register_forward_hook(lambda *call: Meanless(call[2]))
    found = evaluation.codes(model, X6)
    assert ((found - q.mean).abs() < 5 * q.variance.sqrt() / 16).all()  # 256 draws
    assert torch.equal(found, evaluation.codes(model, X6)) and not torch.equal(
        found, evaluation.codes(model, X6, seed=1)
    )


class Shifted(likelihoods.Normal):
    """p(x | z, y) has the mean y in every entry."""

    def forward(self, z, y=None):
        y = torch.zeros(z.shape[:-1]) if y is None else y
        return dist.Normal(y[..., None].expand(*y.shape, 6).float(), 1.0).to_event(1)


def test_labels_reach_every_picture():
    model = VAE(priors.Normal(2), likelihood=Shifted(networks.MLP(2, [4]), SHAPE))
    x, y = torch.randn(7, 6), torch.arange(7)
    assert torch.equal(evaluation.reconstruct(model, x, y)[:, 0], y.float())
    assert torch.allclose(evaluation.reconstruction_error(model, x, y), (x - y[:, None]).square().sum(1))
    assert torch.allclose(evaluation.compress(model, x, y, train=x).distortion, (x - y[:, None]).square().sum(1))
    assert torch.equal(evaluation.sample_means(model, 7, y)[:, 0], y.float())
    assert (evaluation.sample_draws(model, 7, 1000 * y).mean(1) - 1000 * y).abs().max() < 5
    lines = evaluation.interpolate(model, x, x.flip(0), y=y, y1=y.flip(0), steps=4)
    assert torch.equal(lines[..., 0], y[:, None].expand(7, 4).float())
    assert (evaluation.traverse(model, x, y + 3) == 3).all() and (evaluation.manifold(model, x, y + 3) == 3).all()
    assert (evaluation.traverse(model, y=y[5:]) == 5).all()
    z = evaluation.codes(model, x, y)
    assert torch.equal(evaluation.decode(model, z.expand(2, 7, 2), torch.stack([y, y + 1]))[1, :, 0], y + 1.0)
    assert torch.equal(evaluation.anomaly_scores(model, x, y, score="reconstruction"), (x - y[:, None]).square().sum(1))


X = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0)).round()
DOORS = {
    name: function
    for module in (evaluation, evaluation.calibration)
    for name in module.__all__
    if inspect.isfunction(function := getattr(module, name))
    and name not in ("columns_of", "unpack_codes")  # of a model without data
    and [*inspect.signature(function).parameters][:1] in (["model"], ["vae"])
}
# Arguments by place where labels come with the split, are of two data, or are not asked for.
APART = {"evaluate": 2, "interpolate": 3, "continuity": 3, "leakage": 3, "assign": 2, "predict": 2, "completions": 2}
PARTICLES = {"log_likelihood", "elbo", "kl_by_dimension", "gaps"}


def test_every_function_of_a_model_takes_y_third_and_all_else_by_name():
    assert len(DOORS) == 40
    for name, function in DOORS.items():
        kinds = {p.name: p.kind for p in inspect.signature(function).parameters.values()}
        places = [n for n, kind in kinds.items() if kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        if name in APART:
            assert len(places) == APART[name] and "y" not in places, name
        else:
            assert len(places) == 3 and places[2] == "y", name


@pytest.mark.parametrize("name", sorted(DOORS.keys() - APART.keys() - {"transfer"}))  # of a conditional model
def test_a_number_in_the_place_of_y_is_refused(name):
    first = (
        5 if [*inspect.signature(DOORS[name]).parameters][1] == "n" else torch.zeros(5, 2) if name == "decode" else X
    )
    more = {"train": X} if name in ("compress", "spreads") else {}
    for number, said in ((1000, "1000"), (torch.tensor(7), "7"), (0.5, "0.5"), (np.int64(3), "3")):
        with pytest.raises(TypeError, match=rf"^y must be labels \(B, ...\) or None, not {said}") as caught:
            DOORS[name](vae(), first, number, **more)
        assert str(caught.value).endswith(f"write num_particles={said}") or name not in PARTICLES


def test_labels_that_do_not_fit_are_refused():
    model = vae()
    for call in (evaluation.codes, evaluation.elbo, evaluation.log_likelihood, evaluation.reconstruct, evaluation.gaps):
        with pytest.raises(ValueError, match="^y must hold a label for each of the 5 examples, not 4 labels$"):
            call(model, X, torch.zeros(4))
    with pytest.raises(
        ValueError, match=r"^y must hold a label for each of the codes \(2, 3\), not have shape \(6,\)$"
    ):
        evaluation.decode(model, torch.zeros(2, 3, 2), torch.zeros(6))


def test_the_condition_checks_the_labels_at_the_door():
    label = networks.Label(10)
    encoder = networks.Conditioned.around(networks.MLP, label, SHAPE)
    decoder = networks.Conditioned.around(networks.MLP, label, 2)
    model = VAE(priors.Normal(2), posteriors.Normal(encoder, 2), likelihoods.Normal(decoder, SHAPE))
    for call in (evaluation.codes, evaluation.elbo, evaluation.log_likelihood, evaluation.interpolate):
        more = (X6,) if call is evaluation.interpolate else ()
        with pytest.raises(ValueError, match=r"^y is missing: the model is conditional on Label\(10\)"):
            call(model, X6, *more)
        with pytest.raises(ValueError, match="^y holds the label 10 in row 2, but Label"):
            call(model, X6, *more, y=torch.tensor([0, 1, 10, 2, 3, 4]))
    assert evaluation.elbo(model, X6, np.arange(6)).elbo.shape == (6,)
    with pytest.raises(ValueError, match="y is missing"):
        evaluation.sample_means(model, 3)


def test_a_conditional_model_has_a_whole_report(tmp_path):
    model = VAE(
        priors.Normal(2),
        posteriors.Normal(networks.Conditioned.around(networks.MLP, networks.Label(3), PICTURE), 2),
        likelihoods.Normal(networks.Conditioned.around(networks.MLP, networks.Label(3), 2), PICTURE),
    )
    split = data.Split(torch.randn(60, *PICTURE), torch.arange(60) % 3)
    path = report.write(tmp_path, model, data.Data("", split, split, split, None, {}), [], {})
    html = path.read_text()
    for section in (
        "reconstructions",
        "samples",
        "interpolation",
        "traversals",
        "manifold",
        "codes",
        "kl",
        "calibration",
    ):
        assert f'<section id="{section}"' in html
    assert "Not computed" not in html and "Each has the label of a training example." in html
    without = report.write(tmp_path, model, None, [], {}).read_text()
    assert re.findall('<section id="([a-z-]+)"', without) == ["labels"]  # the others need data, or labels of it


def test_models_are_asked_by_their_protocols():
    class Duck(torch.nn.Module):
        encode = decode = lambda self, x: x

    for call in (evaluation.codes, evaluation.reconstruct, evaluation.decode, evaluation.traverse):
        with pytest.raises(TypeError, match=r"^model must be a models.Codec, with encode and decode; Duck is none$"):
            call(Duck(), X)
    with pytest.raises(TypeError, match="models.Codec or a models.Pair"):
        evaluation.evaluate(Duck(), X)


def test_the_table_of_figures_names_all_that_is_computed():
    of_vae = evaluation.evaluate(vae(), X, num_particles=50)
    of_ae = evaluation.evaluate(models.Autoencoder(*plain()), X)
    assert {*of_vae, *of_ae} <= {*figures.FIGURES}
    for name, figure in figures.FIGURES.items():
        assert figure.name == name and figure.words and figure.better in ("higher", "lower", None)
    khat = figures.FIGURES["khat"]
    assert khat.limit({"num_particles": 100}) == pytest.approx(0.5) and "above 0.5 " in khat.told(
        {"num_particles": 100}
    )
    assert [n for n, figure in figures.FIGURES.items() if figure.threshold] == ["khat"]
    assert figures.error({"log_likelihood_stderr": 0.1, "khat": 0.3, "num_particles": 1000}) == 0.1  # of an old file
    assert figures.error({"log_likelihood_stderr": 0.1, "khat": [0.3, 0.6, 0.7], "num_particles": 1000}) is None
    assert json.dumps({name: figure.told() for name, figure in figures.FIGURES.items()})


def test_snr_takes_labels_after_x():
    with pytest.raises(TypeError, match="write num_particles=100$"):
        evaluation.gradients.snr(vae(), estimators.TraceELBO(), X, 100)
