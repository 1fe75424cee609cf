"""Tables of counts in the shell: the likelihood that they get, and the hint where a normal one is named."""

import json
import warnings

import numpy as np
import pytest

from ppl_vae import data
from ppl_vae.cli import main
from ppl_vae.cli.build import build_objective, load_data
from ppl_vae.cli.settings import settings

X = np.random.default_rng(2).poisson(4.0, size=(60, 3))


def written(folder, kind):
    path = folder / ("x.csv" if kind == "csv" else "x.npy")
    if kind == "csv":
        np.savetxt(path, X, fmt="%d", delimiter=",", header="a,b,c", comments="")
    else:
        np.save(path, X.astype(kind))
    return ["--data", str(path), "--latent-dim", "2", "--hidden", "4"]


def built(words):
    chosen = settings(words)
    found = load_data(chosen)
    return build_objective(chosen, found).model.likelihood, found


@pytest.mark.parametrize("kind", ["csv", "int64", "uint16", "float32"])
def test_tables_of_counts_are_columns_of_counts(tmp_path, kind):
    likelihood, found = built(written(tmp_path, kind))
    assert type(likelihood).__name__ == "Columns" and [c.kind for c in likelihood.columns] == ["count"] * 3
    assert np.array_equal(np.sort(found.train.x[:, 0]), np.sort(X[found.origin.index["train"], 0]))


def test_rows_of_bytes_are_grey_levels(tmp_path):
    likelihood, found = built(written(tmp_path, "uint8"))
    assert type(likelihood.likelihood).__name__ == "Normal" and found.train.x.max() <= 1.0 and found.levels == 256


@pytest.mark.parametrize("kind", ["csv", "int64"])
def test_a_normal_likelihood_of_counts_gets_one_line(tmp_path, kind):
    words = [*written(tmp_path, kind), "--likelihood", "normal", "--epochs", "1", "--no-report", "--no-progress"]
    with pytest.warns(UserWarning) as said:
        assert main(["train", *words, "--out", str(tmp_path / "run")]) == 0
    assert [str(one.message).partition("; ")[2] for one in said] == [
        "negative-binomial or columns would be a likelihood of counts"
    ]


@pytest.mark.parametrize(
    "of", [X + 0.5, X - 4, X % 2, np.where(X > 8, np.nan, X)], ids=["half", "minus", "binary", "gaps"]
)
def test_no_hint_where_they_are_no_counts(tmp_path, of):
    np.save(tmp_path / "x.npy", of)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chosen = settings(["--data", str(tmp_path / "x.npy"), "--likelihood", "normal", "--hidden", "4"])
        try:
            build_objective(chosen, load_data(chosen))
        except ValueError as error:  # of NaN
            assert "NaN" in str(error) or "missing" in str(error)


def test_loading_counts_is_silent(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.load(X, kinds=None)
        data.load(written(tmp_path, "csv")[1], kinds=None)


def test_the_total_is_an_option_of_the_shell_and_kept(tmp_path):
    words = [*written(tmp_path, "csv"), "--likelihood", "negative-binomial", "--likelihood.total", "observed"]
    likelihood, _ = built(words)
    assert likelihood.given_total
    run = tmp_path / "run"
    assert main(["train", *words, "--epochs", "1", "--no-report", "--no-progress", "--out", str(run)]) == 0
    assert json.loads((run / "config.json").read_text())["shell"]["likelihood.total"] == "observed"
    assert main(["train", *words[:-1], "library", "--out", str(run)]) == 2
