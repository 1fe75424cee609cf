"""Several columns of a table as labels y, and a table of counts trained from the shell given covariates."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

import ppl_vae
from ppl_vae import data
from ppl_vae.cli import main

TABLE = {"g0": [3, 0, 8, 2] * 10, "age": [30, 41.5, 52, 63] * 10, "g1": [0, 1, 2, 9] * 10, "arm": [0, 1, 1, 0] * 10}
Y = torch.tensor([[0.0, 30.0], [1.0, 41.5], [1.0, 52.0], [0.0, 63.0]])


def test_columns_become_y_in_the_order_of_their_names():
    found = data.load(pd.DataFrame(TABLE), labels=["arm", "age"], kinds="auto")
    assert found.columns == ("g0", "g1") and [*found.kinds.values()] == ["count", "count"]
    y = torch.cat([part.y for part in (found.train, found.valid, found.test)])
    index = np.concatenate([found.origin.index[part] for part in ("train", "valid", "test")])
    assert y.dtype == torch.float32 and torch.equal(y, Y.repeat(10, 1)[torch.from_numpy(index)])
    assert found.labels.shape == (2,) and found.labels.classes is None
    assert data.load(pd.DataFrame(TABLE), labels=["age"]).train.y.shape == (32, 1)


def test_new_rows_are_coded_alike_also_after_json():
    coding = data.load(pd.DataFrame(TABLE), labels=["arm", "age"]).coding
    again = data.coding_of(json.loads(json.dumps(coding.json)))
    assert again == coding
    rows = {name: values[:4] for name, values in TABLE.items()}
    coded = again.code(rows)
    assert torch.equal(coded.y, Y) and coded.x.tolist() == [[3.0, 0.0], [0.0, 1.0], [8.0, 2.0], [2.0, 9.0]]
    assert again.code({"g1": [1], "g0": [2]}).y is None
    with pytest.raises(ValueError, match="rows has no column 'arm', one of the run's labels y: arm, age"):
        again.code({"g1": [1], "g0": [2], "age": [3]})


@pytest.mark.parametrize(
    ("labels", "more", "message"),
    [
        (["arm", "agee"], {}, "no column 'agee', which labels names; .*did you mean age"),
        (["arm", "arm"], {}, "labels names the column 'arm' twice"),
        ([], {}, "labels must be a column, or a sequence of columns"),
        (["age", 3], {}, "labels must be a column, or a sequence of columns"),
        (["age", "city"], {"city": ["a", "b"] * 20}, "column 'city' holds 'a' in row 0, but several .* numbers"),
        (["age", "city"], {"city": [1.0] + [None] * 39}, "column 'city' is empty in row 1, but several"),
    ],
)
def test_refusals(labels, more, message):
    with pytest.raises(ValueError, match=message):
        data.load(pd.DataFrame(TABLE | more), labels=labels)


def test_arrays_have_no_columns_to_name():
    with pytest.raises(ValueError, match="labels=.'a', 'b'. names several columns of a table, which these rows is not"):
        data.load(np.ones((20, 3), np.float32), labels=["a", "b"])


def counts(path, rows=200):
    """Counts whose second half doubles with the dose."""
    rng = np.random.default_rng(4)
    dose, age = rng.integers(0, 2, rows), rng.uniform(20, 80, rows).round(1)
    x = rng.poisson(np.exp(1.5 + 1.2 * dose[:, None] * [0, 0, 1, 1] + 0.2 * rng.normal(size=(rows, 1))))
    frame = pd.DataFrame({"age": age, **{f"g{i}": x[:, i] for i in range(4)}, "dose": dose})
    frame.to_csv(path, index=False)
    return frame


@pytest.mark.parametrize("words", [["columns"], ["negative-binomial", "--likelihood.total", "observed"]], ids=str)
def test_a_table_of_counts_given_covariates_from_the_shell(tmp_path, words, capsys):
    frame, run = counts(tmp_path / "counts.csv"), tmp_path / "run"
    line = ["train", "--data", str(tmp_path / "counts.csv"), "--data.labels", "dose", "age", "--condition", "vector"]
    line += ["--condition.scale", "standard"]
    line += ["--likelihood", *words, "--latent-dim", "2", "--hidden", "16", "--epochs", "40", "--lr", "0.01"]
    assert main([*line, "--out", str(run), "--no-report", "--no-progress"]) == 0, capsys.readouterr().err
    trained = ppl_vae.open_run(run)
    assert trained.coding.names == ("g0", "g1", "g2", "g3") and repr(trained.model.condition) == "Vector(2)"
    dose, age = (frame.iloc[trained.data().train.index][name] for name in ("dose", "age"))
    assert trained.model.condition.units.shift.tolist() == pytest.approx([dose.mean(), age.mean()], rel=1e-4)
    shuffled = frame.iloc[:20][["g3", "dose", "g0", "age", "g2", "g1"]]
    codes = trained.encode(shuffled)
    assert [*codes.columns] == ["z0", "z1"] and len(codes) == 20
    other = trained.encode(shuffled.assign(dose=1 - shuffled["dose"]))
    assert (codes - other).abs().to_numpy().max() > 1e-4  # y is found among the rows
    assert np.allclose(trained.encode(shuffled, y=shuffled[["dose", "age"]].to_numpy(np.float32)), codes, atol=1e-5)
    assert trained.log_likelihood(shuffled, num_particles=8).value.isfinite().all()
    high, low = (trained.sample(400, y=torch.tensor([[dose, 50.0]]).expand(400, 2)) for dose in (1.0, 0.0))
    ratio = high[["g2", "g3"]].to_numpy().sum() / high.to_numpy().sum()
    assert ratio > low[["g2", "g3"]].to_numpy().sum() / low.to_numpy().sum() + 0.1  # 0.77 against 0.5
