"""Labels from the shell: what is refused in one sentence that names the flag, before anything is written."""

import re

import numpy as np
import pytest

import ppl_vae
from ppl_vae import networks
from ppl_vae.cli import main

SMALL = ["--hidden", "8", "--latent-dim", "2", "--epochs", "1", "--no-progress", "--no-report", "--quiet"]
X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)


def error_of(capsys, *words):
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("ppl-vae: error: ")
    return said


def rows(tmp_path, y):
    np.savez(tmp_path / "rows.npz", x=X, y=np.asarray(y))
    return tmp_path / "rows.npz"


@pytest.mark.parametrize("n", [0, -3])
def test_a_number_of_labels_below_one(tmp_path, capsys, n):
    words = ["train", "--model", "semi-supervised", "--data", "digits", "--labels", n, "--out", tmp_path / "run"]
    assert f"--labels must be a whole number of at least 1, not {n}" in error_of(capsys, *words)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("model", ["semi-supervised", "supervised"])
@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0] * 60, "needs labels of two classes, but all those of .* are 0"),
        ([-1] * 60, "all labels of .* are -1, unknown"),
        ([-1, 1] * 30, "hold -1, an unknown class, but no 0; number classes from 0"),
    ],
)
def test_labels_that_are_no_classes(tmp_path, capsys, model, y, message):
    path = rows(tmp_path, y)
    assert re.search(message, error_of(capsys, "train", "--model", model, "--data", path, "--out", tmp_path / "run"))
    assert [found.name for found in tmp_path.iterdir()] == ["rows.npz"]


@pytest.mark.parametrize("model", ["semi-supervised", "supervised"])
def test_an_unknown_class_of_ones_own_data_is_no_number(tmp_path, model):
    path = rows(tmp_path, np.arange(60) % 4 - 1)
    assert main(["train", "--model", model, "--data", str(path), "--out", str(tmp_path / "run"), *SMALL]) == 0
    target = ppl_vae.open_run(tmp_path / "run").model.target
    assert isinstance(target, networks.Label) and target.classes == 3


def test_quadrants_of_a_model_with_a_codebook(tmp_path, capsys):
    words = ["train", "--model", "vqvae", "--data", "digits", "--condition", "quadrants", "--out", tmp_path / "run"]
    assert "does not apply to --model vqvae; use --model cvae" in error_of(capsys, *words)


def test_jobs(tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", "--model", "semi-supervised", "--data", "digits", "--out", str(run), *SMALL]) == 0
    out = ["--out", tmp_path / "out.npy"]
    assert "--n must be a whole number of at least 1, not 0" in error_of(
        capsys, "sample", run, "--y", 3, "--n", 0, *out
    )
    assert "--y does not apply to predict" in error_of(capsys, "predict", run, "--y", 3, *out)
    assert not (tmp_path / "out.npy").exists()
