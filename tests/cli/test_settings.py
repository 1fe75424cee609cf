"""Command line, configuration files and what --print-config writes."""

import json

import pytest
import yaml

from ppl_vae.cli.arguments import UsageError
from ppl_vae.cli.config import to_yaml
from ppl_vae.cli.flags import flags_of
from ppl_vae.cli.settings import settings

LINE = [
    *(
        "--data",
        "digits",
        "--posterior",
        "multivariate-normal",
        "--likelihood",
        "normal",
        "--likelihood.scale",
        "pixel",
    ),
    *("--beta", "linear", "--beta.steps", "50", "--hidden", "32", "16", "--lr", "2e-3", "--clip", "1.5"),
    *("--estimator.num-particles", "3", "--prior.learned", "--no-shuffle", "--out", "runs/x", "--data.valid", "20"),
]


def config_file(tmp_path, content, name="config.yaml"):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_flags_become_values_and_the_rest_are_defaults():
    chosen = settings(LINE)
    assert chosen["hidden"] == [32, 16] and chosen["lr"] == 0.002 and chosen["shuffle"] is False
    assert chosen.options("likelihood") == {"scale": "pixel"}
    assert chosen.options("beta") == {"steps": 50, "start": 0.0, "end": 1.0}
    assert chosen.options("prior") == {"learned": True}
    assert chosen.options("data")["valid"] == 20
    for name, flag in flags_of("train").items():
        if name not in chosen.given and name in chosen.values:
            assert chosen[name] == flag.default


def test_printed_config_reads_back_as_the_same_settings(tmp_path):
    for line in ([], LINE, ["--model", "autoencoder", "--hidden"]):
        chosen = settings(line)
        again = settings(["--config", config_file(tmp_path, to_yaml(chosen.values))])
        assert again.values | {"config": None} == chosen.values


def test_kept_settings_read_back_from_a_runs_config(tmp_path):
    chosen = settings(LINE)
    path = config_file(tmp_path, {"ppl_vae": "0.1.0", "model": {}, "shell": chosen.kept()}, "config.json")
    again = settings(["--config", path])
    assert again.kept() == chosen.kept()
    assert again["out"] is None


def test_the_command_line_wins_over_the_file(tmp_path):
    path = config_file(tmp_path, "epochs: 3\nlr: 1e-2\nlatent_dim: 4\n")
    chosen = settings(["--config", path, "--epochs", "5"])
    assert (chosen["epochs"], chosen["lr"], chosen["latent-dim"]) == (5, 0.01, 4)


def test_nested_dotted_and_snake_case_names_are_one(tmp_path):
    files = [
        "estimator: {name: mean-field-elbo, num_particles: 4}\nbeta: {name: linear, steps: 7}\n",
        "estimator: MeanFieldELBO\nestimator.num-particles: 4\nbeta: linear\nbeta.steps: 7\n",
        "estimator:\n  num-particles: 4\nbeta:\n  name: linear\n  steps: 7\n",
    ]
    read = [settings(["--config", config_file(tmp_path, text)]).values | {"config": None} for text in files]
    assert read[0] == read[1] == read[2]
    assert read[0]["estimator.num-particles"] == 4 and read[0]["beta.steps"] == 7


def test_switches_in_a_file_may_be_on_or_off_and_named_either_way(tmp_path):
    for text in (
        "progress: false\nshuffle: false\ndownload: true",
        "no-progress: true\nno_shuffle: true\ndownload: true",
    ):
        chosen = settings(["--config", config_file(tmp_path, text)])
        assert (chosen["progress"], chosen["shuffle"], chosen["download"]) == (False, False, True)
    path = config_file(tmp_path, "no-progress: false\nresume: true\n")
    chosen = settings(["--config", path, "--no-resume"])
    assert (chosen["progress"], chosen["resume"]) == (True, False)


def test_a_part_named_on_the_command_line_comes_without_the_files_options_for_the_old_one(tmp_path):
    path = config_file(tmp_path, "likelihood: normal\nlikelihood.scale: 0.5\nbeta: linear\nbeta.steps: 9\n")
    chosen = settings(["--config", path, "--likelihood", "bernoulli", "--beta", "2"])
    assert chosen.options("likelihood") == {} and chosen["beta"] == 2.0
    assert settings(["--config", path, "--likelihood", "normal"])["likelihood.scale"] == 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch: 3", "sets epoch, which is unknown (did you mean epochs?)"),
        ("prior: {name: normal, lerned: true}", "sets prior.lerned, which is unknown (did you mean prior.learned?)"),
        ("config: other.yaml", "sets config, which belongs on the command line"),
        ("- a\n- b\n", "must be a mapping"),
        ("a: [1", "is neither YAML nor JSON"),
        ("", "must be a mapping"),
        ("epochs: many", "--epochs takes none or a whole number, not many"),
        ("ppl_vae: 0.1.0\nshell: null", "was not made by ppl-vae train"),
        ("prior: nromal", "--prior nromal is unknown; choose from"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path, text, message):
    with pytest.raises(UsageError) as caught:
        settings(["--config", config_file(tmp_path, text)])
    assert message in str(caught.value)


def test_the_yaml_is_yaml():
    chosen = settings(LINE)
    values = {k: list(v) if isinstance(v, tuple) else v for k, v in chosen.values.items()}
    assert yaml.safe_load(to_yaml(values)) == values


def test_whether_to_compile_is_a_word():
    assert settings([])["compile"] == "auto"
    for word, value in (("auto", "auto"), ("true", True), ("false", False)):
        assert settings(["--compile", word])["compile"] is value or value == "auto"
    with pytest.raises(UsageError, match="--compile takes true or false or auto, not maybe"):
        settings(["--compile", "maybe"])
