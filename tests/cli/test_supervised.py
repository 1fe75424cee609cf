"""From the shell: models that predict y, leave it out of the code, or see it in every layer."""

import json

import numpy as np
import pytest

import ppl_vae
from ppl_vae import models, networks, objectives
from ppl_vae.cli import main

SMALL = ["--hidden", "16", "--latent-dim", "2", "--epochs", "1", "--no-progress", "--no-report", "--quiet"]


def figures(capsys, run):
    capsys.readouterr()
    assert main(["evaluate", str(run), "--num-particles", "5", "--limit", "30", "--json"]) == 0
    return json.loads(capsys.readouterr().out)["test"]


@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_supervised(kind, tmp_path, capsys):
    make = np.random.default_rng(0)
    x, y = make.random((120, 4), dtype="f4"), make.integers(3, size=120)
    np.savez(tmp_path / "rows.npz", x=x, y=y if kind == "classes" else (100 + 10 * y).astype("f4"))
    words = ["--data", str(tmp_path / "rows.npz"), "--model.weight", "5", "--out", str(tmp_path / "run"), *SMALL]
    assert main(["train", "--model", "supervised", *words]) == 0
    model, found = ppl_vae.load(tmp_path / "run"), figures(capsys, tmp_path / "run")
    assert isinstance(model, models.SupervisedVAE) and model.weight == 5
    if kind == "classes":
        assert isinstance(model.target, networks.Label) and 0 <= found["accuracy"] <= 1
    else:
        assert isinstance(model.target, networks.Vector) and 0 < found["prediction_error"] < 40
        assert 90 < model.target.units.shift.item() < 130


def test_adjusted_by_film(tmp_path, capsys):
    words = ["train", "--model", "adjusted", "--condition-by", "film", "--objective.weight", "3", *SMALL]
    assert main([*words, "--data", "digits", "--out", str(tmp_path / "run")]) == 0
    model, found = ppl_vae.load(tmp_path / "run"), figures(capsys, tmp_path / "run")
    assert isinstance(model, models.AdjustedVAE) and 0 <= found["leakage"] <= 1
    assert isinstance(model.posterior.network, networks.FiLM) and isinstance(model.likelihood.network, networks.FiLM)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert '"weight": 3.0' in json.dumps(config) and objectives.Adjusted.__name__ in json.dumps(config)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--model supervised --data DATA", "--model supervised needs data with labels y, which DATA"),
        ("--model supervised --condition label", "--condition does not apply to --model supervised"),
        ("--condition-by film", "--condition-by film needs --condition, which says what y is"),
        ("--model adjusted --posterior one-hot-categorical --prior one-hot-categorical", "no reparameterised draws"),
        ("--model supervised --model.weight -1", "weight must be a finite number of at least 0, not -1"),
    ],
)
def test_refused(words, message, tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((40, 4)))
    words, message = words.replace("DATA", str(tmp_path / "x.npy")), message.split("DATA")[0]
    assert main(["train", *words.split(), "--out", str(tmp_path / "run"), *SMALL]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not (tmp_path / "run").exists()
