"""From a table with empty cells to a model to the table filled in, in the shell."""

import csv
import json

import numpy as np
import pytest

import ppl_vae
from ppl_vae.cli import main

KINDS = "age=positive,sex=binary,class=categorical,size=ordinal(small<medium<large),kids=count"
SMALL = ["--hidden", "32", "--latent-dim", "2", "--no-progress", "--quiet", "--no-report"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A folder with a table of 300 rows, its cells in full, and a trained run."""
    folder = tmp_path_factory.mktemp("table")
    rng = np.random.default_rng(0)
    t = rng.normal(size=300)

    def near():
        return t + 0.2 * rng.normal(size=300)

    columns = [
        [f"{a:.2f}" for a in np.exp(3.4 + 0.3 * near())],
        np.where(near() > 0, "male", "female"),
        np.array(["Bern", "Genf, GE", "Zürich"])[np.digitize(near(), [-0.5, 0.5])],
        np.array(["small", "medium", "large"])[np.digitize(near(), [-0.5, 0.5])],
        [f"{k:.0f}" for k in np.clip(np.round(4 + 3 * near()), 0, None)],
        [f"{h:.1f}" for h in 1700 + 80 * near()],
    ]
    rows = np.array(columns, dtype=object).T
    gone = rng.random(rows.shape) < 0.15
    with (folder / "t.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["age", "sex", "class", "size", "kids", "height"])
        writer.writerows(np.where(gone, "", rows))
    words = ["train", "--data", folder / "t.csv", "--likelihood", "columns", "--likelihood.kinds", KINDS]
    assert main([str(w) for w in [*words, "--out", folder / "run", "--epochs", "100", "--lr", "1e-2", *SMALL]]) == 0
    return folder, rows, gone


def shell(*words):
    return main([str(word) for word in words])


def test_round_trip(tables, capsys):
    folder, rows, gone = tables
    out = folder / "imputed.csv"
    assert shell("impute", folder / "run", "--data", folder / "t.csv", "--out", out) == 0
    assert f"{gone.sum()} cells of 300 rows" in capsys.readouterr().out
    before, after = ((folder / name).read_bytes().split(b"\r\n") for name in ("t.csv", "imputed.csv"))
    assert len(before) == len(after) and before[0] == after[0]
    assert all(a == b for a, b, some in zip(after[1:], before[1:], gone.any(1), strict=False) if not some)
    got = np.array([*csv.reader(out.read_text(encoding="utf-8").splitlines())][1:], dtype=object)
    assert (got[~gone] == rows[~gone]).all() and (got != "").all()
    for i in (1, 2, 3):
        here = gone[:, i]
        most = max((rows[~here, i] == word).mean() for word in set(rows[:, i]))
        assert (got[here, i] == rows[here, i]).mean() > most + 0.1
    for i in (0, 4, 5):
        here = gone[:, i]
        truth, seen = rows[here, i].astype(float), rows[~here, i].astype(float)
        assert np.std(got[here, i].astype(float) - truth) < 0.7 * np.std(truth - seen.mean())
    again = folder / "again.csv"
    assert shell("impute", folder / "run", "--data", folder / "t.csv", "--out", again, "--seed", 0) == 0
    assert again.read_bytes() == out.read_bytes()
    assert shell("impute", folder / "run", "--data", out, "--out", again) == 0
    assert again.read_bytes() == out.read_bytes()


def test_the_run_keeps_the_mapping(tables):
    folder, _, _ = tables
    config = json.loads((folder / "run" / "config.json").read_text())
    assert config["data"]["kinds"]["class"] == ["categorical", "Bern", "Genf, GE", "Zürich"]
    model = ppl_vae.load(folder / "run")  # a column called class, a key of the records too
    assert [c.kind for c in model.likelihood.columns] == [
        "positive",
        "binary",
        "categorical",
        "ordinal",
        "count",
        "real",
    ]
    assert model.posterior.network.mask
    assert shell("evaluate", folder / "run", "--limit", 20, "--num-particles", 10) == 0
    assert shell("report", folder / "run") == 0


def test_resume_and_config(tables, tmp_path):
    folder, _, _ = tables
    words = ["--data", folder / "t.csv", "--likelihood", "columns", "--likelihood.kinds", KINDS, *SMALL]
    assert shell("train", *words, "--out", tmp_path / "run", "--epochs", 1) == 0
    assert shell("train", *words, "--out", tmp_path / "run", "--epochs", 2, "--resume") == 0
    again = ["--config", tmp_path / "run" / "config.json", "--epochs", 1, "--quiet", "--no-progress"]
    assert shell("train", *again, "--out", tmp_path / "b") == 0


def test_kinds_are_found_when_none_are_named(tables, tmp_path):
    folder, _, _ = tables
    words = ["--data", folder / "t.csv", "--likelihood", "columns", "--epochs", 1, *SMALL]
    assert shell("train", *words, "--out", tmp_path / "run") == 0
    kinds = json.loads((tmp_path / "run" / "config.json").read_text())["data"]["kinds"]
    assert kinds["age"] == "real" and kinds["sex"] == ["categorical", "female", "male"]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["train", "--likelihood.kinds", "agee=positive"], "'agee', not a column.*did you mean age"),
        (["train", "--likelihood.kinds", "age=count,sex=binary,class=categorical,size=categorical"], "age.*positive"),
        (["train", "--likelihood.kinds", "sex=binary,class=binary,size=categorical"], "'class'.*use categorical"),
        (["train", "--likelihood.kinds", "sex=binary,class=categorical,size=ordinal"], "'size'.*order"),
        (["train", "--likelihood.kinds", "none.yaml"], "none.yaml.*does not exist"),
        (["impute", "RUN", "--out", "x.csv", "--data", "none.csv"], "none.csv does not exist"),
        (["impute", "RUN", "--out", "x.npy"], "--out must name a .csv file, not x.npy"),
        (["impute", "RUN"], "--out must name a .csv"),
        (["impute", "RUN", "--out", "none/x.csv"], "not a folder"),
        (["impute", "none", "--out", "x.csv"], "not a run folder"),
        (["impute", "RUN", "--out", "x.csv", "--num-samples", "0"], "num_samples"),
    ],
)
def test_one_sentence_and_exit_code_2(tables, tmp_path, monkeypatch, capsys, argv, words):
    import re

    folder, _, _ = tables
    monkeypatch.chdir(tmp_path)
    argv = [str(folder / "run") if word == "RUN" else word for word in argv]
    if "--data" not in argv:
        argv += ["--data", str(folder / "t.csv")]
    if argv[0] == "train":
        argv += ["--likelihood", "columns", "--out", "run", *SMALL]
    capsys.readouterr()
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and re.search(words, err), err


def test_a_run_on_other_data_fills_nothing_in(tables, tmp_path, capsys):
    folder, _, _ = tables
    assert shell("train", "--data", "digits", "--epochs", 1, "--no-report", *SMALL, "--out", tmp_path / "run") == 0
    assert shell("impute", tmp_path / "run", "--data", folder / "t.csv", "--out", tmp_path / "x.csv") == 2
    assert "--likelihood columns" in capsys.readouterr().err
