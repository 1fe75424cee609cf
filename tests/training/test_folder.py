"""The run folder's evaluation.json, which ``ppl-vae evaluate``, ``train`` and ``compare`` all write."""

import json
import math

import numpy as np
import pytest

from ppl_vae import load, open_run
from ppl_vae.training import RunFolder


def test_evaluations_are_kept_by_split_as_valid_json(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.evaluations() == {}
    folder.keep_evaluation("test", {"elbo": -math.inf, "ess": math.inf, "khat": math.nan, "n": 3})
    folder.keep_evaluation("valid", {"elbo": -1.5})
    kept = {"elbo": -math.inf, "ess": math.inf, "khat": None, "n": 3}
    assert folder.evaluations() == {"test": kept, "valid": {"elbo": -1.5}}
    written = json.loads((tmp_path / "evaluation.json").read_text(), parse_constant=pytest.fail)
    assert written["test"] == {"elbo": "-inf", "ess": "inf", "khat": None, "n": 3}
    folder.keep_evaluation("test", {"n": 4})
    assert folder.evaluations() == {"test": {"n": 4}, "valid": {"elbo": -1.5}}


@pytest.mark.parametrize("content", ["", "{ cut sho", "[1]", "3", '{"test": 3}', "\udcff"])
def test_a_file_that_does_not_read_is_replaced(tmp_path, content):
    (tmp_path / "evaluation.json").write_bytes(content.encode(errors="surrogateescape"))
    folder = RunFolder(tmp_path)
    assert folder.evaluations() == {}
    folder.keep_evaluation("test", {"n": 4})
    assert folder.evaluations() == {"test": {"n": 4}}


@pytest.mark.parametrize("opened", [lambda run: RunFolder(run).open({}, True), load, open_run])
def test_a_run_whose_data_were_scaled_outside_of_the_model_is_refused(tmp_path, opened):
    """Its model would take raw rows for scaled ones, without a word."""
    config = {"ppl_vae": "0.1.0", "model": {"class": "models.VAE"}, "data": {"name": "t.csv", "scale": "standard"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="made by an earlier ppl_vae, which scaled the data outside of the model"):
        opened(tmp_path)


def test_a_damaged_split_is_written_anew_when_the_run_goes_on(tmp_path):
    folder, index = RunFolder(tmp_path), {"train": np.arange(5)}
    folder.keep_split(index)
    whole = folder.split_file.read_bytes()
    folder.split_file.write_bytes(whole[:20])
    with pytest.raises(ValueError, match="resume the run to write it anew"):
        folder.split()
    folder.keep_split(index)
    assert folder.split_file.read_bytes() == whole


def test_a_run_that_goes_on_with_a_changed_file_of_the_user_s_warns(tmp_path):
    config = {"model": {}, "training": {}, "parts": {"mine.py": "a = 1"}}
    RunFolder(tmp_path).open(config, False)
    RunFolder(tmp_path).open(config, True)  # unchanged: no word
    with pytest.warns(UserWarning, match="mine.py has changed since the run in .* was started"):
        RunFolder(tmp_path).open(config | {"parts": {"mine.py": "a = 2"}}, True)
    assert (tmp_path / "parts" / "mine.py").read_text() == "a = 2"
