"""``ppl-vae compare`` and ``ppl_vae.compare``: the grid, the cells, and what is left when something goes wrong."""

import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

import ppl_vae
from ppl_vae.cli import main
from ppl_vae.cli.arguments import words
from ppl_vae.cli.build import build_objective, load_data
from ppl_vae.cli.grid import grid
from ppl_vae.cli.settings import settings
from ppl_vae.comparison import work as module

SMALL = ["--hidden", "8", "--latent-dim", "2", "--epochs", "1", "--limit", "20", "--num-particles", "10"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Few gradients, and no pictures but in other processes."""
    monkeypatch.setattr("ppl_vae.comparison.figures.REPEATS", 4)
    monkeypatch.setattr("ppl_vae.comparison.figures.LAST_REPEATS", 4)
    monkeypatch.setattr("ppl_vae.comparison.report.write", lambda *_, **__: None)


def cells(line):
    return grid(words("compare", line.split()))


def labels(line):
    return [cell.label for cell in cells(line)]


def shell(*argv):
    return main(["compare", *SMALL, "--no-progress", *map(str, argv)])


def error_of(capsys, *argv):
    capsys.readouterr()
    assert shell(*argv) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("ppl-vae: error: ") and err.count("\n") == 1, err
    return err


def content(out):
    return json.loads((out / "table.json").read_text())


def weights(out, name):
    return (out / "cells" / name / "weights.safetensors").read_bytes()


# The grid


def test_cells_are_the_product_of_the_axes():
    found = cells("--estimator trace-elbo mean-field-elbo --prior normal laplace --beta 1 4 --seed 0 1 2")
    assert len(found) == 24 and len({cell.name for cell in found}) == 24
    assert {(c.settings["estimator"], c.settings["prior"], c.settings["beta"]) for c in found} == {
        (e, p, b) for e in ("trace-elbo", "mean-field-elbo") for p in ("normal", "laplace") for b in (1.0, 4.0)
    }
    assert all(set(cell.axes) == {"estimator", "prior", "beta", "seed"} for cell in found)


def test_options_behind_a_colon_are_those_of_that_cell():
    found = cells("--prior normal:learned=true mixture-of-gaussians:components=3 laplace")
    assert [cell.settings.options("prior").get("components") for cell in found] == [None, 3, None]
    assert [cell.settings.options("prior").get("learned") for cell in found][0] is True
    typed = settings("--prior mixture-of-gaussians --prior.components 3".split())
    assert found[1].settings == typed


def test_an_option_axis_passes_over_the_parts_that_lack_it_and_equal_cells_are_one():
    found = cells("--prior normal mixture-of-gaussians --prior.components 2 3 4")
    assert [cell.label for cell in found] == ["normal", *(f"mixture-of-gaussians, components {n}" for n in (2, 3, 4))]
    assert labels("--seed 0 0 0") == ["mean-field-elbo"]


def test_an_option_behind_a_colon_wins_over_its_axis():
    found = cells("--estimator trace-elbo:num-particles=7 mean-field-elbo --estimator.num-particles 1 2")
    assert [cell.settings["estimator.num-particles"] for cell in found] == [7, 1, 2]


@pytest.mark.parametrize(
    ("line", "hidden"),
    [
        ("--hidden 200 100", [[200, 100]]),
        ("--hidden 200,100 50", [[200, 100], [50]]),
        ("--hidden 200,100", [[200, 100]]),
        ("", [None]),
    ],
)
def test_a_flag_of_many_words_is_an_axis_by_commas(line, hidden):
    assert [cell.settings["hidden"] for cell in cells(line)] == hidden


def test_schedules_numbers_switches_and_roles_that_a_model_lacks():
    assert labels("--beta 1 linear:steps=10") == ["beta 1", "beta linear, steps 10"]
    assert [cell.settings["shuffle"] for cell in cells("--shuffle true false")] == [True, False]
    assert labels("--model vae autoencoder --prior normal laplace") == ["vae · normal", "vae · laplace", "autoencoder"]


@pytest.mark.parametrize(
    "line",
    [
        "--shuffle true false",
        "--prior normal normal:learned=true",
        "--beta linear --beta.steps 5 10",
        "--beta 1 linear:steps=5 linear:steps=50",
        "--hidden 8,4 84 --lr 0.1 0.01",
        "--estimator trace-elbo trace-elbo:num-particles=5 mean-field-elbo --prior normal flow flow:transforms=1",
        "--seed 0 1 2",
    ],
)
def test_names_and_labels_tell_every_setting_apart(line):
    found = cells(line)
    assert len({cell.name for cell in found}) == len({(cell.label, cell.axes["seed"]) for cell in found}) == len(found)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--prior norml laplace", "did you mean normal"),
        ("--estimator trace-elbo:particles=3", "estimator.particles is no option of --estimator trace-elbo"),
        ("--prior normal laplace --prior.components 3", "prior.components is no option of --prior"),
        ("--prior normal:", "ends in a colon"),
        ("--prior normal:learned", "write normal:OPTION=VALUE"),
        ("--model autoencoder --prior normal laplace", "does not apply to --model autoencoder"),
        ("--seed 0 x", "--seed takes a whole number, not x"),
        ("--data digits mnist", "--data takes one data set"),
        ("--piror normal", "--piror is unknown (did you mean --prior?)"),
        ("--jobs 1 2", "--jobs takes a whole number, not 1 2"),
        ("--jobs 0", "--jobs must be a whole number of at least 1"),
        ("--backend slurm", "--backend takes loky or dask or ray, not slurm"),
        ("--epochs 1 0", "epochs must be a whole number of at least 1"),
        ("--data nosuch", "nosuch"),
        ("--lr 0.1 -1", "lr"),
    ],
)
def test_every_word_is_checked_before_anything_is_done(line, words, tmp_path, capsys):
    assert words in error_of(capsys, *line.split(), "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_wrong_word_costs_no_import_of_torch():
    code = "import sys; from ppl_vae.cli import main; main({}); assert 'torch' not in sys.modules"
    for argv in (["compare", "--help"], ["compare", "--prior", "x", "normal"]):
        assert subprocess.run([sys.executable, "-c", code.format(argv)], capture_output=True).returncode == 0


def test_a_configuration_file_is_a_grid(tmp_path):
    file = tmp_path / "grid.yaml"
    file.write_text("prior: [normal, 'mixture-of-gaussians:components=3']\nhidden: [[8, 4], [6]]\nepochs: 2\n")
    from ppl_vae.cli.flags import flags_of
    from ppl_vae.cli.settings import with_file

    given = dict(with_file(words("compare", ["--config", str(file), "--epochs", "3"]), flags_of("compare")))
    given.pop("config")
    found = [cell.settings for cell in grid(given)]
    assert [(s["prior"], s["hidden"], s["epochs"]) for s in found] == [
        (prior, hidden, 3) for prior in ("normal", "mixture-of-gaussians") for hidden in ([8, 4], [6])
    ]


# What starts equal


def state(line):
    chosen = settings(["--data", "digits", "--hidden", "8", "--latent-dim", "3", *line.split()])
    return build_objective(chosen, load_data(chosen)).model.state_dict()


@pytest.mark.parametrize(
    "line",
    [
        "--prior mixture-of-gaussians --posterior normal",
        "--prior flow --posterior normal",
        "--prior vamp-prior --posterior normal",
        "--prior student-t --posterior normal",
        "--estimator trace-elbo --estimator.num-particles 5",
        "--beta linear --beta.steps 10",
        "--beta 4",
    ],
)
def test_cells_of_one_seed_start_equal(line):
    one, other = state(""), state(line)
    shared = [name for name in one if name.split(".")[0] in ("posterior", "likelihood")]
    assert len([name for name in shared if one[name].dim() > 1]) >= 4
    for name in shared:
        assert torch.equal(one[name], other[name]), name
    different = state(f"{line} --seed 1")
    assert not any(torch.equal(one[name], different[name]) for name in shared if one[name].dim() > 1)


def test_cells_of_one_seed_see_the_same_batches(tmp_path, monkeypatch):
    from ppl_vae.objectives import SVI

    seen = []
    forward = SVI.forward
    monkeypatch.setattr(SVI, "forward", lambda self, *batch: seen.append(batch[0].clone()) or forward(self, *batch))
    monkeypatch.setattr("ppl_vae.comparison.figures.warm_up", lambda *_: None)
    assert shell("--out", tmp_path / "out", "--prior", "normal", "mixture-of-gaussians") == 0
    half = len(seen) // 2
    assert half > 5 and all(torch.equal(a, b) for a, b in zip(seen[:half], seen[half:], strict=True))


def test_a_cell_is_what_train_makes_of_the_same_flags(tmp_path):
    assert shell("--out", tmp_path / "out", "--estimator", "trace-elbo:num-particles=2", "mean-field-elbo") == 0
    line = "train --hidden 8 --latent-dim 2 --epochs 1 --no-progress --no-report --quiet --estimator trace-elbo"
    assert main([*line.split(), "--estimator.num-particles", "2", "--out", str(tmp_path / "run")]) == 0
    same = (tmp_path / "run" / "weights.safetensors").read_bytes()
    assert weights(tmp_path / "out", "trace-elbo-num-particles-2_seed-0") == same


# Running


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A grid of two priors, one of which goes with no Normal posterior, and two seeds, in two processes."""
    out = tmp_path_factory.mktemp("compare") / "out"
    argv = ["compare", *SMALL, "--prior", "normal", "beta", "--posterior", "normal", "--seed", "0", "1"]
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(io.StringIO()) as err:
        assert main([*argv, "--jobs", "2", "--out", str(out)]) == 0
    return out, said.getvalue(), err.getvalue()


def test_a_cell_that_fails_does_not_stop_the_others(made):
    out, said, err = made
    assert "4 cells, 2 of which failed" in said and "Traceback" not in err
    assert err == "" and said.count(", seed ") == 4  # no bar in a log file, but a line a cell
    found = {cell["cell"]: cell for cell in content(out)["cells"]}
    assert len(found) == 4
    for seed in (0, 1):
        failed, fine = found[f"mean-field-elbo_beta_seed-{seed}"], found[f"mean-field-elbo_normal_seed-{seed}"]
        assert failed["error"].startswith("posterior Normal lives on the reals, but prior Beta")
        assert fine["error"] is None and fine["steps"] == 12 and fine["n"] == 20 and fine["num_particles"] == 10
        assert fine["gap"] == pytest.approx(fine["log_likelihood"] - fine["elbo"])
        assert 0 < fine["log_likelihood_mc_error"] < 1 and "log_likelihood_stderr" not in fine
        assert fine["seconds_per_step"] == pytest.approx(fine["seconds"] / 12)
        assert 0 <= fine["memory_mib"] < 60 and fine["snr_encoder"] is not None and fine["snr_decoder"] > 0
        assert fine["history"][-1]["test"].keys() >= {"log_likelihood", "elbo", "gap", "snr_encoder", "snr_decoder"}
    (mean,) = content(out)["means"]
    values = [found[f"mean-field-elbo_normal_seed-{seed}"]["log_likelihood"] for seed in (0, 1)]
    assert mean["seeds"] == 2 and mean["prior"] == "normal"
    assert mean["log_likelihood_stderr"] == pytest.approx(abs(values[0] - values[1]) / 2)
    with open(out / "table.csv", newline="") as file:
        assert [row["prior"] for row in csv.DictReader(file)] == ["normal", "normal", "beta", "beta"]


def test_the_report_shows_the_means_the_failures_and_the_way_to_do_it_again(made):
    page = (made[0] / "report.html").read_text()
    assert "Comparison on digits" in page and "posterior Normal lives on the reals" in page
    assert page.count("<figure>") == 12 and "http" not in page.replace("http://www.w3.org", "")
    assert "ppl-vae compare --hidden 8" in page and "--prior normal beta" in page
    mean = content(made[0])["means"][0]["log_likelihood"]
    assert f"{mean:.2f}".replace("-", "\N{MINUS SIGN}") in page


def test_again_does_only_what_is_left(made, capsys, monkeypatch):
    out = made[0]
    stamps = {file: file.stat().st_mtime_ns for file in out.glob("cells/*/weights.safetensors")}
    done = []
    train = module.train
    monkeypatch.setattr(module, "train", lambda cell, *given: done.append(cell.name) or train(cell, *given))
    grown = ["--prior", "normal", "laplace", "--posterior", "normal", "--seed", "0", "1"]
    assert shell("--out", out, *grown) == 0
    assert len(stamps) == 2 and all(file.stat().st_mtime_ns == stamp for file, stamp in stamps.items())
    assert len(done) == 2 and len(content(out)["cells"]) == 4
    done.clear()
    assert shell("--out", out, *grown) == 0 and done == []


def test_more_particles_measure_again_and_train_nothing(made, monkeypatch):
    out = made[0]
    file = out / "cells" / "mean-field-elbo_normal_seed-0"
    before = (file / "weights.safetensors").read_bytes(), json.loads((file / "result.json").read_text())
    argv = ["compare", *SMALL[:-2], "--num-particles", "30", "--no-progress", "--posterior", "normal"]
    assert main([*argv, "--prior", "normal", "--out", str(out)]) == 0
    after = json.loads((file / "result.json").read_text())
    assert (file / "weights.safetensors").read_bytes() == before[0]
    assert after["outcome"]["num_particles"] == 30
    for name in ("memory_mib", "seconds", "threads", "history"):
        assert after["outcome"][name] == before[1]["outcome"][name]


def test_other_settings_in_the_same_place_are_refused(tmp_path, capsys):
    assert shell("--out", tmp_path / "out", "--quiet") == 0
    said = error_of(capsys, "--out", tmp_path / "out", "--lr", "0.01")
    assert "lr was 0.001 and is now 0.01 in the cell" in said and "name a new --out" in said


def test_a_defect_of_ours_is_a_failed_cell_too(tmp_path, capsys, monkeypatch):
    def broken(*_, **__):
        return {}["no such key"]

    monkeypatch.setattr("ppl_vae.comparison.figures.final", broken)
    said = error_of(capsys, "--out", tmp_path / "out")
    assert "all 1 cells failed, the first with: KeyError: 'no such key' (at test_compare.py:" in said
    assert "broken)" in content(tmp_path / "out")["cells"][0]["error"]


def test_autoencoders_are_compared_by_their_squared_error(tmp_path, capsys):
    assert shell("--out", tmp_path / "out", "--model", "vae", "autoencoder") == 0
    assert "squared error" in capsys.readouterr().out
    found = {cell["model"]: cell for cell in content(tmp_path / "out")["cells"]}
    assert found["autoencoder"]["reconstruction_error"] > 0
    assert found["autoencoder"].get("log_likelihood") is None and found["vae"]["log_likelihood"] < 0


def test_ctrl_c_keeps_the_finished_cells(tmp_path, capsys, monkeypatch):
    train = module.train

    def stopped(cell, *given):
        if cell.fit["seed"] == 1:
            raise KeyboardInterrupt
        return train(cell, *given)

    monkeypatch.setattr(module, "train", stopped)
    argv = ["compare", *SMALL, "--no-progress", "--seed", "0", "1", "2", "--out", str(tmp_path / "out")]
    assert main(argv) == 130
    assert "stopped; the same command goes on where this one stopped" in capsys.readouterr().err
    assert [cell["seed"] for cell in content(tmp_path / "out")["cells"]] == [0]


@pytest.mark.slow
def test_ctrl_c_in_the_middle_of_cells_costs_no_bit_of_them(tmp_path):
    def argv(out):
        shape = ["--hidden", "8", "--latent-dim", "2", "--epochs", "30", "--limit", "20", "--num-particles", "10"]
        return [sys.executable, "-m", "ppl_vae", "compare", *shape, "--seed", "0", "1", "--jobs", "2", "--out", out]

    out = tmp_path / "out"
    process = subprocess.Popen(
        argv(str(out)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not all((out / f"cells/mean-field-elbo_seed-{i}/metrics.jsonl").exists() for i in (0, 1)):
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command goes on where this one stopped" in err
    assert "Traceback" not in err
    assert (out / "table.csv").exists() and not list(out.glob("cells/*/result.json"))
    done = subprocess.run(argv(str(out)), capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    whole = subprocess.run(argv(str(tmp_path / "whole")), capture_output=True, text=True, timeout=200)
    assert whole.returncode == 0, whole.stderr
    for i in (0, 1):
        assert weights(out, f"mean-field-elbo_seed-{i}") == weights(tmp_path / "whole", f"mean-field-elbo_seed-{i}")


# From Python


def test_from_python(tmp_path):
    table = ppl_vae.compare(
        out=tmp_path / "out", prior=["normal", "mixture-of-gaussians:components=3"], seed=[0, 1], hidden=[8, 4],
        axes={"estimator.num-particles": 2}, latent_dim=2, epochs=1, limit=20, num_particles=10, progress=False,
    )  # fmt: skip
    assert len(table.rows) == 4 and len(table.means) == 2 and table.failed == []
    assert {mean["prior"] for mean in table.means} == {"normal", "mixture-of-gaussians"}
    assert content(tmp_path / "out")["means"][0]["setting"] == table.means[0]["setting"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"pryor": "normal"}, "did you mean prior"),
        ({"jobs": 0}, "--jobs must be a whole number of at least 1, not 0"),
        ({"backend": "slurm"}, "backend 'slurm' is unknown; choose from dask, loky, ray"),
        ({"prior": ["normal", "lapace"]}, "did you mean laplace"),
        ({"resume": True}, "resume is no flag"),
    ],
)
def test_mistakes_in_python_are_one_sentence(flags, words, tmp_path):
    with pytest.raises(ValueError, match=".") as caught:
        ppl_vae.compare(out=tmp_path / "out", **flags)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
