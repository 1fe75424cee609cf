"""Models with integer codes from the shell: every quantizer and prior of codes, and what cannot be."""

import json

import pytest
import torch

import ppl_vae
from ppl_vae import catalog, code_priors, evaluation, models, networks, quantizers
from ppl_vae.cli import main
from ppl_vae.cli.arguments import words
from ppl_vae.cli.grid import grid

FEW = "--hidden 4 8 --quantizer.num-codes 6 --latent-dim 4"
NONE = "--code-prior none"
QUICK = "--code-prior.width 8 --code-prior.epochs 2"


def said(capsys, tmp_path, words):
    """Exit code and error of a training."""
    code = main(["train", "--out", str(tmp_path / "run"), *words.split(), "--epochs", "1", "--no-progress", "--quiet"])
    return code, capsys.readouterr().err


def train(tmp_path, words):
    folder = tmp_path / "run"
    flags = ["--epochs", "1", "--no-progress", "--no-report", "--quiet", "--out", str(folder)]
    assert main(["train", *words.split(), *flags]) == 0
    return ppl_vae.load(folder), json.loads((folder / "evaluation.json").read_text())["test"]


@pytest.fixture
def table(tmp_path):
    """A small table of two kinds of columns and a class."""
    file = tmp_path / "t.csv"
    lines = [f"{i * 0.37 % 1:.3f},{'abc'[i % 3]},{i % 2}" for i in range(80)]
    file.write_text("\n".join(["size,word,kind", *lines]) + "\n")
    return str(file)


QUANTIZERS = {
    f"vector {FEW} --update.decay 0.9": quantizers.VectorQuantizer,
    f"vector {FEW} --update gradient --quantizer.gradient rotation": quantizers.VectorQuantizer,
    f"product {FEW} --quantizer.groups 2": quantizers.ProductQuantizer,
    f"residual {FEW} --quantizer.stages 2": quantizers.ResidualQuantizer,
    "finite-scalar --hidden 4 8 --quantizer.levels 3 3": quantizers.FiniteScalarQuantizer,
}


@pytest.mark.parametrize("words", QUANTIZERS)
@pytest.mark.parametrize("model", ["vqvae", "vqvae2"])
def test_every_quantizer(tmp_path, model, words):
    found, figures = train(tmp_path, f"--model {model} --quantizer {words} {NONE}")
    assert type(found) is {"vqvae": models.VQVAE, "vqvae2": models.VQVAE2}[model]
    assert {type(quantizer) for quantizer in found.levels} == {QUANTIZERS[words]}
    assert isinstance(found.prior, code_priors.Frequencies)
    places = 2 * 2 if model == "vqvae" else 1 + 2 * 2
    assert torch.Size(found.code_shape).numel() == places * torch.Size(found.quantizer.code_shape).numel()
    assert figures["elbo"] == pytest.approx(figures["reconstruction"] - figures["kl"], rel=1e-5)
    if "decay" in words:
        assert all(quantizer.update.decay == 0.9 for quantizer in found.levels)
    if "gradient" in words:
        assert all(isinstance(quantizer.codebook, torch.nn.Parameter) for quantizer in found.levels)


def test_every_quantizer_and_prior_is_offered():
    assert [*catalog.parts("quantizer")] == ["finite-scalar", "product", "residual", "vector"]
    assert [*catalog.parts("update")] == ["ema", "gradient"]
    assert [*catalog.parts("code-prior")] == ["frequencies", "pixel-cnn", "transformer"]


def test_priors_of_codes(tmp_path):
    found, _ = train(tmp_path / "cnn", f"--model vqvae {FEW} --code-prior pixel-cnn {QUICK}")
    assert isinstance(found.prior, code_priors.PixelCNN) and found.prior.epochs == 2
    found, _ = train(tmp_path / "transformer", f"--model vqvae2 {FEW} {QUICK} --code-prior.heads 2")
    assert isinstance(found.prior, code_priors.Transformer) and found.prior.width == 8
    stages = [
        json.loads(line)["stage"]
        for line in (tmp_path / "transformer/run/metrics.jsonl").read_text().split("\n")
        if line
    ]
    assert stages == ["", "code prior", "code prior"]


def test_codes_of_a_network_without_a_grid(tmp_path):
    found, _ = train(tmp_path, f"--model vqvae --network mlp --hidden 8 --quantizer.num-codes 6 --latent-dim 4 {NONE}")
    assert isinstance(found.encoder, networks.MLP) and found.code_shape == (8,)
    words = f"--model vqvae --network mlp --hidden 8 --quantizer.num-codes 6 --model.positions 4 {NONE}"
    assert train(tmp_path / "four", words)[0].code_shape == (4,)


def test_labels_reach_encoder_likelihood_and_prior(tmp_path):
    found, _ = train(tmp_path, f"--model vqvae {FEW} --condition label {QUICK} --code-prior.heads 2")
    x = torch.rand(3, 1, 8, 8).round()
    zero, one = torch.zeros(3, dtype=torch.long), torch.ones(3, dtype=torch.long)
    codes = found.encode(x, zero)
    assert found.prior.condition is not None and not torch.equal(found.vectors(x, zero), found.vectors(x, one))
    assert not torch.equal(found.decode(codes, zero), found.decode(codes, one))
    assert not torch.equal(found.prior(zero).log_prob(codes), found.prior(one).log_prob(codes))
    assert evaluation.elbo(found, x, one).elbo.isfinite().all()


@pytest.mark.parametrize("likelihood", ["", "--likelihood columns", "--data.labels kind --condition label"])
def test_tables(tmp_path, table, likelihood):
    words = f"--data {table} --model vqvae --network mlp --hidden 8 --quantizer.num-codes 4 --latent-dim 2"
    found, figures = train(tmp_path, f"{words} --model.positions 2 {NONE} {likelihood}")
    assert type(found.likelihood).__name__ == "Columns" and found.code_shape == (2,)
    assert torch.tensor(figures["elbo"]).isfinite()


REFUSED = {
    f"{FEW} --code-prior nonesuch": "--code-prior nonesuch is unknown; choose from frequencies, pixel-cnn, transformer",
    f"{FEW} --quantizer vecto": "did you mean vector?",
    f"{FEW} --beta 2": "--beta does not apply to --model vqvae",
    f"{FEW} --prior normal": "--prior does not apply to --model vqvae, which has no prior",
    f"--hidden 4 8 --quantizer.num-codes 100000 {NONE}": "num_codes is 100000, but there are only",
    "--hidden 4 8 --quantizer finite-scalar --quantizer.levels 1 3": "levels must be a whole number of at least 2",
    "--quantizer finite-scalar --update gradient": "--update does not apply to --quantizer finite-scalar",
    "--quantizer finite-scalar --update.decay 0.5": "--update.decay does not apply to --quantizer finite-scalar",
    "--quantizer finite-scalar --latent-dim 4": "--latent-dim does not apply to --quantizer finite-scalar",
    "--quantizer product --latent-dim 5": "groups must divide dim, which is 5: choose from 1, 5, not 4",
    "--update.decay 2": "decay must be",
    "--network mlp --model.positions 0": "model.positions must be a whole number of at least 1, not 0",
    "--network mlp --code-prior pixel-cnn": r"PixelCNN takes codes of shape (height, width), not (8,)",
    "--hidden 4 8 --model.positions 5": "positions is 5, but the likelihood's network takes a grid of (2, 2)",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_is_refused_is_refused_in_one_sentence_and_leaves_nothing(tmp_path, capsys, words):
    code, error = said(capsys, tmp_path, f"--model vqvae {words}")
    assert code == 2 and error.count("\n") == 1 and REFUSED[words] in error
    assert not (tmp_path / "run").exists()


def test_what_other_models_cannot_do_with_codes(tmp_path, capsys, table):
    for line, expected in {
        "--model vae --quantizer vector": "--quantizer does not apply to --model vae, which has no quantizer",
        "--model vqvae2 --network mlp": "--model vqvae2 has codes on the grids of pictures: use --network conv",
        "--model vqvae2 --code-prior pixel-cnn": "PixelCNN takes codes of shape (height, width), not (5,)",
        f"--model vqvae --data {table}": "t.csv has shape (3,); use --network mlp",
    }.items():
        code, error = said(capsys, tmp_path, line)
        assert code == 2 and error.count("\n") == 1 and expected in error, error
        assert not (tmp_path / "run").exists()


def test_quantizers_are_compared():
    line = (
        f"--model vqvae {FEW} {NONE} --quantizer vector residual finite-scalar --quantizer.stages 2 --update.decay 0.9"
    )
    found = [cell.settings for cell in grid(words("compare", line.split()))]
    assert [settings["quantizer"] for settings in found] == ["vector", "residual", "finite-scalar"]
    assert found[0]["update.decay"] == found[1]["update.decay"] == 0.9 and "update.decay" not in found[2].given
    assert found[1]["quantizer.stages"] == 2 and "quantizer.stages" not in found[0].given
    assert all(settings["network"] == "conv" and settings["code-prior"] is None for settings in found)


def test_the_help_says_what_they_are(capsys):
    assert main(["train", "--help"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for said_of in ("finite-scalar, product, residual, vector; of models with integer codes", "ema, gradient; how the"):
        assert said_of in out
    assert "frequencies, pixel-cnn, transformer; p(codes) of models with integer codes" in out
