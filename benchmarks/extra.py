"""Measurements other than training steps: cost of the likelihood, memory of streamed data, time to a given quality."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from ppl_vae import data, evaluation

from . import measure, ours, works

GOAL = 100.0  # nats an example
STREAMED = """
import json, sys
from ppl_vae import Reconstruction, data, fit, models, networks
from benchmarks.measure import peak_mib
split = data.load(sys.argv[1], in_memory=False).train
ae = models.Autoencoder(networks.MLP(split.shape, [16]), networks.MLP(4, [16]), 4, split.shape)
before = peak_mib()
fit(Reconstruction(ae), split, epochs=1, batch_size=512, progress=False, compile=False)
print(json.dumps({"imported_mib": before, "peak_mib": peak_mib()}))
"""
"""An epoch over a file."""


def everything(root):
    """All of these, as entries of the result."""
    out = {"likelihood": likelihood(), "streamed": streamed()}
    if root:
        out["seconds_to_nll_100"] = quality(root)
    for name, value in out.items():
        print(name, json.dumps(value))
    return out


def likelihood(images=1000, particles=5000, memory=2**28, repeats=2):
    """K = 5000 log-likelihood, taking turns with its own matrix products; in seconds for 1000 images."""
    model = ours.vae(works.MAIN)
    x = works.rows(works.MAIN, None)[:images]
    rounds = {
        "floor": lambda: _decoder_products(images, particles),
        "ppl_vae": lambda: evaluation.log_likelihood(model, x, num_particles=particles, memory=memory),
    }
    seconds = measure.interleave(rounds, repeats)
    ratios = [a / b for a, b in zip(seconds["ppl_vae"], seconds["floor"], strict=True)]
    return {
        "seconds_per_1000_images": statistics.median(seconds["ppl_vae"]) * 1000 / images,
        "ratio_to_floor": statistics.median(ratios),
        "threads": torch.get_num_threads(),
    }


def _decoder_products(images, particles):
    rows = 5000  # codes at a time
    z, h = torch.randn(rows, 20), torch.randn(rows, 400)
    first, last = torch.randn(400, 20), torch.randn(784, 400)
    for _ in range(images * particles // rows):
        z @ first.T
        h @ last.T


def streamed(gib=2.0):
    """Peak resident memory of an epoch over a file larger than it."""
    rows = int(gib * 2**30) // (784 * 4)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        array = np.lib.format.open_memmap(path, "w+", np.float32, (rows, 784))
        for start in range(0, rows, 2**16):
            array[start : start + 2**16] = 0.5
        array.flush()
        del array
        done = subprocess.run([sys.executable, "-c", STREAMED, str(path)], capture_output=True, text=True)
        size = path.stat().st_size / 2**20
    found = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {"failed": done.stderr[-300:]}
    return {"file_mib": size, **found}


def quality(root, images=500):
    """Seconds of training until the NLL (K = 100) of the first test images is below 100 nats, compiling included."""
    grey = works.pictures(root).flatten(1)
    test = data.load("mnist", root=root, binarize="static").test.x[:images].flatten(1)
    x = torch.rand(grey.shape, generator=torch.Generator().manual_seed(0)).lt(grey).float()
    out = {}
    for name in ("ppl_vae", "ppl_vae-bf16", "ppl_vae-eager", "hand-written", "hand-written-compiled"):
        began = time.perf_counter()
        out[name] = measure.seconds_to_quality(lambda rows, n=name: measure.SYSTEMS[n](works.MAIN, rows), x, test, GOAL)
        out[f"{name}, with building and evaluation"] = time.perf_counter() - began
    return out
