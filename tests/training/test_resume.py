"""A run killed at any moment and resumed ends with the bits of one never killed."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import forked
import pytest
import torch

from ppl_vae import Reconstruction, fit, load, models, networks
from ppl_vae.cli import main
from ppl_vae.training.checkpoint import MAGIC, load_checkpoint, save_checkpoint

TRAIN = [
    "train", "--data", "digits", "--network", "resnet", "--hidden", "4", "8",
    "--latent-dim", "3", "--estimator.num-particles", "2", "--schedule", "cosine", "--warmup", "10", "--clip", "5",
    "--beta", "linear", "--beta.steps", "50", "--epochs", "4", "--batch-size", "100", "--checkpoint-every", "3",
    "--seed", "5", "--no-progress", "--no-report",
]  # fmt: skip


def weights(folder):
    return (folder / "weights.safetensors").read_bytes()


def started(folder, *flags, before=None):
    """A process that trains into the folder, and the file of what it says on standard error."""
    error = folder.with_name("error.txt")
    return forked.shell([*TRAIN, "--out", folder, *flags], error, before), error


def run(folder, *flags):
    code, error = forked.ended(*started(folder, *flags))
    assert code == 0, error


def start_and_signal(folder, number, ready):
    process, error = started(folder, "--resume")
    deadline = time.monotonic() + 60
    while not ready() and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError):  # it has ended
        os.kill(process.pid, number)
    return forked.ended(process, error)


@pytest.fixture(scope="module")
def never_killed(tmp_path_factory):
    """A run of a new interpreter."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "ppl_vae", *TRAIN, "--out", str(folder)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def progress_of(folder):
    """How often the checkpoint file has been replaced, by its inode, as seen so far."""
    seen = set()

    def count():
        try:
            seen.add((folder / "checkpoint.pt").stat().st_mtime_ns)
        except FileNotFoundError:
            pass
        return len(seen)

    return count


def test_killed_again_and_again(tmp_path, never_killed):
    folder = tmp_path / "run"
    kills = 0
    for wanted in (0, 1, 2, 2, 3, 2):
        count = progress_of(folder)
        already = count()

        def ready(count=count, already=already, wanted=wanted):
            # Each round: let it get past `wanted` further checkpoints; 0 kills it as soon as the folder is claimed.
            return (folder / "config.json").exists() and count() >= already + wanted

        code, _ = start_and_signal(folder, signal.SIGKILL, ready)
        kills += code == -signal.SIGKILL
    assert kills >= 4  # else the runs were too short to be killed
    run(folder, "--resume")
    assert weights(folder) == weights(never_killed)
    rows, whole = (
        [json.loads(line) for line in (f / "metrics.jsonl").read_text().splitlines()] for f in (folder, never_killed)
    )
    assert [row["train"] for row in rows] == [row["train"] for row in whole]
    assert [row["valid"] for row in rows] == [row["valid"] for row in whole]


def test_killed_in_the_middle_of_a_checkpoint(tmp_path, never_killed):
    """The process dies between the temporary file and the rename, for each of the first saves."""
    folder = tmp_path / "run"
    for n in (1, 2, 3, 4, 6):
        process, error = started(folder, "--resume", before=forked.DiesAt(n))
        assert forked.ended(process, error)[0] == 9
    run(folder, "--resume")
    assert weights(folder) == weights(never_killed)


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path, never_killed):
    folder = tmp_path / "run"
    count = progress_of(folder)
    code, error = start_and_signal(folder, signal.SIGINT, lambda: count() >= 2)
    assert code == 130
    assert "--resume" in error and error.count("\n") == 1, error
    run(folder, "--resume")
    assert weights(folder) == weights(never_killed)


def test_a_finished_run_resumes_to_nothing_and_another_run_is_refused(never_killed, capsys):
    before = weights(never_killed)
    run(never_killed, "--resume")
    assert weights(never_killed) == before
    for flags, word in (([], "another run"), (["--resume", "--lr", "0.01"], "lr")):
        assert main([*TRAIN, "--out", str(never_killed), *flags]) == 2
        error = capsys.readouterr().err
        assert word in error and error.count("\n") == 1
    assert weights(never_killed) == before


def small_run(folder, **more):
    torch.manual_seed(0)
    ae = models.Autoencoder(networks.MLP(6, [8]), networks.MLP(2, [8]), 2, 6)
    x = torch.rand(64, 6, generator=torch.Generator().manual_seed(1))
    return fit(Reconstruction(ae), (x,), out=folder, progress=False, **{"epochs": 2, **more})


def test_ctrl_c_saves_the_step_it_came_in(tmp_path, monkeypatch):
    seen, forward = [], Reconstruction.forward

    def interrupted(self, *batch):
        seen.append(batch)
        if len(seen) == 6:
            signal.raise_signal(signal.SIGINT)
        return forward(self, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(Reconstruction, "forward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            small_run(tmp_path / "run", batch_size=8, compile=False)
    assert 0 < load_checkpoint(tmp_path / "run" / "checkpoint.pt")["at"][-1] < 8  # in the middle of an epoch
    small_run(tmp_path / "run", batch_size=8, compile=False, resume=True)
    small_run(tmp_path / "whole", batch_size=8, compile=False)
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")


@pytest.mark.parametrize("file", ["checkpoint.pt", "weights.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_damaged_files_are_refused(tmp_path, file, damage):
    folder = tmp_path / "run"
    small_run(folder)
    path = folder / file
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "flip":
        content[-20] ^= 1
    else:
        content = b""
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="not loaded|not a ppl_vae checkpoint"):
        if file == "checkpoint.pt":
            small_run(folder, resume=True, epochs=3)
        else:
            load(folder)
    assert path.read_bytes() == bytes(content)


def test_a_checkpoint_is_never_executed(tmp_path):
    """Neither a pickle with a valid digest nor one without runs its payload."""
    import hashlib
    import io
    import pickle

    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    buffer = io.BytesIO()
    torch.save({"at": Hostile()}, buffer)
    for payload in (buffer.getvalue(), pickle.dumps(Hostile(), protocol=2)):
        path = tmp_path / "checkpoint.pt"
        path.write_bytes(MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload)
        with pytest.raises(ValueError, match="was not loaded"):
            load_checkpoint(path)
    assert not (tmp_path / "executed").exists()


def test_a_failed_write_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"a": 1})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device; the file that was there is kept"):
        save_checkpoint(path, {"a": 2})
    assert load_checkpoint(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_more_epochs_go_on_from_a_finished_run(tmp_path):
    small_run(tmp_path / "two", epochs=2)
    small_run(tmp_path / "two", epochs=4, resume=True)
    small_run(tmp_path / "four", epochs=4)
    assert weights(tmp_path / "two") == weights(tmp_path / "four")


def test_patience_keeps_the_best_weights(tmp_path):
    torch.manual_seed(0)
    x = torch.rand(64, 6)
    ae = models.Autoencoder(networks.MLP(6, [32]), networks.MLP(2, [32]), 2, 6)
    history = fit(
        Reconstruction(ae), (x,), valid=(x[:32],), epochs=200, lr=0.5, patience=2, progress=False, out=tmp_path / "r"
    )
    losses = [row["valid"]["loss"] for row in history.rows]
    assert history.stopped_early and len(losses) < 200
    assert losses.index(min(losses)) == len(losses) - 3
    error = (x[:32] - load(tmp_path / "r")(x[:32])).square().sum(1).mean().item()
    assert error == pytest.approx(min(losses), rel=1e-5)
