"""What a training does where it is not told how long, which weights to keep, and what beta to start with."""

import contextlib
import math

import pyro.infer
import pytest
import torch
from torch import nn
from training.fixtures import Adversarial

import ppl_vae
from ppl_vae import SVI, VAE, fit, handlers, likelihoods, networks, priors
from ppl_vae.cli import main
from ppl_vae.cli.settings import settings
from ppl_vae.objectives import Loss, Objective
from ppl_vae.training import RunFolder
from ppl_vae.training.defaults import default_epochs

SIZE = ["--hidden", "4", "--latent-dim", "2", "--no-progress", "--no-report", "--quiet"]


@pytest.mark.parametrize(
    ("rows", "batch_size", "accumulate", "epochs"),
    [
        (55_000, None, 1, 20),  # MNIST: 430 steps an epoch
        (19_201, None, 1, 20),  # 151 steps an epoch: the first at which 20 epochs have more than 3,000 steps
        (19_200, None, 1, 20),  # 150 steps an epoch: both are exactly 3,000 steps
        (19_072, None, 1, 21),
        (1439, None, 1, 250),
        (1200, 1200, 1, 3000),  # all the data in each step
        (100, None, 1, 3000),
        (1000, 100, 4, 1000),  # 10 batches are 3 steps, the last of 2 batches
    ],
)
def test_at_least_20_epochs_and_3000_steps(rows, batch_size, accumulate, epochs):
    assert default_epochs(rows, batch_size, accumulate) == epochs
    steps = math.ceil(math.ceil(rows / (batch_size or min(128, rows))) / accumulate)
    assert epochs == 20 or (epochs - 1) * steps < 3000 <= epochs * steps


class Slope(Objective):
    """The loss of a number that every step lowers by 1: it falls on the training rows (-1) and rises on others (+1)."""

    def __init__(self, watch=("loss", "min")):
        super().__init__()
        self.model, self.watch = nn.Linear(1, 1, bias=False), watch
        nn.init.zeros_(self.model.weight)

    def forward(self, x, *_):
        up, w = x.mean(), self.model.weight.sum()
        # On validation rows (2.0) the best value is at w = -5.
        return Loss(w if up < 1 else (w + 5).square())


VALID = torch.full((2, 1), 2.0)


def slope(valid=VALID, watch=("loss", "min"), **given):
    objective = Slope(watch)
    history = fit(objective, torch.zeros(4, 1), valid, optimizer="sgd", lr=1.0, progress=False, **given)
    return objective.model.weight.item(), history


@pytest.fixture
def short(monkeypatch):
    """Trainings of default length have 12 steps."""
    monkeypatch.setattr("ppl_vae.training.defaults.LEAST_STEPS", 12)
    monkeypatch.setattr("ppl_vae.training.defaults.LEAST_EPOCHS", 3)


def test_a_training_of_default_length_keeps_the_best_weights(short):
    weight, history = slope()
    assert (weight, len(history.rows), history.stopped_early) == (-5.0, 12, False)


def test_epochs_that_are_given_are_trained_and_the_last_weights_kept(short):
    assert [slope(epochs=7)[0], len(slope(epochs=7)[1].rows)] == [-7.0, 7]
    assert slope(epochs=7, keep="best")[0] == -5.0
    assert slope(keep="last")[0] == -12.0
    weight, history = slope(epochs=20, patience=3)
    assert (weight, len(history.rows), history.stopped_early) == (-5.0, 8, True)
    weight, history = slope(epochs=20, patience=3, keep="last")
    assert (weight, len(history.rows)) == (-8.0, 8)


def test_without_anything_to_watch_the_last_weights_are_kept(short):
    assert slope(valid=None)[0] == slope(watch=None)[0] == -12.0
    game = Adversarial()
    assert len(fit(game, torch.rand(8, 16), torch.rand(8, 16), progress=False).rows) == 12
    with pytest.raises(ValueError, match="keep is 'best', but there is no valid data to watch; pass valid="):
        slope(valid=None, keep="best")
    with pytest.raises(ValueError, match="keep is 'best', but the objective of the main stage watches no term"):
        slope(watch=None, keep="best")
    with pytest.raises(ValueError, match="keep 'bset' is unknown; choose from best, last"):
        slope(keep="bset")


def test_an_epoch_without_a_number_is_not_the_best(short):
    class Undefined(Slope):
        def forward(self, x, *_):
            loss = super().forward(x)
            # Before the third step the validation loss is not defined.
            return loss if x.mean() < 1 or self.model.weight < -2.5 else Loss(loss.value * math.nan)

    objective = Undefined()
    fit(objective, torch.zeros(4, 1), VALID, optimizer="sgd", lr=1.0, progress=False)
    assert objective.model.weight.item() == -5.0


def vae():
    torch.manual_seed(3)
    return VAE(priors.Normal(2), likelihood=likelihoods.Bernoulli(networks.MLP(2, [4]), 6))


def test_during_a_warm_up_the_elbo_at_beta_1_is_watched(short):
    """At beta = 0 the loss is the reconstruction alone: it would keep weights of the start, where beta is small."""
    x = (torch.rand(40, 6, generator=torch.Generator().manual_seed(9)) < 0.5).float()
    objective = SVI(vae(), beta=handlers.Linear(12))
    history = fit(objective, x[:20], x[20:], lr=0.003, progress=False)
    elbos = [row["valid"]["elbo"] for row in history.rows]
    losses = [row["valid"]["loss"] for row in history.rows]
    assert losses.index(min(losses)) != elbos.index(max(elbos))
    kept = fit(SVI(objective.model), x[20:], x[20:], epochs=1, lr=1e-30, progress=False).rows[0]["valid"]["elbo"]
    assert kept == pytest.approx(max(elbos), abs=1e-5)  # the same draws: validation has a seed of its own
    pyros = SVI(vae(), pyro.infer.Trace_ELBO(max_plate_nesting=1), beta=handlers.Linear(4))
    assert pyros.watch is None  # it gives no ELBO at beta = 1
    assert len(fit(pyros, x[:20], x[20:], progress=False).rows) == 12


def test_fit_starts_at_beta_1():
    assert SVI(vae()).at_step(0) == SVI(vae()).at_step(5000) == {"beta": 1.0}


class Killed(Exception):
    """Raised at an epoch, as a stand-in for a kill."""


def test_a_run_of_default_length_resumes_to_the_same_bits(short, tmp_path):
    x = (torch.rand(60, 6, generator=torch.Generator().manual_seed(4)) < 0.5).float()

    def train(folder, callback=None, **given):
        objective = SVI(vae(), beta=handlers.Linear(4))
        history = fit(
            objective, x[:40], x[40:], batch_size=20, lr=0.05, out=tmp_path / folder, progress=False, callback=callback,
            **given,
        )  # fmt: skip
        return history, (tmp_path / folder / "weights.safetensors").read_bytes()

    def kill(row):
        if row["epoch"] == 5:
            raise Killed

    history, whole = train("whole")
    config = RunFolder(tmp_path / "whole").config()["training"]
    assert (config["epochs"], config["keep"], len(history.rows)) == (6, "best", 6)
    with contextlib.suppress(Killed):
        train("parts", kill)
    resumed, parts = train("parts", resume=True)
    assert parts == whole and len(resumed.rows) == 6
    # Longer, by a number: it still keeps the best, as the run does.
    longer, _ = train("parts", resume=True, epochs=8)
    assert len(longer.rows) == 8 and RunFolder(tmp_path / "parts").config()["training"]["keep"] == "best"
    with pytest.raises(ValueError, match="training keep was 'best' in the run .* and is now 'last'"):
        train("parts", resume=True, keep="last")


def test_the_best_weights_of_before_a_kill_come_from_the_checkpoint(short, tmp_path):
    def kill(row):
        if row["epoch"] == 8:  # the best is epoch 5 of 12
            raise Killed

    with pytest.raises(Killed):
        slope(out=tmp_path / "run", callback=kill)
    weight, history = slope(out=tmp_path / "run", resume=True)
    assert (weight, len(history.rows)) == (-5.0, 12)


def test_a_long_run_of_short_epochs_writes_a_hundred_checkpoints(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(RunFolder, "save", lambda self, state, model: written.append(state["at"][1]))
    monkeypatch.setattr(RunFolder, "save_weights", lambda self, model: None)
    for epochs, kept in ((250, [*range(3, 250, 3), 250]), (4, [1, 2, 3, 4])):
        written.clear()
        slope(epochs=epochs, out=tmp_path / str(epochs))
        assert written == kept


@pytest.mark.parametrize(
    ("line", "beta"),
    [
        ("", "linear"),
        ("--prior laplace --lr 2e-3", "linear"),
        ("--epochs none", "linear"),
        ("--epochs 20", 1.0),  # too few steps, perhaps
        ("--beta 1", 1.0),
        ("--beta 4", 4.0),
        ("--estimator iwae", 1.0),
        ("--estimator mean-field-elbo", 1.0),  # comparisons of estimators are on equal terms
        ("--model autoencoder", None),
    ],
)
def test_the_shell_s_training_of_default_length_begins_with_a_warm_up(line, beta):
    chosen = settings(line.split())
    assert chosen.values.get("beta") == beta
    assert (chosen.options("beta") == {"steps": 300, "start": 0.0, "end": 1.0}) == (beta == "linear")


def test_the_shell_s_run_of_default_length_and_a_longer_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ppl_vae.training.defaults.LEAST_STEPS", 24)
    monkeypatch.setattr("ppl_vae.training.defaults.LEAST_EPOCHS", 1)
    monkeypatch.setattr("ppl_vae.cli.jobs.train.QUICK", {"num_particles": 2, "limit": 4, "seed": 0})
    line = ["train", "--data", "digits", "--out", str(tmp_path / "run"), *SIZE]
    assert main(line) == 0
    config = RunFolder(tmp_path / "run").config()
    assert (config["training"]["epochs"], config["training"]["keep"]) == (2, "best")  # 12 steps an epoch
    assert config["objective"]["beta"] == {"class": "handlers.Linear", "steps": 300, "start": 0.0, "end": 1.0}
    assert [row["beta"] for row in RunFolder(tmp_path / "run").metrics()] == pytest.approx([11 / 300, 23 / 300])
    assert main([*line, "--resume", "--epochs", "3"]) == 0
    config, rows = RunFolder(tmp_path / "run").config(), RunFolder(tmp_path / "run").metrics()
    assert [row["beta"] for row in rows] == pytest.approx([11 / 300, 23 / 300, 35 / 300])
    assert main([*line, "--resume", "--epochs", "3", "--beta", "1"]) == 2
    assert "objective beta" in capsys.readouterr().err
    # Its config.json makes the same run, bit for bit, where the length is the same.
    again = ["train", "--config", str(tmp_path / "run" / "config.json"), "--out", str(tmp_path / "again"), *SIZE[-3:]]
    assert main([*again, "--epochs", "3", "--keep", "best"]) == 0
    bits = [(tmp_path / run / "weights.safetensors").read_bytes() for run in ("run", "again")]
    assert bits[0] == bits[1]


def test_epochs_that_are_given_are_what_they_were(tmp_path):
    """The shell's run with --epochs is ``fit`` at beta = 1 with its last weights."""
    words = ["--data", "digits", "--epochs", "2", "--seed", "5", *SIZE]
    assert main(["train", *words, "--out", str(tmp_path / "run")]) == 0
    config = RunFolder(tmp_path / "run").config()
    assert (config["objective"]["beta"], config["training"]["keep"]) == (1.0, "last")
    assert [row["beta"] for row in RunFolder(tmp_path / "run").metrics()] == [1.0, 1.0]


def test_cells_of_a_comparison_have_the_default_length(short, tmp_path):
    x = (torch.rand(60, 6, generator=torch.Generator().manual_seed(4)) < 0.5).float()
    given = {"seeds": [0], "limit": 5, "num_particles": 2, "batch_size": 20, "progress": False}
    table = ppl_vae.compare({"vae": lambda: SVI(vae())}, (x[:40], x[40:50], x[50:]), out=tmp_path / "out", **given)
    assert not table.failed
    assert table.rows[0]["epochs"] == 6  # of 2 steps each
    config = RunFolder(next((tmp_path / "out" / "cells").iterdir())).config()["training"]
    assert (config["epochs"], config["keep"]) == (6, "best")
