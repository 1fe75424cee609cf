"""Models of the rest of a picture from the shell: trained, completed, and what is refused."""

import numpy as np
import pytest
import torch

import ppl_vae
from ppl_vae import data, evaluation, likelihoods, networks
from ppl_vae.cli import main

SMALL = ["--hidden", "16", "--latent-dim", "2", "--epochs", "1", "--no-progress", "--no-report", "--quiet"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quadrants") / "run"
    words = ["--model", "cvae", "--data", "digits", "--condition", "quadrants", "--condition.observed", "2"]
    assert main(["train", *words, "--out", str(folder), *SMALL]) == 0
    return folder


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Digits 0 to 8 of 10 classes."""
    folder = tmp_path_factory.mktemp("labelled")
    digits = data.load("digits", binarize="none").train
    keep = digits.y < 9
    np.savez(folder / "digits.npz", x=digits.x[keep][:200].numpy(), y=digits.y[keep][:200].numpy())
    words = ["--model", "cvae", "--data", str(folder / "digits.npz"), "--condition.classes", "10"]
    assert main(["train", *words, "--out", str(folder / "run"), *SMALL]) == 0
    return folder / "run"


def shell(*words):
    return main([str(word) for word in words])


def error_of(capsys, *words):
    capsys.readouterr()
    assert shell(*words) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


def test_the_run_is_of_the_rest(run):
    model = ppl_vae.load(run)
    assert model.condition.observed == 2 and isinstance(model.likelihood, likelihoods.Completed)
    assert isinstance(model.posterior.network, networks.MLP)  # x holds y


@pytest.mark.slow
def test_its_report_completes_observed_parts(run):
    assert shell("report", run) == 0
    assert "Each has the observed part of a training example." in (run / "report.html").read_text()


def test_complete_writes_what_evaluation_makes(run, tmp_path):
    model = ppl_vae.load(run)
    x, _ = data.load("digits").test.resolve(model.support).take(range(5))
    for words, options in (([], {}), (["--draw", "--seed", "3"], {"draw": True, "seed": 3})):
        out = tmp_path / "out.npy"
        assert shell("complete", run, "--observed", 2, "--n", 5, "--num-samples", 4, "--out", out, *words) == 0
        made = torch.from_numpy(np.load(out))
        torch.testing.assert_close(made, evaluation.completions(model, x, n=4, **options))
        assert torch.equal(made[..., :4], x[..., :4].expand(4, -1, -1, -1, -1))
    assert shell("complete", run, "--out", tmp_path / "out.png") == 0 and (tmp_path / "out.png").stat().st_size > 1000


def test_jobs_take_the_part_from_the_examples(run, tmp_path):
    model = ppl_vae.load(run)
    x, _ = data.load("digits").test.resolve(model.support).take(range(3))
    assert shell("reconstruct", run, "--n", 3, "--out", tmp_path / "out.npy") == 0
    pair = torch.from_numpy(np.load(tmp_path / "out.npy"))
    torch.testing.assert_close(pair[1], evaluation.reconstruct(model, x))
    assert torch.equal(pair[1][..., :4], x[..., :4])
    assert shell("interpolate", run, "--out", tmp_path / "out.npy") == 0


def test_refused(run, tmp_path, capsys):
    out = ["--out", tmp_path / "out.npy"]
    assert "trained with --condition.observed 2" in error_of(capsys, "complete", run, "--observed", 1, *out)
    assert "use ppl-vae complete" in error_of(capsys, "sample", run, *out)
    assert "leave out --y" in error_of(capsys, "sample", run, "--y", 3, *out)
    assert "leave out --y" in error_of(capsys, "reconstruct", run, "--y", 3, *out)
    words = ["train", "--data", "digits", "--condition", "quadrants", "--out", tmp_path / "run"]
    assert "4" in error_of(capsys, *words, "--condition.observed", 4)
    assert "Multinomial is over whole events" in error_of(capsys, *words, "--likelihood", "multinomial")
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).normal(size=(30, 4)))
    said = error_of(capsys, *words[:2], tmp_path / "rows.npy", *words[3:])
    assert "--condition quadrants needs pictures; the rows of" in said
    assert [path.name for path in tmp_path.iterdir()] == ["rows.npy"]


def test_style_transfer_and_classes(labelled, tmp_path, capsys):
    model, out = ppl_vae.load(labelled), ["--out", tmp_path / "out.npy"]
    assert shell("reconstruct", labelled, "--n", 4, "--to", 3, *out) == 0
    x, made = torch.from_numpy(np.load(tmp_path / "out.npy"))
    x, y = ppl_vae.open_run(labelled).data().test.resolve(model.support).take(range(4))
    torch.testing.assert_close(made, evaluation.transfer(model, x, y, to=torch.tensor([3] * 4)))
    assert shell("sample", labelled, "--y", 8, "--n", 3, *out) == 0
    for words in (["sample", labelled, "--y", 9], ["reconstruct", labelled, "--to", 9]):
        assert "label 9 in row 0, which no training example has" in error_of(capsys, *words, *out)
    assert "10 in row 0, but Label(10) takes 0 to 9" in error_of(capsys, "sample", labelled, "--y", 10, *out)
    assert "no model of the rest of a picture" in error_of(capsys, "complete", labelled, *out)
