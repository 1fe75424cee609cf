"""Categorical codes from the shell: groups, enumeration, and a temperature that falls."""

import pytest

import ppl_vae
from ppl_vae.cli import main
from ppl_vae.cli.settings import settings

TRAIN = ["train", "--latent-dim", "6", "--hidden", "8", "--no-progress", "--no-report"]
GROUPS = [*TRAIN, "--prior", "one-hot-categorical", "--prior.groups", "2"]
COOLED = ["--posterior", "gumbel-softmax", "--posterior.end-temperature", "0.2", "--posterior.steps", "20"]


def test_a_cooled_run_and_its_configuration(tmp_path):
    out = tmp_path / "run"
    assert main([*GROUPS, *COOLED, "--epochs", "1", "--out", str(out)]) == 0
    made = ppl_vae.load(out)
    assert type(made.posterior).__name__ == "GumbelSoftmax" and made.posterior.groups == 2
    assert made.posterior.temperature.item() == pytest.approx(1 - 0.8 * 11 / 20)  # the last of twelve steps
    again = settings(["--config", str(out / "config.json")])
    assert again.options("posterior") == {"temperature": 1.0, "groups": None, "end_temperature": 0.2, "steps": 20}


def test_the_natural_posterior_has_the_priors_groups(tmp_path):
    assert main([*GROUPS, "--estimator", "enum", "--epochs", "1", "--out", str(tmp_path / "run")]) == 0
    made = ppl_vae.load(tmp_path / "run")
    assert made.posterior.arguments["groups"] == 2 and type(made.posterior).__name__ == "OneHotCategorical"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--posterior", "gumbel-softmax", "--posterior.groups", "3"], "posterior has groups=3, but the prior has"),
        (["--posterior", "gumbel-softmax", "--posterior.steps", "3"], "steps is the time until end_temperature"),
        (["--posterior", "gumbel-softmax", "--estimator", "iwae"], "IWAE would need it; use MeanFieldELBO"),
        (["--prior.groups", "4"], "groups is 4, but the 6 entries of the code"),
        (["--estimator", "enum", "--latent-dim", "64", "--prior.groups", "8"], "joint values (8^8 of z)"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(more, message, tmp_path, capsys):
    assert main([*GROUPS, *more, "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not (tmp_path / "run").exists()
