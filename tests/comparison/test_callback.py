"""``fit``'s callback sees every epoch, is saved, and changes nothing."""

import json
import random
import time

import numpy as np
import pytest
import torch
from instances import SHAPE, vae

from ppl_vae import SVI, fit

X = (torch.rand(40, *SHAPE, generator=torch.Generator().manual_seed(0)) > 0.5).float()


def run(callback=None, **more):
    torch.manual_seed(1)
    model = vae()
    history = fit(SVI(model), X, valid=X[:8], epochs=3, batch_size=16, progress=False, callback=callback, **more)
    return model.state_dict(), history


def test_it_cannot_change_the_bits():
    def disturb(row):
        random.random(), np.random.rand(), torch.rand(7), torch.manual_seed(5)

    plain, _ = run()
    disturbed, _ = run(disturb)
    assert all(torch.equal(plain[name], disturbed[name]) for name in plain)


def test_its_random_numbers_are_the_same_in_every_run():
    seen = []
    for _ in range(2):
        run(lambda row: seen.append(torch.rand(()).item()))
    assert seen[:3] == seen[3:]


def test_what_it_adds_is_kept_and_resumed(tmp_path):
    def add(row):
        assert row["train"]["elbo"] and row["valid"]["elbo"]
        row["mine"] = row["epoch"] * 10

    _, history = run(add, out=tmp_path / "run")
    assert [row["mine"] for row in history.rows] == [10, 20, 30]
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["mine"] for line in lines] == [10, 20, 30]
    _, again = run(pytest.fail, out=tmp_path / "run", resume=True)
    assert [row["mine"] for row in again.rows] == [10, 20, 30]


def test_its_time_is_not_training_time():
    _, history = run(lambda row: time.sleep(0.5))
    assert history.rows[-1]["seconds"] < 0.75
