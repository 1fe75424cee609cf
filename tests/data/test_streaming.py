"""A large memory-mapped file is trained on in little anonymous memory."""

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


def test_a_mapped_file_is_mapped_again_by_another_process_not_sent(tmp_path):
    array = np.random.default_rng(0).random((400_000, 2)).astype(np.float32)
    np.save(tmp_path / "x.npy", array)
    reader = load(tmp_path / "x.npy", in_memory=False).train.x.reader
    sent = pickle.dumps(reader)
    assert len(sent) < 2000
    assert np.array_equal(pickle.loads(sent).read(np.array([7, 399_999]))[0].numpy(), array[[7, 399_999]])
