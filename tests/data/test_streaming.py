"""A large file is trained on in little memory."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ppl_vae.data import load

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys
import torch
from torch.distributions import constraints
from ppl_vae import data

def anonymous():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("RssAnon"))

data.load("digits")
before, peak = anonymous(), 0
big = data.load(sys.argv[1]).resolve(constraints.boolean)
assert big.train.streamed
peak = max(peak, anonymous())
big.train.check(constraints.boolean)
assert float(big.train.mean().sum()) == 0.0
peak = max(peak, anonymous())
for epoch in range(2):
    for i, (x,) in enumerate(data.Batches(big.train, 128).epoch(epoch)):
        assert x.shape == (128, 784) and not x.any()
        peak = max(peak, anonymous())
        if i == 20:
            break
for i, (x,) in enumerate(big.test.batches(500)):
    peak = max(peak, anonymous())
    if i == 10:
        break
print(peak - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="RssAnon is read from /proc")
@pytest.mark.filterwarnings("ignore")
def test_twenty_gigabytes_in_far_less_than_one(tmp_path):
    path = tmp_path / "big.npy"
    try:
        shape = (20 * 2**30 // (4 * 784), 784)
        np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)  # sparse: no blocks are written
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(path)], capture_output=True, text=True, timeout=120, cwd=ROOT
        )
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) < 600 * 2**20
    finally:
        path.unlink(missing_ok=True)


READ_ALL = """
import sys
from ppl_vae import data

def resident():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmRSS"))

big = data.load(sys.argv[1], in_memory=False, binarize="none")
before, peak = resident(), 0
for (x,) in data.Batches(big.train, 512).epoch(0):
    peak = max(peak, resident())
print(peak - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="VmRSS is read from /proc")
def test_what_was_read_of_a_large_file_does_not_stay_with_the_process(tmp_path):
    path = tmp_path / "big.npy"
    rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(600 * 2**20 // (4 * 784), 784))
    rows[:] = 0.5
    rows.flush()
    del rows
    done = subprocess.run([sys.executable, "-c", READ_ALL, str(path)], capture_output=True, text=True, cwd=ROOT)
    path.unlink()  # pytest keeps what is left
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 150 * 2**20  # of 600 MiB: some batches, and what torch loads at its first


def test_a_mapped_file_is_mapped_again_by_another_process_not_sent(tmp_path):
    array = np.random.default_rng(0).random((400_000, 2)).astype(np.float32)
    np.save(tmp_path / "x.npy", array)
    reader = load(tmp_path / "x.npy", in_memory=False).train.x.reader
    sent = pickle.dumps(reader)
    assert len(sent) < 2000
    assert np.array_equal(pickle.loads(sent).read(np.array([7, 399_999]))[0].numpy(), array[[7, 399_999]])


@pytest.mark.parametrize("dtype", ["float32", ">f8", "uint8", "bool"])
def test_rows_read_from_the_file_are_those_of_the_array(tmp_path, dtype):
    array = (np.random.default_rng(0).random((300_000, 5)) * 9).astype(dtype)
    np.save(tmp_path / "x.npy", array)
    reader = load(tmp_path / "x.npy", in_memory=False, binarize="none").train.x.reader
    assert reader._file is not None
    for index in ([], [7], [3, 4, 5], [299_999, 0, 1, 2, 2, 299_998, 299_999], range(100, 90, -3)):
        found = reader.read(np.array(index, dtype=np.int64))[0].numpy()
        assert np.array_equal(found, array[list(index)].astype(np.float32))


def test_an_array_in_columns_is_read_through_its_map(tmp_path):
    array = np.asfortranarray(np.random.default_rng(0).random((300_000, 5)))
    np.save(tmp_path / "x.npy", array)
    rows = load(tmp_path / "x.npy", in_memory=False).train.x
    assert rows.reader._file is None and np.allclose(rows[10:20].numpy(), array[rows.index[10:20]])


def test_a_file_that_is_cut_short_while_it_is_read_is_said(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.ones((300_000, 5), np.float32))
    reader = load(path, in_memory=False).train.x.reader
    with path.open("r+b") as file:
        file.truncate(10_000)
    with pytest.raises(ValueError, match="x.npy ends before row 299999"):
        reader.read(np.array([0, 299_999]))
