"""Callbacks see the model, may stop a run, and change nothing else; what they decide survives a kill."""

import random

import numpy as np
import pytest
import torch
from instances import SHAPE, vae
from torch import nn
from training.fixtures import TwoStage

from ppl_vae import SVI, Reconstruction, fit, models, networks
from ppl_vae.training import Callback, History, Stop
from ppl_vae.training.checkpoint import load_checkpoint

X = (torch.rand(40, *SHAPE, generator=torch.Generator().manual_seed(3)) > 0.5).float()


def run(callbacks=(), objective=None, epochs=6, **more):
    if objective is None:
        torch.manual_seed(1)
        objective = SVI(vae())
    history = fit(objective, X, X[:8], epochs=epochs, batch_size=16, progress=False, callbacks=callbacks, **more)
    return objective.state_dict(), history


def dropping():
    """An objective that differs between train and eval mode, and keeps running statistics."""
    torch.manual_seed(2)
    layers = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Dropout(0.3))
    encoder = networks.MLP(SHAPE, [8])
    encoder.layers = layers
    return Reconstruction(models.Autoencoder(encoder, networks.MLP(2, [8]), 2, SHAPE))


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())


class StopAt(Callback):
    """Stops a stage after an epoch of it."""

    def __init__(self, epoch, stage=""):
        self.at, self.stage, self.seen = epoch, stage, []

    def epoch(self, row, model):
        self.seen.append((row["stage"], row["epoch"]))
        if (row["stage"], row["epoch"]) == (self.stage, self.at):
            raise Stop("enough")


class Look(Callback):
    """Evaluates the model, draws noise, and leaves everything as a careless user would."""

    def start(self, context):
        self.train = context.train
        torch.rand(5), torch.manual_seed(9)
        context.model.train()

    def epoch(self, row, model):
        assert not any(part.training for part in model.modules())
        random.random(), np.random.rand(3)
        x, *_ = self.train.take(slice(0, 7))
        row["looked"] = model.decode(model.encode(x) + torch.randn(7, *model.code_shape)).sum().item()
        model.encode(x).sum().backward()
        model.train()
        model.encode(x)
        model.eval()
        next(model.children()).train()


# What they see and may not touch


@pytest.mark.parametrize("made", [None, dropping])
def test_a_callback_that_evaluates_the_model_leaves_the_bits(made):
    class NoStatistics(Look):  # encoding in train mode is the user's wish to change running means
        def epoch(self, row, model):
            kept = {name: value.clone() for name, value in model.state_dict().items()}
            super().epoch(row, model)
            model.load_state_dict(kept)

    plain, before = run(objective=made and made())
    looked, after = run([NoStatistics()], objective=made and made())
    assert same(plain, looked)
    assert [row["train"] for row in before.rows] == [row["train"] for row in after.rows]
    assert all("looked" in row for row in after.rows)


def test_parts_that_a_stage_does_not_train_stay_in_eval_mode():
    """``Codes`` uses the first autoencoder, whose dropout would change its loss in train mode."""

    class Train(Callback):
        def epoch(self, row, model):
            model.train()

    x = X.flatten(1)[:, :16]
    losses = []
    for callbacks in ([], [Train()]):
        torch.manual_seed(1)
        history = fit(TwoStage(), x, epochs=3, batch_size=16, progress=False, callbacks=callbacks)
        losses.append([row["train"]["loss"] for row in history.rows])
    assert losses[0] == losses[1]


def test_hooks_are_called_in_order_and_told_what_there_is(tmp_path):
    calls = []

    class Told(Callback):
        def start(self, context):
            calls.append(("start", len(context.rows), context.folder, context.config["training"]["epochs"]))
            assert len(context.train) == 40 and len(context.valid) == 8 and isinstance(context.model, models.VAE)

        def epoch(self, row, model):
            calls.append(row["epoch"])

        def end(self, history, error):
            calls.append(("end", len(history.rows), error))

    folder = tmp_path / "run"
    run([Told()], epochs=2, out=folder)
    run([Told()], epochs=3, out=folder, resume=True)
    first = [("start", 0, folder, 2), 1, 2, ("end", 2, None)]
    assert calls == [*first, ("start", 2, folder, 2), 3, ("end", 3, None)]


def test_end_is_called_when_training_fails():
    found = []

    class Told(Callback):
        def end(self, history, error):
            found.append((len(history.rows), type(error).__name__))

    def interrupt(row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([interrupt, Told()])
    assert found == [(1, "KeyboardInterrupt")]


def test_the_old_argument_is_short_for_a_function_in_the_list():
    seen = []
    _, history = run([lambda row: seen.append(("list", row["mine"]))], callback=lambda row: row.setdefault("mine", 7))
    assert [row["mine"] for row in history.rows] == [7] * 6 and seen == [("list", 7)] * 6


# Stopping


def test_a_stop_is_graceful_and_said():
    other, stopped = StopAt(99), []

    class End(Callback):
        def end(self, history, error):
            stopped.append((history.stopped, error))

    weights, history = run([StopAt(3), other, End()])
    assert [row["epoch"] for row in history.rows] == [1, 2, 3]
    assert (history.stopped, history.stopped_early) == ("StopAt: enough", True)
    assert other.seen[-1] == ("", 3), "those after the one that stops see the epoch, too"
    assert stopped == [("StopAt: enough", None)]
    assert same(weights, run(epochs=3)[0])
    assert run()[1].stopped == ""


def test_patience_is_said_too():
    _, history = run(epochs=200, lr=0.5, patience=2)
    assert history.stopped_early and history.stopped == "no better validation for 2 epochs"


def test_the_best_weights_are_kept_after_a_stop():
    _, history = run([StopAt(4)], lr=0.3, patience=50)
    values = [row["valid"]["loss"] for row in history.rows]
    assert values.index(min(values)) < 3, "the best epoch must not be the last"
    weights, _ = run(lr=0.3, epochs=values.index(min(values)) + 1)
    assert same(weights, run([StopAt(4)], lr=0.3, patience=50)[0])


def test_a_stopped_run_is_finished_unless_it_is_lengthened(tmp_path):
    folder = tmp_path / "run"
    stopped, _ = run([StopAt(3)], out=folder)
    again, history = run([pytest.fail], out=folder, resume=True)
    assert same(stopped, again)
    assert (len(history.rows), history.stopped, history.stopped_early) == (3, "StopAt: enough", True)
    longer, history = run(epochs=8, out=folder, resume=True)
    assert (len(history.rows), history.stopped, history.stopped_early) == (8, "", False)
    assert same(longer, run(epochs=8)[0])


class Killed(BaseException):
    """As a kill: nothing is saved on the way out."""


def test_a_decision_is_stored_with_the_stage_that_it_ends(tmp_path, monkeypatch):
    """A kill right after the first stage stopped: the resumed run, whose callbacks want no stop, keeps to it."""
    x = X.flatten(1)[:, :16]
    kill = [True]
    centre = TwoStage.centre

    def die(self, train):
        if kill[0]:
            raise Killed
        centre(self, train)

    monkeypatch.setattr(TwoStage, "centre", die)

    def train(callbacks, **more):
        torch.manual_seed(1)
        objective = TwoStage(epochs=150)
        given = {"epochs": 3, "batch_size": 16, "progress": False, "callbacks": callbacks}
        return fit(objective, x, **given, **more), objective.state_dict()

    with pytest.raises(Killed):
        train([StopAt(3, "data")], out=tmp_path / "run")
    kill[0] = False
    resumed, weights = train([], out=tmp_path / "run", resume=True)
    assert [row["stage"] for row in resumed.rows] == ["data"] * 3 + [""] * 3
    assert resumed.stopped == "", "the main stage ran all its epochs"
    whole, expected = train([StopAt(3, "data")])
    assert same(weights, expected)


def test_a_callback_that_counts_in_the_rows_decides_as_without_a_break(tmp_path):
    class Counts(Callback):
        """Stops at the fifth call, and knows of those before the break by the rows."""

        def start(self, context):
            self.count = len([row for row in context.rows if "count" in row])

        def epoch(self, row, model):
            self.count = row["count"] = self.count + 1
            if self.count == 5:
                raise Stop

    def killed(row):
        if row["epoch"] == 4:
            raise Killed

    with pytest.raises(Killed):
        run([Counts(), killed], epochs=9, out=tmp_path / "run")
    parts, history = run([Counts()], epochs=9, out=tmp_path / "run", resume=True)
    whole, expected = run([Counts()], epochs=9)
    assert len(history.rows) == len(expected.rows) == 5 and same(parts, whole)
    assert history.stopped.endswith("Counts: asked to stop")


# Errors


def test_an_error_saves_the_run_names_the_callback_and_is_what_it_was(tmp_path):
    class Uploads(Callback):
        fails = True

        def epoch(self, row, model):
            if row["epoch"] == 3 and self.fails:
                raise ConnectionError("no route to host")
            row["sent"] = True

    more = {"patience": 50, "lr": 0.3}
    with pytest.raises(ConnectionError, match="no route") as caught:
        run([Uploads()], out=tmp_path / "run", **more)
    assert "Uploads after epoch 3" in caught.value.__notes__[0]
    assert load_checkpoint(tmp_path / "run" / "checkpoint.pt")["at"] == [0, 2, 3, 9], "all batches of epoch 3 are done"
    steps = []
    Uploads.fails = False

    class Steps(Callback):
        def epoch(self, row, model):
            steps.append((row["epoch"], row["step"]))

    weights, history = run([Uploads(), Steps()], out=tmp_path / "run", resume=True, **more)
    assert steps == [(3, 9), (4, 12), (5, 15), (6, 18)]
    assert all(row["sent"] for row in history.rows)
    plain, expected = run(out=tmp_path / "plain", **more)
    stale = [load_checkpoint(tmp_path / name / "checkpoint.pt")["stale"] for name in ("run", "plain")]
    assert stale[0] == stale[1], "the epoch that was closed twice counts once"
    assert same(weights, plain)
    assert [row["valid"] for row in history.rows] == [row["valid"] for row in expected.rows]


@pytest.mark.parametrize("hook", ["start", "end"])
def test_errors_at_the_start_and_the_end_are_named_too(hook, tmp_path):
    class Bad(Callback):
        pass

    setattr(Bad, hook, lambda self, *args: 1 / 0)
    with pytest.raises(ZeroDivisionError) as caught:
        run([Bad()], epochs=1, out=tmp_path / "run")
    assert "Bad" in caught.value.__notes__[0]
    assert (tmp_path / "run" / "weights.safetensors").exists() == (hook == "end")


def test_an_error_at_the_end_does_not_hide_that_of_the_training():
    class Bad(Callback):
        def epoch(self, row, model):
            raise LookupError("first")

        def end(self, history, error):
            raise OSError("second")

    with pytest.raises(LookupError, match="first") as caught:
        run([Bad()])
    assert "second" in caught.value.__notes__[-1]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (StopAt(1), "must be a list"),
        ("abc", "must be a list"),
        ([StopAt], "class StopAt; give an object"),
        ([print, 3], r"callbacks\[1\] must be .* not 3"),
    ],
)
def test_what_is_no_callback_is_refused(given, words):
    with pytest.raises(TypeError, match=words):
        run(given)


def test_history_is_what_fit_returns():
    found = []

    class End(Callback):
        def end(self, history, error):
            found.append(history)

    _, history = run([End()], epochs=1)
    assert isinstance(found[0], History) and found[0] == history


@pytest.mark.parametrize("value", [torch.ones(3), object(), {1, 2}])
def test_what_a_row_cannot_hold_is_refused_and_the_run_goes_on(tmp_path, value):
    """It went into the checkpoint, and metrics.jsonl could not be written."""

    class Adds(Callback):
        def epoch(self, row, model):
            row["mine"] = value

    with pytest.raises(TypeError, match=r"row\['mine'\] is a .*, which metrics.jsonl cannot hold") as caught:
        run([Adds()], epochs=2, out=tmp_path / "run")
    assert "Adds" in caught.value.__notes__[-1]
    assert len(run(epochs=2, out=tmp_path / "run", resume=True)[1].rows) == 2
