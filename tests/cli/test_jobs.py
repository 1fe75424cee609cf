"""denoise, anomaly, embed and compress on a small run."""

import csv
import json

import numpy as np
import pytest
import torch

import ppl_vae
from ppl_vae import data, evaluation
from ppl_vae.cli import main

SMALL = ["--hidden", "16", "--latent-dim", "3", "--epochs", "2", "--no-progress", "--no-report", "--quiet"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("jobs") / "run"
    line = ["--model", "denoising", "--corruption", "masking", "--corruption.rate", "0.25"]
    assert main(["train", "--data", "digits", "--out", str(folder), *line, *SMALL]) == 0
    return folder


def test_embed(run, tmp_path, capsys):
    assert main(["embed", str(run), "--out", str(tmp_path / "codes.npy")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'codes.npy'}\n"
    codes = np.load(tmp_path / "codes.npy")
    test = data.load("digits", binarize="none").test
    np.testing.assert_allclose(codes, evaluation.codes(ppl_vae.load(run), test.x).numpy(), rtol=1e-6)
    assert main(["embed", str(run), "--out", str(tmp_path / "codes.csv")]) == 0
    header, *rows = csv.reader((tmp_path / "codes.csv").read_text().splitlines())
    assert header == ["row", "z0", "z1", "z2", "label"]
    np.testing.assert_allclose(np.array(rows, dtype=float)[:, 1:4], codes, rtol=1e-6)
    assert [int(row[4]) for row in rows] == test.y.tolist()
    assert [int(row[0]) for row in rows] == test.index.tolist()


def table_run(tmp_path, labels):
    x = np.random.default_rng(0).normal(size=(40, 3)).round(3)
    rows = "".join(f"{a},{b},{c},{label}\n" for (a, b, c), label in zip(x, labels, strict=True))
    (tmp_path / "t.csv").write_text("a,b,c,y\n" + rows)
    line = ["train", "--data", tmp_path / "t.csv", "--out", tmp_path / "run", "--batch-size", "8", *SMALL]
    assert main([str(word) for word in line]) == 0
    return tmp_path / "run"


@pytest.mark.parametrize(("labels", "kind"), [(["1.0", "2.0"] * 20, "float32"), (["1", "2"] * 20, "int64")])
def test_labels_stay_of_their_kind_through_the_shell(tmp_path, capsys, labels, kind):
    run = table_run(tmp_path, labels)
    assert main(["embed", str(run), "--out", str(tmp_path / "codes.csv")]) == 0
    written = [line.rpartition(",")[2] for line in (tmp_path / "codes.csv").read_text().splitlines()[1:]]
    assert set(written) <= set(labels)
    assert data.load(tmp_path / "codes.csv", labels="label").train.y.dtype == getattr(torch, kind)
    capsys.readouterr()
    argv = ["anomaly", str(run), "--split", "train", "--num-particles", "30", "--label", "2", "--json"]
    assert main(argv) == 0 and 0 <= json.loads(capsys.readouterr().out)["auroc"] <= 1
    assert main(["report", str(run)]) == 0


def test_scores_of_nan_are_one_line(run, tmp_path, capsys, monkeypatch):
    real = evaluation.anomaly_scores

    def spoilt(model, x, y, **options):
        scores = real(model, x, y, **options)
        return scores.index_fill(0, torch.tensor([2]), float("nan")) if len(x) < 500 else scores

    monkeypatch.setattr(evaluation, "anomaly_scores", spoilt)
    assert main(["anomaly", str(run)]) == 2
    said = capsys.readouterr().err
    assert "the scores of the test split holds 1 NaN among 179, the first at place 2" in said and said.count("\n") == 1


def test_denoise(run, tmp_path, capsys):
    assert main(["denoise", str(run), "--n", "5", "--out", str(tmp_path / "d.npy")]) == 0
    out = capsys.readouterr().out
    assert "dB over 179 examples with Masking(rate=0.25)" in out
    clean, noisy, cleaned = torch.from_numpy(np.load(tmp_path / "d.npy"))
    assert clean.shape == (5, 1, 8, 8) and ((noisy == clean) | (noisy == 0)).all() and not torch.equal(noisy, clean)
    torch.testing.assert_close(cleaned, ppl_vae.load(run)(noisy))
    assert main(["denoise", str(run), "--corruption", "gaussian", "--amount", "0.5"]) == 0
    assert "with Gaussian(scale=0.5)" in capsys.readouterr().out
    assert main(["denoise", str(run), "--corruption", "none", "--out", str(tmp_path / "d.png")]) == 0
    assert (tmp_path / "d.png").exists()


def test_anomaly(run, tmp_path, capsys):
    argv = ["anomaly", str(run), "--label", "3", "8", "--json", "--out", str(tmp_path / "a.csv")]
    assert main(argv) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    test = data.load("digits", binarize="none").test
    scores = evaluation.anomaly_scores(ppl_vae.load(run), test.x)
    assert result["auroc"] == pytest.approx(evaluation.auroc(scores, (test.y == 3) | (test.y == 8)))
    assert result["flagged"] == int((scores > result["threshold"]).sum()) and result["n"] == len(test)
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    np.testing.assert_allclose([float(row["score"]) for row in rows], scores.numpy(), rtol=1e-6)
    assert sum(int(row["anomalous"]) for row in rows) == result["flagged"]


def test_compress(run, capsys):
    assert main(["compress", str(run), "--levels", "4", "16", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["levels"] for row in rows] == [4, 16] and rows[0]["bits"] < rows[1]["bits"]
    assert main(["compress", str(run)]) == 0
    assert capsys.readouterr().out.count("\n") == 8


def test_a_digit_left_out_of_training_is_the_anomaly(tmp_path, capsys):
    run = str(tmp_path / "run")
    line = ["--data", "digits", "--model", "autoencoder"]
    assert main(["train", *line, "--data.without", "9", "--out", run, *SMALL]) == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["data"]["without"] == [9]
    assert main(["anomaly", run, "--label", "9", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    loaded = data.load("digits", without=9, binarize="none")
    known = evaluation.anomaly_scores(ppl_vae.load(run), loaded.train.x[:1000])
    assert result["threshold"] == pytest.approx(evaluation.threshold(known)) and 0 < result["auroc"] < 1
    assert main(["train", *line, "--data.without", "10", "--out", run + "2", *SMALL]) == 2
    assert "without=10 is no label of digits" in capsys.readouterr().err


def test_impute_hides_pixels(run, tmp_path, capsys):
    out = tmp_path / "i.npy"
    assert main(["impute", str(run), "--mask", "0.5", "--limit", "40", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    filled, true = torch.from_numpy(np.load(out)), data.load("digits", binarize="none").test.x[:40]
    hidden = torch.rand(true.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    assert torch.equal(filled[~hidden], true[~hidden]) and f"{hidden.sum()} entries of 40 examples filled in" in said
    error = (filled - true)[hidden].square().mean().sqrt()
    assert f"root mean square error {error:.4f} (of 0:" in said  # the run was trained with masking
    assert main(["impute", str(run), "--mask", "0.5", "--n", "5", "--out", str(tmp_path / "i.png")]) == 0
    assert (tmp_path / "i.png").exists()


def test_impute_fills_an_array(run, tmp_path, capsys):
    x = data.load("digits", binarize="none").test.x[:3].clone()
    x[:, :, 5:] = torch.nan
    np.save(tmp_path / "x.npy", x.numpy())
    words = ["impute", str(run), "--data", str(tmp_path / "x.npy"), "--out", str(tmp_path / "y.npy")]
    assert main(words) == 0
    assert "72 entries of 3 examples filled in\n" in capsys.readouterr().out
    filled = torch.from_numpy(np.load(tmp_path / "y.npy"))
    torch.testing.assert_close(filled, evaluation.inpaint(ppl_vae.load(run), x).x)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("embed RUN", "--out is needed: the file to write, .csv or .npy or .parquet"),
        ("embed RUN --out x.txt", "--out x.txt must end in .csv or .npy or .parquet"),
        ("denoise RUN --corruption peper", "--corruption peper is unknown; choose from gaussian, masking, none"),
        ("denoise RUN --corruption masking --amount 2", "rate must be a probability between 0 and 1, not 2.0"),
        ("denoise RUN --corruption none", "--out is needed where nothing is corrupted"),
        ("anomaly RUN --score log-likelihood", "DenoisingAutoencoder has no log-likelihood"),
        ("anomaly RUN --quantile 2", "quantile must be a share between 0 and 1, not 2.0"),
        ("anomaly RUN --label 77", "anomalous must hold both kinds, normal data and anomalies"),
        ("impute RUN --out x.npy", "--data is needed, a .csv table or a .npy array with NaN, or --mask"),
        ("impute RUN --mask 1 --out x.npy", "--mask must be a share between 0 and 1, both excluded, not 1"),
        ("impute RUN --mask 0.5 --out x.txt", "--out x.txt must end in .png or .npy"),
        ("impute RUN --mask 0.5 --weighted --out x.npy", "--weighted needs a model that knows missing entries"),
        ("impute RUN --data x.txt --out x.npy", "--data must name a .csv or a .npy file, not x.txt"),
        ("impute RUN --data none.npy --out x.npy", "--data none.npy does not exist"),
        ("compress RUN --levels 1", "levels must be a whole number of at least 2, not 1"),
    ],
)
def test_what_cannot_be_is_one_sentence(run, capsys, line, message):
    assert main([str(run) if word == "RUN" else word for word in line.split()]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
