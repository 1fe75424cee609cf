"""compress --out and decompress on a small run: bytes in, the same codes out, and one sentence where that cannot be."""

import json
import sys

import numpy as np
import pytest
import torch

import ppl_vae
from ppl_vae import Reconstruction, code_priors, data, evaluation, fit, likelihoods, models, networks, quantizers
from ppl_vae.cli import main

SHAPE = (1, 8, 8)


def vqvae(condition=None, seed=1):
    torch.manual_seed(seed)
    decoder = networks.ConvTranspose((3, 2, 2), [8, 4], SHAPE)
    encoder = networks.Conv(SHAPE, [4, 8], flatten=False)
    prior = code_priors.Transformer(8, 1, 2, condition=condition)
    return models.VQVAE(
        encoder, quantizers.VectorQuantizer(16, 3), likelihoods.ContinuousBernoulli(decoder, SHAPE), prior
    )


def trained(folder, **options):
    digits = data.load("digits", binarize="none")
    fit(Reconstruction(vqvae(**options)), digits.train, epochs=1, out=folder, progress=False)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("compress") / "run")


def shell(capsys, *words):
    code = main([str(word) for word in words])
    said = capsys.readouterr()
    return code, said.out + said.err


def test_a_file_and_back(run, tmp_path, capsys):
    test, vq = data.load("digits", binarize="none").test, ppl_vae.load(run)
    np.save(tmp_path / "x.npy", test.x.numpy())
    here = ("compress", run, "--data", tmp_path / "x.npy")
    code, said = shell(capsys, *here, "--out", tmp_path / "a.codes")
    assert code == 0 and said.startswith(f"{tmp_path / 'x.npy'}, 179 examples, codes of shape (2, 2) and 16 values\n")
    assert "a.codes" in said and "PNG, a file each" in said and "PNG and zlib keep 8-bit grey levels exactly" in said
    codes = evaluation.codes(vq, test.x)
    assert (tmp_path / "a.codes").read_bytes() == evaluation.pack_codes(vq, codes)
    assert shell(capsys, "decompress", run, tmp_path / "a.codes", "--out", tmp_path / "d.npy")[0] == 0
    np.testing.assert_array_equal(np.load(tmp_path / "d.npy"), evaluation.decode(vq, codes).numpy())
    words = ("decompress", run, tmp_path / "a.codes", "--codes", "--out", tmp_path / "c.npy")
    assert shell(capsys, *words) == (0, f"{tmp_path / 'c.npy'}\n")
    np.testing.assert_array_equal(np.load(tmp_path / "c.npy"), codes.numpy())
    _, said = shell(capsys, *here, "--json")
    found, sizes = json.loads(said), evaluation.file_sizes(vq, test.x)
    assert found["bytes"] == sizes.bytes and found["bits"] == 8 * sizes.bytes / 179 and found["file"] is None
    assert found["squared_error"] == pytest.approx(sizes.squared_error) and found["png_bytes"] == sizes.png


def test_labels_of_a_conditional_model_travel_in_the_file(tmp_path, capsys):
    run = trained(tmp_path / "run", condition=networks.Label(10))
    np.savez(tmp_path / "x.npz", x=(x := data.load("digits", binarize="none").test.x[:9]).numpy())
    words = ("compress", run, "--data", tmp_path / "x.npz", "--y", *"123456789")
    assert shell(capsys, *words, "--out", tmp_path / "a")[0] == 0
    found, y = evaluation.unpack_codes(vq := ppl_vae.load(run), (tmp_path / "a").read_bytes())
    assert torch.equal(found, evaluation.codes(vq, x, torch.arange(1, 10))) and torch.equal(y, torch.arange(1, 10))
    assert shell(capsys, "decompress", run, tmp_path / "a", "--out", tmp_path / "d.npy")[0] == 0
    np.testing.assert_array_equal(np.load(tmp_path / "d.npy"), evaluation.decode(vq, found, y).numpy())


def test_a_table_gets_its_columns_back(tmp_path, capsys):
    values = np.random.default_rng(0).normal(10, 2, size=(60, 3)).round(3)
    (tmp_path / "t.csv").write_text("a,b,c\n" + "".join(f"{a},{b},{c}\n" for a, b, c in values))
    small = [
        "--quantizer.num-codes",
        "8",
        "--hidden",
        "8",
        "--latent-dim",
        "2",
        "--epochs",
        "1",
        "--no-progress",
        "--no-report",
        "--quiet",
    ]
    words = ["train", "--data", tmp_path / "t.csv", "--model", "vqvae", "--network", "mlp"]
    assert shell(capsys, *words, "--out", tmp_path / "r", *small) == (0, "")
    assert shell(capsys, "compress", tmp_path / "r", "--split", "train", "--out", tmp_path / "a")[0] == 0
    assert shell(capsys, "decompress", tmp_path / "r", tmp_path / "a", "--out", tmp_path / "d.csv")[0] == 0
    header, *rows = (tmp_path / "d.csv").read_text().splitlines()
    assert header == "a,b,c" and len(rows) == len(data.load(tmp_path / "t.csv").train)
    assert shell(capsys, "decompress", tmp_path / "r", tmp_path / "a", "--out", tmp_path / "d.npy")[0] == 0
    means = np.load(tmp_path / "d.npy")
    np.testing.assert_allclose([[float(v) for v in row.split(",")] for row in rows], means, rtol=1e-5)


@pytest.fixture(scope="module")
def file(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "a.codes"
    assert main(["compress", str(run), "--out", str(path)]) == 0
    return path


def test_what_cannot_be_read_is_one_sentence_and_writes_nothing(run, file, tmp_path, capsys):
    content = file.read_bytes()
    cut, foreign, empty = tmp_path / "cut", tmp_path / "x.npy", tmp_path / "empty"
    cut.write_bytes(content[:-3])
    np.save(foreign, np.zeros(3))
    empty.write_bytes(b"")
    other = trained(tmp_path / "other", seed=2)
    before = sorted(tmp_path.iterdir())
    for words, message in (
        ((run, cut), "cut is cut off: "),
        ((run, foreign), "x.npy is no file of codes that ppl-vae compress wrote"),
        ((run, empty), "empty is no file of codes that ppl-vae compress wrote"),
        ((run, tmp_path / "none"), "none is no file; name one that ppl-vae compress wrote"),
        ((run, tmp_path), " is no file; name one that ppl-vae compress wrote"),
        ((other, file), "a.codes was written with another model, a VQVAE with codes of shape (2, 2), 16 values and"),
    ):
        code, said = shell(capsys, "decompress", *words, "--out", tmp_path / "d.npy")
        assert code == 2 and message in said and said.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("decompress RUN FILE", "--out is needed: the file to write, .npy or .csv or .parquet"),
        ("decompress RUN FILE --out x.png", "--out x.png must end in .npy or .csv or .parquet"),
        ("decompress RUN FILE --codes --out x.csv", "--out x.csv must end in .npy"),
        ("decompress RUN FILE --out x.csv", "--out x.csv is for tables; the rows of RUN are arrays, so use .npy"),
        ("compress RUN --levels 4", "--levels is for real codes, which are rounded; those of RUN are whole numbers"),
        ("compress RUN --out no/x", "--out no/x lies in no, which is not a folder"),
        ("compress RUN --out .", "--out . is a folder; name a file in it"),
    ],
)
def test_words_that_do_not_fit_are_one_sentence(run, file, capsys, tmp_path, monkeypatch, line, message):
    monkeypatch.chdir(tmp_path)
    places = {"RUN": str(run), "FILE": str(file)}
    code, said = shell(capsys, *(places.get(word, word) for word in line.split()))
    assert code == 2 and message.replace("RUN", str(run)) in said and said.count("\n") == 1
    assert not [*tmp_path.iterdir()]


def test_a_model_of_real_codes_is_refused_with_what_fits(tmp_path, capsys, file):
    ae = models.Autoencoder(networks.MLP(SHAPE, [4]), networks.MLP(2, [4]), 2, SHAPE)
    fit(Reconstruction(ae), data.load("digits", binarize="none").train, epochs=1, out=tmp_path / "ae", progress=False)
    code, said = shell(capsys, "compress", tmp_path / "ae", "--out", tmp_path / "x")
    assert code == 2 and "as train --model vqvae makes" in said and "--levels" in said and said.count("\n") == 1
    code, said = shell(capsys, "decompress", tmp_path / "ae", file, "--out", tmp_path / "x.npy")
    assert code == 2 and "holds a Autoencoder" not in said and "no file was written with it" in said
    assert [path.name for path in tmp_path.iterdir()] == ["ae"]


def test_without_constriction_the_shell_says_what_to_install(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "constriction", None)
    code, said = shell(capsys, "compress", run, "--out", tmp_path / "x")
    assert code == 2 and said == "ppl-vae: error: constriction is not installed; pip install 'ppl_vae[compression]'\n"
    assert not [*tmp_path.iterdir()]
