"""What a cell is measured by."""

import contextlib
import mmap
import time

import numpy as np
import pytest
import torch
from instances import SHAPE, vae

from ppl_vae import SVI, data, estimators, evaluation
from ppl_vae.comparison import figures

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    file = tmp_path_factory.mktemp("data") / "x.npy"
    np.save(file, (np.random.default_rng(0).random((120, *SHAPE)) > 0.5).astype(np.float32))
    return data.load(str(file))


def test_peak_memory_is_what_was_held_at_once():
    with figures.PeakMemory(CPU) as memory:
        with mapped(32):
            pass
        with mapped(64):
            time.sleep(0.1)  # memory is looked at every 10 ms
        memory.stop()
        with mapped(128):
            time.sleep(0.1)
    assert 55 < memory.peak < 85


@contextlib.contextmanager
def mapped(mebibytes):
    """Memory of the kernel's own: what is given back to the C library may stay with the process."""
    with mmap.mmap(-1, mebibytes * 2**20) as held:
        held[:: mmap.PAGESIZE] = b"1" * (len(held) // mmap.PAGESIZE)
        yield


def test_a_second_training_is_not_said_to_take_nothing():
    for _ in range(2):
        with figures.PeakMemory(CPU) as memory:
            pieces = [torch.ones(2**14) for _ in range(500)]  # 31 MiB, below the size that the C library maps
            memory.stop()
        del pieces
        assert memory.peak > 25


def test_memory_of_nothing_trained_is_not_known():
    with figures.PeakMemory(CPU) as memory:
        pass
    assert np.isnan(memory.peak)


@pytest.mark.parametrize(("epochs", "seen"), [(3, [1, 2, 3]), (25, [3, 5, 8, 10, 13, 15, 18, 20, 23, 25])])
def test_it_is_watched_at_ten_epochs_at_most_and_always_at_the_last(small, epochs, seen, monkeypatch):
    monkeypatch.setattr(figures, "signal_to_noise", lambda *_: {})
    watch = figures.Watch(SVI(vae()), small.test, epochs, figures.PeakMemory(CPU))
    monkeypatch.setattr(watch.memory, "stop", lambda: None)
    rows = [{"epoch": epoch} for epoch in range(1, epochs + 1)]
    for row in rows:
        watch(row)
    assert [row["epoch"] for row in rows if "test" in row] == seen


def test_final_figures_are_those_of_the_evaluation(small):
    model = vae()
    found = figures.final(SVI(model, estimators.TraceELBO()), small.test, small.train, num_particles=50, limit=7)
    x = small.test.resolve(model.support).take(slice(0, 7))[0]
    likelihood = evaluation.log_likelihood(model, x, num_particles=50)
    assert found["n"] == 7 and found["num_particles"] == 50
    assert found["log_likelihood"] == pytest.approx(likelihood.mean, abs=1e-4)
    assert found["gap"] == pytest.approx(found["log_likelihood"] - found["elbo"])
    assert found["elbo"] == pytest.approx(found["reconstruction"] - found["kl"], abs=1e-3)
    assert found["snr_encoder"] >= 0 and found["snr_decoder"] > 0
