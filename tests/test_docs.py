"""Pages of docs/: their examples run; the files and names that docs/design.md speaks of are there."""

import importlib
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from ppl_vae.cli import main

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "design.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.S)


@pytest.mark.parametrize("block", range(len(BLOCKS)))
def test_examples_run(block):
    exec(compile(BLOCKS[block], f"docs/design.md, example {block}", "exec"), {"__name__": "example"})


def test_encode_decode_runs(tmp_path, monkeypatch):
    """docs/encode_decode.md: its examples and its shell lines, one after the other, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "encode_decode.md").read_text()
    run_page(page, "docs/encode_decode.md")
    assert {path.name for path in tmp_path.iterdir()} >= {"encoder.onnx", "decoder.onnx", "encoder.pt2", "z.npy"}


def test_rooms_are_those_of_the_package():
    listed = re.findall(r"^    (\w+)  ", TEXT.partition("The protocols")[0], re.M)
    package = ROOT / "ppl_vae"
    rooms = {path.stem for path in package.iterdir() if (path / "__init__.py").exists()}
    assert len(listed) >= 15
    assert rooms - {*listed} == set()
    assert all((package / name).is_dir() or (package / f"{name}.py").is_file() for name in listed)


def test_files_and_modules_are_there():
    files = {name for name in re.findall(r"`([a-z_]+/[a-z_/]+\.py)`", TEXT) if not name.endswith("mine.py")}
    assert files and all((ROOT / "ppl_vae" / name).is_file() or (ROOT / name).is_file() for name in files)
    for name in re.findall(r"`(\w+)\.(\w+)`", TEXT):
        if (ROOT / "ppl_vae" / name[0]).is_dir() and name[1] != "py":
            module = importlib.import_module(f"ppl_vae.{name[0]}")
            assert hasattr(module, name[1]) or importlib.import_module(f"ppl_vae.{'.'.join(name)}"), name


def test_data_runs(tmp_path, monkeypatch):
    """docs/data.md: its examples and its shell lines, one after the other, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "data.md").read_text()
    run_page(page, "docs/data.md")
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"mine", "patients"}
    assert (tmp_path / "codes.csv").read_text().startswith("id,age,visits,smokes,ward,pain,since,z0,")
    assert len(page.splitlines()) <= 120 + 30  # and the table of the six data sets


def test_vqvae_runs(tmp_path, monkeypatch):
    """docs/vqvae.md: its examples and its shell lines, one after the other, in an empty folder."""
    pytest.importorskip("constriction", reason="constriction, which writes files of codes, is not installed")
    monkeypatch.chdir(tmp_path)
    run_page((ROOT / "docs" / "vqvae.md").read_text(), "docs/vqvae.md")
    assert np.load(tmp_path / "back.npy").shape == (179, 1, 8, 8)


def test_conditional_runs(tmp_path, monkeypatch):
    """docs/conditional.md: its examples and its shell lines, one after the other, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    run_page((ROOT / "docs" / "conditional.md").read_text(), "docs/conditional.md")
    assert np.load(tmp_path / "samples.npy").shape == (64, 1, 8, 8)
    assert (tmp_path / "y.csv").read_text().startswith("row,predicted,p 0,")


def run_page(page, name):
    """The python examples and the lines that start with ppl-vae, in order; training is short."""
    space = {"__name__": "example"}
    for block, line in re.findall(r"```python\n(.*?)```|^    (ppl-vae [^\n]*)$", page, re.S | re.M):
        if block:
            exec(compile(block, name, "exec"), space)
        else:
            words = shlex.split(line, comments=True)[1:]
            short = ["--epochs", "2", "--hidden", "16", "--no-report", "--quiet"] if words[0] == "train" else []
            assert main([*words, *short]) == 0, line
