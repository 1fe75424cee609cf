"""Training models with integer codes: captured, in half precision, killed and resumed, and in several processes."""

import pytest
import torch
from instances import vqvae2
from training.test_stages import Killed

from ppl_vae import Reconstruction, code_priors, fit, likelihoods, models, networks, quantizers
from ppl_vae.quantizers import joint
from ppl_vae.training import folder
from ppl_vae.training.checkpoint import load_checkpoint, save_checkpoint

SHAPE = (1, 4, 4)
X = torch.rand(50, *SHAPE, generator=torch.Generator().manual_seed(1)).round()
OPTIONS = {"epochs": 3, "batch_size": 14, "progress": False, "seed": 4, "lr": 0.01}


def grid(quantizer, prior=None):
    return models.VQVAE(
        networks.Conv(SHAPE, [5], flatten=False),
        quantizer,
        likelihoods.Bernoulli(networks.ConvTranspose((quantizer.dim, 2, 2), [5], SHAPE), SHAPE),
        prior,
    )


MAKE = {
    "ema": lambda prior: grid(quantizers.VectorQuantizer(6, 3, revive=0.6), prior),
    "gradient": lambda prior: grid(quantizers.VectorQuantizer(6, 3, update="gradient", revive=0.6), prior),
    "rotation": lambda prior: grid(quantizers.VectorQuantizer(6, 3, gradient="rotation", metric="cosine"), prior),
    "finite scalar": lambda prior: grid(quantizers.FiniteScalarQuantizer((3, 2)), prior),
    "two levels": lambda prior: vqvae2(quantizers.ResidualQuantizer(5, 2, 2, revive=0.6), code_prior=prior),
}


def made(name, dropout=0.1):
    torch.manual_seed(0)
    return Reconstruction(MAKE[name](code_priors.Transformer(8, 1, 2, dropout)))


def equal(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


QUICK = [("ema", "bf16"), ("gradient", "fp32")]
CASES = [(name, precision) for name in MAKE for precision in ("fp32", "bf16") if (name, precision) not in QUICK]
CAPTURED = [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in CASES)]


@pytest.mark.parametrize(("name", "precision"), CAPTURED)
def test_captured_steps_of_both_stages_have_the_bits_of_eager_ones(uncompiled, name, precision):
    runs = []
    for captured in (True, False):
        objective = made(name)
        history = fit(objective, X, X[:10], compile=captured, precision=precision, **OPTIONS)
        assert history.steps == ("captured" if captured else "eager")
        runs.append((objective, [(row["stage"], row["train"], row["valid"]) for row in history.rows]))
    assert len(uncompiled) == 2  # of each stage
    assert equal(runs[0][0], runs[1][0]) and runs[0][1] == runs[1][1]
    assert all(torch.tensor([*row[1].values()]).isfinite().all() for row in runs[0][1])
    before = made(name).model.quantizer.state_dict()
    assert any(not torch.equal(value, before[key]) for key, value in runs[0][0].model.quantizer.state_dict().items())


@pytest.fixture
def dies(monkeypatch):
    """``dies(stage)``: the process ends right after a checkpoint within an epoch of that stage; never for None."""

    def arm(stage):
        def save(path, state):
            save_checkpoint(path, state)
            if state["at"][0] == stage and state["at"][2] > 0:
                raise Killed

        monkeypatch.setattr(folder, "save_checkpoint", save)

    return arm


KILLED = [(name, False) for name in ("ema", "gradient", "two levels")]
KILLED += [pytest.param(name, True, marks=pytest.mark.slow) for name, _ in KILLED]


@pytest.mark.parametrize(("name", "captured"), KILLED)
def test_killed_at_a_step_of_either_stage_it_ends_with_the_same_bits(tmp_path, dies, uncompiled, name, captured):
    more = {"checkpoint_every": 3, "compile": captured, **OPTIONS, "epochs": 2}  # of 4 steps an epoch
    whole = made(name)
    fit(whole, X, X[:10], **more)
    for stage in (0, 1):
        dies(stage)
        with pytest.raises(Killed):
            fit(made(name), X, X[:10], out=tmp_path / "run", resume=stage > 0, **more)
    dies(None)
    again = made(name)
    fit(again, X, X[:10], out=tmp_path / "run", resume=True, **more)
    assert equal(whole, again)


def test_codes_are_revived_before_a_checkpoint(tmp_path):
    """Of a run that is interrupted between two steps, where every step finds dead codes."""

    class Stops(Reconstruction):
        steps = 0

        def forward(self, *batch):
            self.steps += self.training
            if self.steps == stop:
                raise Killed
            return super().forward(*batch)

    def run(out, **more):
        torch.manual_seed(0)
        objective = Stops(MAKE["gradient"](None))
        with torch.no_grad():
            objective.model.quantizer.codebook[3:] += 100  # far from all vectors
        fit(objective, X, out=tmp_path / out, checkpoint_every=1, compile=False, **OPTIONS, **more)
        return objective

    stop = 9
    with pytest.raises(Killed):
        run("parts")
    kept = load_checkpoint(tmp_path / "parts/checkpoint.pt")["objective"]
    assert kept["model.quantizer.candidates"].any()  # some were revived
    assert not kept["model.quantizer.dead"].any()
    stop = -1
    assert equal(run("parts", resume=True), run("whole"))


# Several processes


@pytest.fixture
def in_two(monkeypatch):
    """What one of two processes does, the other having no examples: it joins the batches between two steps."""
    monkeypatch.setattr(joint, "processes", lambda: 2)
    monkeypatch.setattr(joint, "summed", lambda tensors: [tensor.clone() for tensor in tensors])
    monkeypatch.setattr(joint, "first", lambda tensors: [tensor.clone() for tensor in tensors])


@pytest.mark.parametrize("name", ["ema", "gradient", "two levels"])
def test_what_waits_for_other_processes_is_learned_before_a_checkpoint(tmp_path, dies, in_two, name):
    more = {"checkpoint_every": 3, "compile": False, **OPTIONS, "epochs": 1}
    whole = made(name)
    fit(whole, X, **more)
    dies(0)  # after step 3 of 4
    with pytest.raises(Killed):
        fit(made(name), X, out=tmp_path / "parts", **more)
    dies(None)
    again = made(name)
    fit(again, X, out=tmp_path / "parts", resume=True, **more)
    assert equal(whole, again)


def test_waiting_for_other_processes_changes_nothing_else(in_two, monkeypatch):
    """The codebook of one process, in forward or between two steps; validation and the last step included."""
    waited, rows = made("ema", 0.0), []
    rows += fit(waited, X, X[:10], compile=False, **OPTIONS).rows
    assert waited.model.quantizer._deferred
    monkeypatch.undo()
    alone = made("ema", 0.0)
    rows += fit(alone, X, X[:10], compile=False, **OPTIONS).rows
    assert not alone.model.quantizer._deferred and equal(waited, alone)
    half = len(rows) // 2
    for a, b in zip(rows[:half], rows[half:], strict=True):
        assert a["valid"] == b["valid"] and a["train"]["loss"] == b["train"]["loss"]
