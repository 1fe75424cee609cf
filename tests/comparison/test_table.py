"""The table: means and errors over seeds, and files that say the same."""

import csv
import json
import math
import statistics

import pytest

from ppl_vae.comparison import plots, report
from ppl_vae.comparison.settings import settings_of
from ppl_vae.comparison.table import Table, mean_and_error


def row(setting, seed, value=None, error=None, **more):
    return {"cell": f"{setting}-{seed}", "setting": setting, "seed": seed, "prior": setting, "error": error,
            "log_likelihood": value, **more}  # fmt: skip


def table(path, *rows):
    return Table(list(rows), ("prior", "seed"), path)


def test_means_and_standard_errors_are_those_of_the_seeds_that_succeeded(tmp_path):
    values = [-91.0, -92.5, -90.0]
    rows = [row("a", i, v) for i, v in enumerate(values)] + [row("a", 3, error="no"), row("b", 0, -80.0)]
    best, other = table(tmp_path, *rows).means
    assert best["setting"] == "b" and best["log_likelihood"] == -80 and best["log_likelihood_stderr"] is None
    assert other["seeds"] == 3
    assert other["log_likelihood"] == pytest.approx(statistics.mean(values))
    assert other["log_likelihood_stderr"] == pytest.approx(statistics.stdev(values) / math.sqrt(3))


def test_settings_without_a_likelihood_come_last(tmp_path):
    rows = [row("ae", 0, None, reconstruction_error=3.0), row("nan", 0, math.nan), row("vae", 0, -99.0)]
    assert table(tmp_path, *rows).means[0]["setting"] == "vae"


@pytest.mark.parametrize("values", [[], [None], [math.nan]])
def test_what_is_not_known_has_no_mean(values):
    assert mean_and_error(values) == (None, None)


def test_a_mean_of_some_of_the_seeds_says_so(tmp_path):
    values, elbos = (-91.0, math.nan, -93.0), (-95.0, -96.0, -97.0)
    made = table(tmp_path, *(row("a", i, v, elbo=e) for i, (v, e) in enumerate(zip(values, elbos, strict=True))))
    (mean,) = made.means
    assert mean["log_likelihood"] == -92 and mean["log_likelihood_seeds"] == 2 and mean["seeds"] == 3
    assert "elbo_seeds" not in mean
    assert "-92.00 +- 1.00 (2 of 3 seeds)" in str(made) and "-96.00 +- 0.58\n" in f"{made}\n"


def test_a_course_is_drawn_where_every_seed_has_the_figure(tmp_path):
    history = lambda *values: [  # noqa: E731
        {"epoch": i, "step": i, "seconds": 1.0, "test": {"elbo": v}} for i, v in enumerate(values)
    ]
    rows = [row("a", 0, history=history(-9.0, -8.0, -7.0)), row("a", 1, history=history(-9.0, None, -7.0))]
    (line,) = plots.lines(rows, "elbo", "step", ["a"])
    assert line.x == [0, 2] and line.y == [-9.0, -7.0]
    assert plots.lines(rows, "snr_encoder", "step", ["a"]) == []


@pytest.mark.parametrize(("khat", "particles", "words"), [
    (0.6, 100, "Median Pareto k-hat is above 0.5 for a: the true value may be higher there."),
    (0.6, 5000, ""),
    (None, 100, "Pareto k-hat is not defined for a: nothing says how far log p(x) can be trusted there."),
])  # fmt: skip
def test_the_page_says_whose_log_likelihood_is_not_to_be_trusted(tmp_path, khat, particles, words):
    made = table(tmp_path, row("a", 0, -91.0, khat=khat, num_particles=particles), row("b", 0, error="no"))
    assert " ".join(report._trust(made)) == words


def test_files_hold_every_cell_and_undefined_figures_are_empty(tmp_path):
    made = table(tmp_path, row("a", 0, -91.25, khat=math.nan), row("b", 0, error="it, as a sentence"))
    made.write()
    with open(tmp_path / "table.csv", newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["prior"], first["seed"], first["log_likelihood"], first["khat"]) == ("a", "0", "-91.25", "")
    assert second["error"] == "it, as a sentence" and second["log_likelihood"] == ""
    content = json.loads((tmp_path / "table.json").read_text(), parse_constant=pytest.fail)
    assert content["axes"] == ["prior", "seed"]
    assert [cell["error"] for cell in content["cells"]] == [None, "it, as a sentence"]
    assert [mean["setting"] for mean in content["means"]] == ["a"]
    assert made.failed == [made.rows[1]]


def judged(name, serious=True):
    return [{"name": name, "sentence": f"It is {name}.", "advice": "more", "serious": serious}]


def test_doubtful_settings_come_last_and_are_marked(tmp_path):
    made = table(
        tmp_path,
        row("collapsed", 0, -80.0, gap=0.0, verdicts=judged("collapsed")),
        row("half", 0, -81.0), row("half", 1, -81.0, verdicts=judged("untrusted")),
        row("short", 0, -90.0, verdicts=judged("undertrained", serious=False)),
        row("sound", 0, -95.0), row("sound", 1, -95.5),
    )  # fmt: skip
    assert [mean["setting"] for mean in made.means] == ["short", "sound", "collapsed", "half"]
    assert made.best == "short" and "come after the others." in made.choice
    said = str(made).splitlines()
    assert said[1].endswith("best, undertrained") and said[3].endswith("  collapsed")
    assert said[4].endswith("untrusted (1 of 2 seeds)") and "half, seed 1: It is untrusted. Try: more." in said
    made.write()
    content = json.loads((tmp_path / "table.json").read_text())
    assert content["best"] == "short" and [m["doubtful"] for m in content["means"]] == [False, False, True, True]
    assert content["means"][3]["verdicts"] == {"untrusted": 1} and content["choice"] == made.choice
    with open(tmp_path / "table.csv", newline="") as file:
        assert [line["verdicts"] for line in csv.DictReader(file)][:3] == ["collapsed", "", "untrusted"]


def test_where_none_is_sound_none_is_best(tmp_path):
    made = table(tmp_path, *(row(name, 0, value, verdicts=judged("collapsed")) for name, value in
                             (("a", -80.0), ("b", -81.0))))  # fmt: skip
    assert [mean["setting"] for mean in made.means] == ["a", "b"] and made.best is None
    assert "no setting is without" in made.choice and "best" not in str(made)
    page = report._settings(made, made.means)
    assert [(setting["best"], setting["marks"]) for setting in page] == [(False, "collapsed")] * 2


def test_the_best_is_chosen_on_validation_and_reported_on_test(tmp_path):
    rows = [row("lucky", 0, -80.0, valid_log_likelihood=-99.0), row("good", 0, -81.0, valid_log_likelihood=-85.0)]
    made = table(tmp_path, *rows)
    assert made.best == "good" == made.means[0]["setting"] and made.means[0]["log_likelihood"] == -81.0
    assert made.choice == "Settings are ranked by validation examples and reported on test examples."
    made = table(tmp_path, rows[0], {**rows[1], "valid_log_likelihood": None})
    assert made.best == "lucky" and "by the same test examples that are reported" in made.choice


def test_all_settings_are_shown_those_that_differ_apart(tmp_path):
    for name, beta in (("a", 1.0), ("b", 4.0)):
        folder = tmp_path / name
        folder.mkdir()
        prior = {"class": "priors.Normal", "dim": 2, "learned": False}
        own = {"class": None, "custom": "mine.Own"}
        config = {
            "model": {"class": "models.VAE", "prior": prior, "likelihood": own},
            "objective": {"class": "objectives.SVI", "beta": beta},
            "data": None, "training": {"lr": 0.001, "clip": None, "seed": 3, "device": "cpu", "capture": True},
        }  # fmt: skip
        (folder / "config.json").write_text(json.dumps(config))
    settings = {name: settings_of(tmp_path / name) for name in "ab"}
    made = Table([row("a", 0, -1.0), row("b", 0, -2.0)], ("seed",), tmp_path, settings)
    shown = report._all_settings(made, made.means)
    assert shown["names"] == ["objective.beta"] and shown["differing"] == [("a", ["1"]), ("b", ["4"])]
    assert shown["same"] == {
        "model": "models.VAE", "model.prior": "priors.Normal", "model.prior.dim": "2", "model.prior.learned": "false",
        "model.likelihood": "mine.Own", "objective": "objectives.SVI", "training.lr": "0.001", "training.clip": "none",
    }  # fmt: skip
    assert settings_of(tmp_path / "none") == {}
