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
    for words in (("sample", run, "--y", 3, "--n", 4), ("reconstruct", run), ("embed", run)):
        file = tmp_path / f"{words[0]}.npy"
        assert shell(*words, "--out", file) == 0, capsys.readouterr().err
        assert np.isfinite(np.load(file)).all()
    assert shell("predict", run, "--out", tmp_path / "y.csv") == 0


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table of two kinds with a gap: lengths, counts and a class of each row."""
    file, rng = tmp_path_factory.mktemp("table") / "t.csv", np.random.default_rng(5)
    rows = [f"{rng.gamma(3) + k:.3f},{rng.poisson(4)},{rng.normal():.3f},{'ab'[k]}" for k in rng.integers(2, size=60)]
    file.write_text("length,count,real,kind\n" + "\n".join(rows) + "\n,3,0.5,a\n")
    (file.parent / "whole.csv").write_text("length,count,real,kind\n" + "\n".join(rows) + "\n")
    return file


@pytest.mark.parametrize(
    "words",
    [
        "--network conv --hidden 4",
        "--data.labels kind --likelihood columns",
        "--data.labels kind",
        "--data.labels kind --likelihood normal --scale standard --binarize none",
        "--given-prior true --prior mixture-of-gaussians",
        "--posterior laplace --condition-by film",
    ],
)
def test_it_is_built_for_other_data_and_parts(words, tmp_path, table, capsys):
    own = table.parent / "whole.csv" if "normal" in words else table
    source = ["--data", own if "--data.labels" in words else "digits"]
    given = ["train", "--model", "auxiliary", *source, *SMALL, *words.split(), "--out", tmp_path / "run"]
    assert shell(*given) == 0, capsys.readouterr().err
    lines = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert "elbo" in lines and "nan" not in lines.lower()
    if own == table and "labels" in words:
        assert shell("impute", tmp_path / "run", "--data", table, "--out", tmp_path / "full.csv") == 0
        assert ",," not in (tmp_path / "full.csv").read_text()


def test_a_prior_made_of_the_posterior_is_refused(tmp_path, capsys):
    assert (
        shell(
            "train",
            "--model",
            "auxiliary",
            "--data",
            "digits",
            "--prior",
            "vamp-prior",
            "--out",
            tmp_path / "run",
            *SMALL,
        )
        == 2
    )
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "--prior vamp-prior is made of a posterior of x alone" in err
    assert not (tmp_path / "run").exists()
