"""Autoencoders from the shell: parts behind the part that takes them, and what cannot be."""

import json

import pytest

import ppl_vae
from ppl_vae import catalog, corruptions, models, penalties
from ppl_vae.cli import main
from ppl_vae.cli.arguments import UsageError
from ppl_vae.cli.settings import settings

SMALL = ["--latent-dim", "4", "--epochs", "1", "--no-progress", "--no-report", "--quiet"]
NAMES = {
    "autoencoder": models.Autoencoder,
    "conv-autoencoder": models.ConvAutoencoder,
    "denoising": models.DenoisingAutoencoder,
    "sparse": models.SparseAutoencoder,
    "contractive": models.ContractiveAutoencoder,
    "stacked": models.StackedAutoencoder,
    "latent-noise": models.LatentNoiseAutoencoder,
    "regularized": models.RegularizedAutoencoder,
}
PENALTIES = ("contraction", "decoder-gradient", "decoder-l2", "k-sparse", "kl", "l1", "l2", "spectral-norm")


def train(tmp_path, *argv):
    assert main(["train", "--out", str(tmp_path / "run"), *argv, *SMALL]) == 0
    return ppl_vae.load(tmp_path / "run")


def test_the_fixed_names():
    assert NAMES.keys() <= catalog.parts("model").keys()
    assert [*catalog.parts("penalty")] == [*PENALTIES]
    assert [*catalog.parts("corruption")] == ["gaussian", "masking", "relative-gaussian", "salt-and-pepper"]


@pytest.mark.parametrize("name", NAMES)
def test_every_one_is_trained(tmp_path, name):
    hidden = ["--hidden", "8"] if name != "conv-autoencoder" else ["--hidden", "4", "8"]
    model = train(tmp_path, "--model", name, *hidden)
    assert type(model) is NAMES[name] and model.dim == 4


@pytest.mark.parametrize("name", PENALTIES)
def test_every_penalty_trains_a_sparse_model(tmp_path, name):
    line = [
        "--model",
        "sparse",
        "--hidden",
        "8",
        "--penalty",
        name,
        *(["--penalty.k", "3"] if name == "k-sparse" else []),
    ]
    model = train(tmp_path, *line)
    assert catalog.parts("penalty")[name].cls == type(model.penalties[0]).__name__


def test_an_autoencoder_has_a_penalty_and_a_corruption_if_they_are_named(tmp_path):
    line = ["--model", "autoencoder", "--hidden", "8", "--model.code", "sigmoid"]
    plain = train(tmp_path / "plain", *line)
    assert plain.corruption is None and not len(plain.penalties)
    both = train(tmp_path / "both", *line, "--corruption", "masking", "--penalty", "kl", "--penalty.weight", "2")
    assert isinstance(both.corruption, corruptions.Masking) and both.penalties[0].weight == 2
    with pytest.raises(UsageError, match="--penalty.weight is no option of --penalty, which is not given"):
        settings([*line, "--penalty.weight", "2"])


def test_a_penalty_is_named_behind_the_model_or_by_itself(tmp_path):
    for i, prefix in enumerate(("--model.penalty", "--penalty")):
        line = ["--model", "sparse", "--hidden", "8", prefix, "k-sparse", f"{prefix}.k", "3"]
        model = train(tmp_path / str(i), *line)
        assert isinstance(model.penalties[0], penalties.KSparse) and model.penalties[0].k == 3
    assert settings(["--model", "sparse", "--model.penalty=kl", "--model.penalty.rate=0.2"])["penalty.rate"] == 0.2


def test_a_penalty_in_a_file_stands_below_the_model_or_by_itself(tmp_path):
    files = [
        {"model": {"name": "sparse", "penalty": {"name": "k-sparse", "k": 3}}},
        {"model": "sparse", "penalty": {"name": "k-sparse", "k": 3}},
        {"model": "sparse", "model.penalty": "k-sparse", "model.penalty.k": 3},
    ]
    for content in files:
        (tmp_path / "config.json").write_text(json.dumps(content))
        chosen = settings(["--config", str(tmp_path / "config.json")])
        assert chosen["penalty"] == "k-sparse" and chosen.options("penalty") == {"k": 3}


def test_a_corruption_is_chosen(tmp_path):
    line = ["--model", "denoising", "--hidden", "8", "--model.corruption", "masking", "--model.corruption.rate", "0.5"]
    corruption = train(tmp_path, *line).corruption
    assert isinstance(corruption, corruptions.Masking) and corruption.rate == 0.5


def test_a_regularized_autoencoder_samples(tmp_path):
    train(tmp_path, "--model", "regularized", "--hidden", "8")
    assert main(["sample", str(tmp_path / "run"), "--n", "4", "--out", str(tmp_path / "s.npy")]) == 0
    assert main(["sample", str(tmp_path / "run"), "--draw", "--out", str(tmp_path / "d.npy")]) == 2
    assert main(["report", str(tmp_path / "run")]) == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["--model", "sparse", "--penalty", "l3"], "--penalty l3 is unknown; choose from contraction"),
        (["--model", "sparse", "--model.penalty", "k-sparse"], "--penalty k-sparse needs --penalty.k"),
        (["--model", "vae", "--penalty", "l1"], "--penalty does not apply to --model vae, which has no penalty"),
        (["--model", "conv-autoencoder", "--network", "mlp"], "which has no network"),
        (["--model", "sparse", "--penalty.rate", "0.1"], "--penalty.rate is no option of --penalty l1"),
    ],
)
def test_what_cannot_be_is_one_sentence(line, message):
    with pytest.raises(UsageError) as caught:
        settings(line)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--model sparse --penalty k-sparse --penalty.k 25", "k must be at most the size of the layer, 4, not 25"),
        ("--model sparse --penalty kl --penalty.rate 1", "rate must be a mean activation between 0 and 1"),
        ("--model sparse --penalty l1 --penalty.weight -1", "weight must be a finite number of at least 0, not -1.0"),
        ("--model denoising --corruption masking --corruption.rate 2", "rate must be a probability between 0 and 1"),
        ("--model contractive --model.weight -1", "weight must be a finite number of at least 0, not -1.0"),
        ("--model stacked --network conv", "encoder must be a networks.MLP"),
    ],
)
def test_values_out_of_range_are_one_sentence(tmp_path, capsys, line, message):
    assert main(["train", "--out", str(tmp_path / "run"), *line.split(), *SMALL]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1 and not (tmp_path / "run").exists()
