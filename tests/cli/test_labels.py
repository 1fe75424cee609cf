"""Models of x given y from the shell: what is built, which labels every job gives them, and what is refused."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import ppl_vae
from ppl_vae import data, evaluation, networks, priors
from ppl_vae.cli import main
from ppl_vae.cli.run import Examples

SMALL = ["--hidden", "16", "--latent-dim", "2", "--epochs", "1", "--no-progress", "--no-report", "--quiet"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels") / "run"
    assert main(["train", "--data", "digits", "--condition", "label", "--out", str(folder), *SMALL]) == 0
    return folder


def shell(*words):
    return main([str(word) for word in words])


def written(run, tmp_path, *words):
    assert shell(words[0], run, *words[1:], "--out", tmp_path / "out.npy") == 0
    return torch.from_numpy(np.load(tmp_path / "out.npy"))


def error_of(capsys, *words):
    capsys.readouterr()
    assert shell(*words) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


def test_both_networks_see_the_labels_and_the_data_say_how_many(run):
    model = ppl_vae.load(run)
    assert isinstance(model.condition, networks.Label) and model.condition.classes == 10
    assert isinstance(model.posterior.network, networks.Conditioned)
    assert isinstance(model.likelihood.network, networks.Conditioned)
    shell = json.loads((run / "config.json").read_text())["shell"]
    assert shell["condition"] == "label" and shell["condition.classes"] is None


def test_a_runs_config_makes_the_run_again(run, tmp_path):
    assert shell("train", "--config", run / "config.json", "--out", tmp_path / "again", *SMALL[-3:]) == 0
    one, again = (ppl_vae.load(folder).state_dict() for folder in (run, tmp_path / "again"))
    assert all(torch.equal(one[name], again[name]) for name in one)


def test_the_data_s_labels_are_given_unless_others_are(run, tmp_path):
    model, test = ppl_vae.load(run), data.load("digits").test.resolve(ppl_vae.load(run).support)
    x, y = test.take(range(8))
    threes = torch.full_like(y, 3)
    assert not torch.equal(evaluation.reconstruct(model, x, y), evaluation.reconstruct(model, x, threes))
    torch.testing.assert_close(written(run, tmp_path, "reconstruct")[1], evaluation.reconstruct(model, x, y))
    told = written(run, tmp_path, "reconstruct", "--y", "3")
    torch.testing.assert_close(told[1], evaluation.reconstruct(model, x, threes))
    each = written(run, tmp_path, "reconstruct", "--n", "2", "--y", "3", "8")
    torch.testing.assert_close(each[1], evaluation.reconstruct(model, x[:2], torch.tensor([3, 8])))
    codes = written(run, tmp_path, "embed")
    torch.testing.assert_close(codes, evaluation.codes(model, *test.take(slice(None))))


def test_samples_are_of_the_labels(run, tmp_path):
    model = ppl_vae.load(run)
    for words, y in (("3", [3, 3]), ("3 8", [3, 8])):
        made = written(run, tmp_path, "sample", "--n", "2", "--y", *words.split())
        torch.testing.assert_close(made, evaluation.sample_means(model, 2, torch.tensor(y)))


def test_a_line_goes_from_one_label_to_its_own(run, tmp_path):
    model, chosen = ppl_vae.load(run), Examples(str(run))
    x, y, labels = chosen.take([2, 5])
    assert torch.equal(y, labels)
    line = written(run, tmp_path, "interpolate", "--from", "2", "--to", "5", "--steps", "3")
    expected = evaluation.interpolate(model, x[:1], x[1:], y=y[:1], y1=y[1:], steps=3)[0]
    torch.testing.assert_close(line, expected)
    assert not torch.equal(
        line, written(run, tmp_path, "interpolate", "--from", "2", "--to", "5", "--steps", "3", "--y", 8)
    )


def test_evaluate_is_of_the_labels(run, capsys):
    words = ["evaluate", run, "--limit", 30, "--num-particles", 5, "--json"]
    found = []
    for more in ([], ["--y", 3]):
        assert shell(*words, *more) == 0
        found.append(json.loads(capsys.readouterr().out)["test"]["elbo"])
    assert found[0] != found[1]


@pytest.mark.parametrize(
    "words", ["denoise", "anomaly --label 3", "compress --levels 4", "impute --mask 0.5 --limit 9", "report"]
)
def test_every_other_job_passes_the_labels_on(run, tmp_path, words):
    out = ["--out", tmp_path / "x.npy"] if words.startswith("impute") else []
    assert shell(words.split()[0], run, *words.split()[1:], *out) == 0


def test_a_class_may_be_named(tmp_path):
    for name, grey in (("cat", 40), ("dog", 200)):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(15):
            Image.fromarray(np.full((4, 4), grey + i, np.uint8)).save(tmp_path / "pets" / name / f"{i}.png")
    words = ["--condition", "label", "--likelihood", "normal", "--batch-size", "8", *SMALL]
    assert shell("train", "--data", tmp_path / "pets", "--out", tmp_path / "run", *words) == 0
    named = written(tmp_path / "run", tmp_path, "sample", "--n", "2", "--y", "dog")
    assert torch.equal(named, written(tmp_path / "run", tmp_path, "sample", "--n", "2", "--y", "1"))


def test_numbers_are_a_vector(tmp_path, capsys):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "t.npz", x=rng.normal(size=(40, 3)).astype("float32"), y=rng.normal(size=40).astype("float32"))
    words = ["train", "--data", tmp_path / "t.npz", "--batch-size", "8", *SMALL]
    assert "needs labels that are classes" in error_of(
        capsys, *words, "--condition", "label", "--out", tmp_path / "run"
    )
    assert shell(*words, "--condition", "vector", "--out", tmp_path / "run") == 0
    assert ppl_vae.load(tmp_path / "run").condition.event == ()
    assert written(tmp_path / "run", tmp_path, "sample", "--n", "2", "--y", "0.5").shape == (2, 3)


def test_pictures_are_a_condition_and_each_kind_of_label_has_its_own(tmp_path, capsys):
    rng = np.random.default_rng(0)
    labels = {"picture": rng.random((40, 3, 8, 8)), "vector": rng.random((40, 3)), "number": rng.random(40)}
    for name, y in labels.items():
        x = rng.random((40, 1, 8, 8)).astype("float32")
        np.savez(tmp_path / f"{name}.npz", x=x, y=y.astype("float32"))
    words = ["train", "--batch-size", "8", "--network", "conv", "--out", tmp_path / "run", *SMALL]
    for name, condition, wanted in (("number", "picture", "pictures"), ("vector", "picture", "pictures"),
                                    ("picture", "vector", "numbers")):  # fmt: skip
        said = error_of(capsys, *words, "--data", tmp_path / f"{name}.npz", "--condition", condition)
        assert f"--condition {condition} needs labels that are {wanted}; those of" in said
    assert shell(*words, "--data", tmp_path / "picture.npz", "--condition", "picture") == 0
    condition = ppl_vae.load(tmp_path / "run").condition
    assert isinstance(condition, networks.Picture) and condition.event == (3, 8, 8)


def test_data_without_labels_are_refused_before_anything_is_written(tmp_path, capsys):
    np.save(tmp_path / "t.npy", np.random.default_rng(0).normal(size=(40, 3)).astype("float32"))
    words = ["train", "--data", tmp_path / "t.npy", "--condition", "label", "--out", tmp_path / "run", *SMALL]
    assert "--condition label needs data with labels y" in error_of(capsys, *words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("sample RUN --n 2", "--y is needed: RUN is a model of x given y, Label(10)"),
        ("sample RUN --n 2 --y 10", "y holds the label 10 in row 0, but Label(10) takes 0 to 9"),
        ("sample RUN --n 3 --y 1 2", "--y takes one label for all, or one for each of the 3, not 1 2"),
        ("sample RUN --n 3 --y threee", "--y threee is unknown; choose from 0, 1, 2"),
        ("reconstruct RUN --y -1", "y holds the label -1 in row 0"),
        ("sample RUN --n 3 --y 1.5", "--y 1.5 is no whole number"),
    ],
)
def test_labels_that_cannot_be_are_one_sentence(run, tmp_path, capsys, words, message):
    words = [str(run) if word == "RUN" else word for word in words.split()]
    assert message.replace("RUN", str(run)) in error_of(capsys, *words, "--out", tmp_path / "x.npy")
    assert not (tmp_path / "x.npy").exists()


def test_a_model_without_labels_takes_none(tmp_path, capsys):
    assert shell("train", "--data", "digits", "--out", tmp_path / "run", *SMALL) == 0
    message = error_of(capsys, "sample", tmp_path / "run", "--y", "3", "--out", tmp_path / "x.npy")
    assert "--y is for conditional models" in message
    message = error_of(
        capsys, "train", "--model", "autoencoder", "--condition", "label", "--out", tmp_path / "ae", *SMALL
    )
    assert "--condition does not apply to --model autoencoder, which has no condition" in message


def test_the_prior_may_be_given_y_too(tmp_path, capsys):
    words = ["train", "--data", "digits", "--condition", "label", "--given-prior", "true", *SMALL]
    assert shell(*words, "--prior.learned", "true", "--out", tmp_path / "run") == 0
    model = ppl_vae.load(tmp_path / "run")
    assert isinstance(model.prior, priors.Given) and model.prior.move.weight.abs().sum() > 0
    means = model.prior(torch.arange(10)).mean
    assert means.shape == (10, 2) and not torch.equal(means[0], means[1])
    again = ["train", "--config", tmp_path / "run" / "config.json", "--out", tmp_path / "again", *SMALL[-3:]]
    assert shell(*again) == 0 and torch.equal(ppl_vae.load(tmp_path / "again").prior(torch.arange(10)).mean, means)
    message = error_of(capsys, *words, "--prior", "beta", "--out", tmp_path / "fixed")
    assert "prior Beta has no learned parameters; use one that has" in message
    plain = ["train", "--data", "digits", "--given-prior", "true", *SMALL, "--out", tmp_path / "plain"]
    assert "--given-prior needs --condition" in error_of(capsys, *plain)
    assert not (tmp_path / "fixed").exists() and not (tmp_path / "plain").exists()
