"""The tables of the README are made by one command each: here their smallest versions."""

import json
import sys

import numpy as np
import pytest
from sklearn.decomposition import PCA

from benchmarks import autoencoders, generation
from ppl_vae import data


def test_the_table_of_autoencoders(tmp_path, monkeypatch, capsys):
    line = ["--epochs", "60", "--only", "PCA", "autoencoder", "VAE", "--json", str(tmp_path / "t.json")]
    monkeypatch.setattr(sys, "argv", ["autoencoders", *line])
    autoencoders.main()
    assert capsys.readouterr().out.count("\n") == 5
    rows = json.loads((tmp_path / "t.json").read_text())["rows"]
    digits = data.load("digits", binarize="none")
    train, test = (split.x.flatten(1).numpy() for split in (digits.train, digits.test))
    pca = PCA(rows["PCA"]["codes"]).fit(train)
    error = np.square(pca.inverse_transform(pca.transform(test)) - test).sum(1).mean()
    assert rows["PCA"]["error"] == pytest.approx(error, rel=1e-4)
    assert all(rows[name]["error"] < 0.8 * error and rows[name]["codes"] == 8 for name in ("autoencoder", "VAE"))
    assert all(row["auroc"] > 0.8 and row["gain"] > 2 and row["probe"] > 0.8 < row["knn"] for row in rows.values())


def test_every_row_of_the_table_can_be_made():
    made = [make() for make in autoencoders.makers(2, (1, 8, 8), [6], 1).values()]
    assert len({type(model).__name__ for model in made}) == len(made) - 2  # sparse in three ways


def test_the_comparison_of_generation(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["generation", "--epochs", "1", "--out", str(tmp_path / "g.png")])
    generation.main()
    assert capsys.readouterr().out.count("\n") == 6 and (tmp_path / "g.png").stat().st_size > 10_000
