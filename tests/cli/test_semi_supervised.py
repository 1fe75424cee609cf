"""The auxiliary and the stacked semi-supervised model from the shell: built for every kind of data, and every job."""

import json

import numpy as np
import pytest

import ppl_vae
from ppl_vae import models, networks
from ppl_vae.cli import main

SMALL = ["--hidden", "8", "--latent-dim", "3", "--epochs", "1", "--no-progress", "--no-report", "--quiet"]


def shell(*words):
    return main([str(word) for word in words])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("auxiliary") / "run"
    assert shell("train", "--model", "auxiliary", "--data", "digits", "--labels", 100, "--out", folder, *SMALL) == 0
    return folder


def test_an_auxiliary_run(run, tmp_path, capsys):
    model = ppl_vae.load(run)
    assert isinstance(model, models.AuxiliaryVAE)
    assert networks.stated(model.classifier, "in_shape") == (64 + 3,) and model.auxiliary.network.in_shape == (1, 8, 8)
    assert json.loads((run / "config.json").read_text())["objective"]["class"] == "objectives.SemiSupervised"
    for words in (
        ("sample", run, "--y", 3, "--n", 4),
        ("reconstruct", run),
        ("embed", run),
        ("impute", run),
    ):
        file = tmp_path / f"{words[0]}.npy"
        assert shell(*words, "--out", file) == 0, capsys.readouterr().err
        assert np.isfinite(np.load(file)).all()
    assert shell("predict", run, "--out", tmp_path / "y.csv") == 0


@pytest.mark.parametrize(
    "words",
    [
        "--network conv",
        "--data wine",
        "--data wine --scale standard --condition-by film",
        "--data breast-cancer --likelihood columns",
        "--given-prior --prior mixture-of-gaussians",
        "--posterior laplace",
    ],
)
def test_it_is_built_for_other_data_and_parts(words, tmp_path):
    given = words.split()
    hidden = ["--hidden", "4"] if "conv" in given else []
    assert shell("train", "--model", "auxiliary", *given, "--out", tmp_path / "run", *SMALL, *hidden) == 0
    losses = (tmp_path / "run" / "history.csv").read_text()
    assert "nan" not in losses


def test_a_prior_made_of_the_posterior_is_refused(tmp_path, capsys):
    assert shell("train", "--model", "auxiliary", "--prior", "vamp", "--out", tmp_path / "run", *SMALL) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "VampPrior is made of a posterior of x alone" in err
    assert not (tmp_path / "run").exists()
