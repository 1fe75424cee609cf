"""An exported run: raw rows are coded in plain numpy by what the file says of itself."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from test_trained import QUIET, SMALL, wine

import ppl_vae
from ppl_vae.cli import main
from ppl_vae.trained import Trained

ALONE = '''
import csv, datetime, json, sys
import numpy as np, onnxruntime

session = onnxruntime.InferenceSession("encoder.onnx", providers=["CPUExecutionProvider"])
coding = json.loads(session.get_modelmeta().custom_metadata_map["coding"])
assert coding["kind"] == "table" and coding["index"] == "id" and coding["labels"] == "label"


def number(name, cell):
    """A cell as the model takes it: NaN where it is empty, else a number, the place of a word, or days since 1970."""
    kind = coding["kinds"][name]
    if not cell:
        return np.nan
    if name in coding["dates"]:
        return (datetime.datetime.fromisoformat(cell) - datetime.datetime(1970, 1, 1)) / datetime.timedelta(days=1)
    return kind.index(cell) - 1 if isinstance(kind, list) else float(cell)


with open("new.csv", newline="") as file:
    rows = list(csv.DictReader(file))
x = np.array([[number(name, row[name]) for name in coding["names"]] for row in rows])
x -= [coding["origins"].get(name, 0.0) for name in coding["names"]]
assert np.isnan(x).sum() >= 9
(z,) = session.run(["z"], {"x": x.astype(np.float32)})
np.save("z.npy", z)
assert not {"torch", "ppl_vae", "pandas"} & {*sys.modules}
'''


def test_raw_rows_go_through_an_exported_encoder_without_this_package(tmp_path):
    table = wine()
    table.insert(5, "paid", 1.7e9 + 7.0 * np.random.default_rng(2).permutation(len(table)))  # has an origin
    table.to_csv(tmp_path / "wine.csv", index=False)
    line = ["train", "--data", tmp_path / "wine.csv", "--likelihood", "columns", "--data.index", "id"]
    assert main([str(word) for word in [*line, "--out", tmp_path / "run", *SMALL, *QUIET]]) == 0
    run = ppl_vae.open_run(tmp_path / "run")
    made = run.export(tmp_path / "encoder.onnx", rows=table, metadata={"source": "a test"})
    assert made.inputs == ("x",) and made.difference < 1e-5
    assert run.coding.origins and run.coding.dates and run.coding.columns[3].words
    backwards = table.iloc[::-1, ::-1]  # columns are found by name
    backwards.to_csv(tmp_path / "new.csv", index=False)
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    z = run.encode(backwards).to_numpy()
    assert np.abs(np.load(tmp_path / "z.npy") - z).max() <= 1e-5 * np.abs(z).max()


def test_a_program_has_nothing_to_export(tmp_path):
    with pytest.raises(TypeError, match="Linear has no encoder and decoder"):
        Trained(torch.nn.Linear(2, 2)).export(tmp_path / "encoder.onnx")
