"""Stages: what each trains, with which noise, and that a run killed anywhere goes on to the same bits."""

import functools
import json
import math

import pytest
import torch
from instances import everything
from torch import nn
from training.fixtures import TwoStage

from ppl_vae import Reconstruction, fit, load, models, networks
from ppl_vae.data import as_split
from ppl_vae.objectives import Loss, Objective, Stage
from ppl_vae.training import RunFolder, folder
from ppl_vae.training.checkpoint import load_checkpoint, save_checkpoint

X = torch.rand(50, 16, generator=torch.Generator().manual_seed(1))
ORDERS = [("data", ""), ("", "codes")]
run = functools.partial(fit, train=X, epochs=2, batch_size=20, progress=False, seed=4)


def made(names=("data", ""), **options):
    torch.manual_seed(0)
    return TwoStage(names, **options)


def equal(a, b):
    a, b = (o if isinstance(o, dict) else o.state_dict() for o in (a, b))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# What a stage does


def test_every_row_names_its_stage(tmp_path):
    objective, rows = made(), []
    history = run(objective, valid=X[:10], epochs=3, out=tmp_path / "run", callback=lambda row: rows.append(row))
    assert [(row["stage"], row["epoch"], row["step"]) for row in history.rows] == [
        *[("data", 1, 3), ("data", 2, 6)],
        *[("", 1, 3), ("", 2, 6), ("", 3, 9)],
    ]
    assert all(row.keys() >= {"seconds", "examples_per_second", "lr", "train", "valid"} for row in history.rows)
    seconds = [row["seconds"] for row in history.rows]
    assert seconds == sorted(seconds) and seconds[1] <= seconds[2]
    assert rows == history.rows == RunFolder(tmp_path / "run").metrics()
    assert objective.calls == ["begin", "end"] * 2
    assert equal(load(tmp_path / "run", made().model), objective.model)


def test_a_stage_trains_its_own_and_leaves_the_rest_in_eval_mode():
    objective, states = made(), []
    first, second = objective.model["first"], objective.model["second"]
    first[0].weight.requires_grad_(False)
    first.register_forward_pre_hook(lambda module, inputs: states.append(("first", module.training)))
    second.register_forward_pre_hook(lambda module, inputs: states.append(("second", first[2].training)))
    kept = []

    def keep(row):
        kept.append({name: value.clone() for name, value in objective.model.state_dict().items()})
        main = row["stage"] == ""
        assert all((p.grad is not None) == main for p in second.parameters())
        assert [p.requires_grad for p in first.parameters()] == [False, *[not main] * 5]

    start = {name: value.clone() for name, value in objective.model.state_dict().items()}
    run(objective, callback=keep)
    for before, after, own in ((start, kept[1], "first"), (kept[1], kept[3], "second")):
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        assert moved and all(name.startswith(own) or name == "norm.running_mean" for name in moved)
    assert ("first", True) in states and ("second", False) in states and ("second", True) not in states
    assert not first[0].weight.requires_grad and first[3].weight.requires_grad


def test_a_stage_has_its_seed_and_the_main_one_the_runs():
    class Watched(nn.Module):
        def __init__(self, seen):
            super().__init__()
            self.weight, self.seen = nn.Parameter(torch.zeros(16)), seen

        def forward(self, x):
            if self.training:
                self.seen += [x[:, 0].clone(), torch.rand(3)]
            return Loss((x - self.weight).square().mean())

    class Several(Objective):
        def __init__(self, names):
            super().__init__()
            self.model, self.seen = nn.ModuleDict({"a": nn.Linear(1, 1)}), {name: [] for name in names}

        def stages(self):
            drawn = (lambda train: torch.rand(3)) if len(self.seen) > 1 else None  # of which the steps know nothing
            return [Stage(n, Watched(seen), 1 if n else None, begin=drawn) for n, seen in self.seen.items()]

        def forward(self, x):
            raise NotImplementedError

    alone, several = Several([""]), Several(["a", "", "b"])
    run(alone, epochs=1, compile=False)
    run(several, epochs=1, compile=False)
    same = [torch.equal(a, b) for a, b in zip(alone.seen[""], several.seen[""], strict=True)]
    assert len(same) == 6 and all(same)
    for other in ("a", "b"):
        assert not any(torch.equal(a, b) for a, b in zip(several.seen[""], several.seen[other], strict=True))
    assert not torch.equal(several.seen["a"][0], several.seen["b"][0])


def test_each_stage_has_its_own_schedule_and_optimizer():
    rows = run(made(lr_factor=0.5), schedule="linear", warmup=2, lr=0.1).rows
    lrs = {name: [row["lr"] for row in rows if row["stage"] == name] for name in ("data", "")}
    # At steps 3 and 6 of 6, counted from 1: the warm-up is over, 4 steps to 0.
    assert lrs[""] == pytest.approx([0.1, 0.025]) and lrs["data"] == pytest.approx([0.05, 0.0125])


def test_an_early_stage_stops_by_its_own_patience_and_keeps_its_best():
    objective, states = made(patience=1, epochs=50), []
    ends = objective.centre
    objective.centre = lambda train: (states.append(objective(X[:10]).value.item()), ends(train))
    history = run(objective, valid=X[:10], lr=0.3)
    early = [row["valid"]["loss"] for row in history.rows if row["stage"] == "data"]
    assert 2 <= len(early) < 50 and early[-1] >= early[-2] and not history.stopped_early
    assert states[0] == pytest.approx(min(early), rel=1e-5)


def test_listing_the_stages_changes_nothing():
    for model in [*everything("models"), None]:
        objective = (
            made() if model is None else Reconstruction(model) if isinstance(model, models.Autoencoder) else None
        )
        if objective is None:
            continue
        before, noise = {n: v.clone() for n, v in objective.state_dict().items()}, torch.get_rng_state()
        names = [stage.name for stage in objective.stages()]
        assert names[-1] == "" and len({*names}) == len(names)
        assert equal(before, objective) and torch.equal(noise, torch.get_rng_state())


# Killed and resumed


class Killed(BaseException):
    """Stands for a signal that leaves no time for anything."""


@pytest.fixture
def dies(monkeypatch):
    """``dies(n)``: the process ends right before, or right after, it replaces the checkpoint for the n-th time."""

    def arm(n, after):
        count, write = [0], save_checkpoint

        def save(path, state):
            count[0] += 1
            if count[0] == n and not after:
                raise Killed
            write(path, state)
            if count[0] == n:
                raise Killed

        monkeypatch.setattr(folder, "save_checkpoint", save if n else write)

    return arm


def restarted(tmp_path, objective, dies, name="parts", **more):
    """Kill a run at each of its checkpoints, start it again each time; its objective and the calls of all of them."""
    calls, kills, at = [], 0, []
    for n in range(1, 40):
        again = objective()
        dies(2, after=n % 2)
        try:
            run(again, out=tmp_path / name, resume=n > 1, checkpoint_every=1, **more)
        except Killed:
            kills += 1
            at.append(load_checkpoint(tmp_path / name / "checkpoint.pt")["at"])
            calls += getattr(again, "calls", [])
            continue
        dies(0, after=False)
        return again, calls + getattr(again, "calls", []), at
    raise AssertionError(f"not finished after {kills} kills")


@pytest.mark.parametrize("names", ORDERS, ids=["early", "late"])
@pytest.mark.parametrize("captured", [False, True])
def test_a_run_killed_anywhere_ends_with_the_same_bits(tmp_path, dies, names, captured, uncompiled):
    more = {"valid": X[:10], "patience": 2, "accumulate": 2, "compile": captured, "clip": 1.0, "schedule": "cosine"}
    whole = made(names)
    rows = run(whole, **more).rows
    parts, calls, at = restarted(tmp_path, functools.partial(made, names), dies, **more)
    assert {stage for stage, *_ in at} == {0, 1} and any(batch for _, _, batch, _ in at)
    assert equal(whole, parts) and equal(load(tmp_path / "parts", made(names).model), whole.model)
    means = [(row["stage"], row["train"], row["valid"], row["lr"]) for row in rows]
    assert means == [(row["stage"], row["train"], row["valid"], row["lr"]) for row in run_rows(tmp_path / "parts")]
    assert calls.count("end") >= 2


def run_rows(path):
    return RunFolder(path).metrics()


@pytest.mark.parametrize("where", ["end", "between", "begin"])
def test_killed_between_the_end_of_a_stage_and_the_begin_of_the_next(tmp_path, where):
    whole = made()
    run(whole)
    dying = made()
    stages = dying.stages()

    def die(train):
        if where == "end":
            dying.centre(train)
        raise Killed

    early = Stage("data", dying, 2, stages[0].begin, die if where == "end" else stages[0].end)
    main = Stage("", stages[1].objective, None, die if where != "end" else None)
    dying.stages = lambda: [early, main]
    with pytest.raises(Killed):
        run(dying, out=tmp_path / "run", **({"checkpoint_every": 1} if where == "between" else {}))
    assert load_checkpoint(tmp_path / "run/checkpoint.pt")["at"][0] == 0
    again = made()
    run(again, out=tmp_path / "run", resume=True)
    assert equal(whole, again) and again.calls == ["end", "begin", "end"]


def test_begin_is_not_repeated(tmp_path, dies):
    dies(2, after=True)  # the checkpoints: epoch 1 of the first stage, the begin of the second, its epoch 1
    objective = made()
    with pytest.raises(Killed):
        run(objective, out=tmp_path / "run")
    assert objective.calls == ["begin", "end", "begin"]
    assert load_checkpoint(tmp_path / "run/checkpoint.pt")["at"] == [1, 0, 0, 0]
    dies(0, after=False)
    again = made()
    run(again, out=tmp_path / "run", resume=True)
    assert again.calls == ["end"]
    # A finished run repeats the end alone, from the same state.
    finished, before = made(), (tmp_path / "run/weights.safetensors").read_bytes()
    run(finished, out=tmp_path / "run", resume=True)
    assert finished.calls == ["end"] and equal(finished, again)
    assert (tmp_path / "run/weights.safetensors").read_bytes() == before


@pytest.mark.parametrize("names", ORDERS, ids=["early", "late"])
def test_only_the_last_stage_can_be_made_longer(tmp_path, names):
    for name, lengths in (("whole", [4]), ("parts", [2, 4])):
        for epochs in lengths:
            objective = made(names, epochs=epochs) if names[1] else made(names)
            more = {"epochs": 2 if names[1] else epochs, "out": tmp_path / name, "resume": epochs != lengths[0]}
            run(objective, **more)
    assert equal(*(load(tmp_path / name, made().model) for name in ("whole", "parts")))
    longer, words = (made(names), {"epochs": 3}) if names[1] else (made(names, epochs=3), {"epochs": 4})
    first = "the main stage" if names[1] else "stage 'data'"
    with pytest.raises(ValueError, match=f"{first} had 2 epochs .* is now to have 3; only the last stage"):
        run(longer, **words, out=tmp_path / "whole", resume=True)
    with pytest.raises(ValueError, match=r"has the stages .* and the objective now has \['other', ''\]"):
        run(made(("other", "")), epochs=4, out=tmp_path / "whole", resume=True)


def test_a_checkpoint_of_before_there_were_stages_goes_on(tmp_path):
    def small(epochs, **more):
        torch.manual_seed(0)
        objective = Reconstruction(models.Autoencoder(networks.MLP(16, [8]), networks.MLP(2, [8]), 2, 16))
        return fit(objective, X, epochs=epochs, progress=False, batch_size=20, out=tmp_path / "run", **more), objective

    small(2)
    file = tmp_path / "run/checkpoint.pt"
    state = load_checkpoint(file)
    main, optimizers = state.pop("stages")[0], state.pop("optimizers")
    assert main.pop("name") == "" and main.pop("epochs") == 2 and state.pop("stage") is None
    for row in state["rows"]:
        del row["stage"]
    save_checkpoint(file, {**state, **main, "optimizer": optimizers[""], "at": state["at"][1:]})
    history, resumed = small(4, resume=True)
    for path in (tmp_path / "run").iterdir():
        path.unlink()
    _, whole = small(4)
    assert equal(whole, resumed) and [row["stage"] for row in history.rows] == [""] * 4


# Stages of models


def test_pretraining_shows_in_the_rows_and_goes_on_when_killed(tmp_path, dies):
    def stack():
        torch.manual_seed(0)
        model = models.StackedAutoencoder(networks.MLP(16, [7]), networks.MLP(3, [7]), 3, 16, pretrain=2)
        return Reconstruction(model)

    def net():
        torch.manual_seed(0)
        return Reconstruction(models.DeepBeliefNet(3, 16, [7], pretrain=2), "bce")

    for name, make in (("stack", stack), ("net", net)):
        whole = make()
        rows = run(whole).rows
        assert [row["stage"] for row in rows] == ["layer 1"] * 2 + ["layer 2"] * 2 + [""] * 2
        parts, _, at = restarted(tmp_path, make, dies, name)
        assert {stage for stage, *_ in at} == {0, 1, 2} and equal(whole, parts)


def test_a_density_is_the_end_of_the_main_stage():
    model = models.RegularizedAutoencoder(networks.MLP(16, [8]), networks.MLP(2, [8]), 2, 16, components=1)
    stages = Reconstruction(model).stages()
    assert [stage.name for stage in stages] == [""]
    stages[0].end(as_split(X))
    assert torch.allclose(model.prior.means[0], model.encode(X).mean(0), atol=1e-4)


# What cannot be


class Fixed(TwoStage):
    def __init__(self, stages):
        super().__init__()
        self.listed = [Stage(name, self, **more) for name, more in stages]

    def stages(self):
        return self.listed


@pytest.mark.parametrize(
    ("stages", "more", "message"),
    [
        ([("a", {})], {}, r"the main one's being '', and they are \['a'\]"),
        ([("a", {}), ("a", {}), ("", {})], {}, r"different names, .* \['a', 'a', ''\]"),
        ([("", {"epochs": 3})], {}, "the main stage takes epochs, patience and keep from fit"),
        ([("a", {"epochs": 0}), ("", {})], {}, "epochs must be a whole number of at least 1, not 0"),
        ([("a", {"patience": 2}), ("", {})], {}, "patience is 2, but there is no valid data to watch"),
        ([("a", {"lr_factor": 0}), ("", {})], {}, "lr_factor must be a positive number, not 0"),
    ],
)
def test_stages_that_cannot_be(tmp_path, stages, more, message):
    with pytest.raises(ValueError, match=message):
        run(Fixed(stages), out=tmp_path / "run", **more)
    assert not (tmp_path / "run").exists()


def test_what_is_watched():
    class Told(TwoStage):
        watch = ("shrinkage", "max")

        def stages(self):
            return [Stage("", self)]

        def forward(self, x, *_):
            loss = super().forward(x)
            return Loss(loss.value, {"shrinkage": -loss.value.detach()})

    torch.manual_seed(0)
    objective = Told()
    history = run(objective, valid=X[:10], epochs=100, patience=2, lr=0.3)
    values = [row["valid"]["shrinkage"] for row in history.rows]
    assert history.stopped_early and values.index(max(values)) == len(values) - 3
    assert objective(X[:10]).terms["shrinkage"].item() == pytest.approx(max(values), rel=1e-5)
    for watch, message in ((None, "watches no term; use patience=None"), (("loss", "up"), "must be a term and 'min'")):
        objective.watch = watch
        with pytest.raises(ValueError, match=message):
            run(objective, valid=X[:10], patience=2)
    objective.watch = ("elbo", "max")
    with pytest.raises(ValueError, match="watch names the term 'elbo', but the loss has loss, shrinkage"):
        run(objective, valid=X[:10], patience=2)
    with pytest.raises(ValueError, match="was made by torch.compile; give fit the objective itself, and compile=True"):
        run(torch.compile(objective))


def test_a_mean_that_is_no_number_is_null_in_the_metrics(tmp_path):
    class Undefined(TwoStage):
        def stages(self):
            return [Stage("", self)]

        def forward(self, x, *_):
            return Loss(super().forward(x).value, {"ratio": torch.tensor(math.nan)})

    rows = run(Undefined(), out=tmp_path / "run").rows
    lines = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line, parse_constant=pytest.fail)["train"]["ratio"] for line in lines] == [None, None]
    assert math.isnan(RunFolder(tmp_path / "run").metrics()[1]["train"]["ratio"])
    assert math.isnan(rows[1]["train"]["ratio"])
