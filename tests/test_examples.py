"""Every example runs as it stands, warnings being errors: in a namespace and a folder of its own, in this process."""

import runpy
from pathlib import Path

import pytest

NEEDS = {"optuna_study": "optuna"}
"""Packages that an example tells its reader to install."""

SMALL = {"vqvae_mnist": ["--epochs", "3"], "vqvae_sampling": ["--epochs", "3", "--n", "9"]}
"""Arguments that make an example short."""

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(path, tmp_path, monkeypatch, capsys):
    assert sum(1 for line in path.read_text().splitlines() if line.strip()) < 80
    if path.stem in NEEDS:
        pytest.importorskip(NEEDS[path.stem], reason=f"{path.name} needs {NEEDS[path.stem]}, which is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(path), *SMALL.get(path.stem, [])])
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out.strip()
