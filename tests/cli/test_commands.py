"""The commands on real runs: small ones, on the digits."""

import json
import resource
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import ppl_vae
from ppl_vae.cli import main

SMALL = ["--hidden", "16", "--latent-dim", "2", "--epochs", "1", "--no-progress", "--no-report"]
KEYS = {
    *("log_likelihood", "log_likelihood_stderr", "elbo", "reconstruction", "kl", "bits_per_dim", "active_units", "n")
}


def weights(run):
    return ppl_vae.load(run).state_dict()


def error_of(capsys, argv):
    capsys.readouterr()
    assert main([str(word) for word in argv]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("ppl-vae: error: ") and err.count("\n") == 1, err
    return err


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shell") / "run"
    assert main(["train", "--data", "digits", "--out", str(folder), *SMALL, "--report"]) == 0
    return folder


@pytest.fixture
def own_run(run, tmp_path):
    """A copy of the run to spoil."""
    return shutil.copytree(run, tmp_path / "run")


def test_train_leaves_a_run_folder_and_says_where(tmp_path, capfd):
    assert main(["train", "--out", str(tmp_path / "a"), *SMALL, "--report"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    first, *verdicts = out.splitlines()
    assert verdicts and all(". Try: " in line for line in verdicts)
    assert "report.html" in first and "test ELBO -" in out and "nats" in out and "report.html" in out
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert names == {
        *("config.json", "weights.safetensors", "checkpoint.pt", "metrics.jsonl", "evaluation.json", "report.html"),
        "split.safetensors",
    }


def test_quiet_says_nothing_and_no_report_writes_none(tmp_path, capfd):
    assert main(["train", "--out", str(tmp_path / "a"), "--quiet", *SMALL]) == 0
    assert capfd.readouterr() == ("", "")
    assert not (tmp_path / "a" / "report.html").exists()


def test_the_seed_alone_decides_and_the_callers_random_state_is_left_alone(run, tmp_path):
    torch.manual_seed(123)
    before = torch.get_rng_state()
    assert main(["train", "--out", str(tmp_path / "same"), *SMALL]) == 0
    assert torch.equal(torch.get_rng_state(), before)
    assert main(["train", "--out", str(tmp_path / "other"), "--seed", "1", *SMALL]) == 0
    one, same, other = weights(run), weights(tmp_path / "same"), weights(tmp_path / "other")
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one if one[name].dim() > 1)


def test_a_runs_config_makes_the_run_again(run, tmp_path):
    argv = ["train", "--config", str(run / "config.json"), "--out", str(tmp_path / "again"), *SMALL[-2:]]
    assert main(argv) == 0
    one, again = weights(run), weights(tmp_path / "again")
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert json.loads((run / "config.json").read_text()) == json.loads((tmp_path / "again/config.json").read_text())


def test_the_decoder_starts_at_the_mean_of_the_training_data():
    from ppl_vae.cli.build import build_objective, load_data
    from ppl_vae.cli.settings import settings

    chosen = settings(["--hidden", "16"])
    data = load_data(chosen)
    objective = build_objective(chosen, data)
    objective.start(data.train.resolve(objective.support))
    bias = objective.model.likelihood.head.bias()
    torch.testing.assert_close(bias.sigmoid(), data.train.mean().clamp(0.001, 0.999))


def test_a_finished_run_is_left_as_it_is_by_resume(own_run, capsys):
    stamps = {path.name: path.stat().st_mtime_ns for path in own_run.iterdir() if path.name in ("report.html",)}
    before = weights(own_run)
    assert main(["train", "--out", str(own_run), "--resume", *SMALL]) == 0
    assert "already finished after 1 epochs" in capsys.readouterr().out
    assert {name: (own_run / name).stat().st_mtime_ns for name in stamps} == stamps
    assert all(torch.equal(value, before[name]) for name, value in weights(own_run).items())


def test_resume_starts_in_an_absent_or_empty_folder_and_goes_on_to_more_epochs(own_run, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["train", "--out", str(tmp_path / "empty"), "--resume", *SMALL, "--epochs", "2"]) == 0
    assert main(["train", "--out", str(own_run), "--resume", *SMALL, "--epochs", "2"]) == 0
    assert "2 epochs" in capsys.readouterr().out
    one, other = weights(own_run), weights(tmp_path / "empty")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_taken_folder_is_refused_and_nothing_is_lost(own_run, tmp_path, capsys):
    before = {path.name: path.read_bytes() for path in own_run.iterdir()}
    assert "holds another run" in error_of(capsys, ["train", "--out", own_run, *SMALL])
    message = error_of(capsys, ["train", "--out", own_run, "--resume", *SMALL, "--lr", "0.5"])
    assert "lr" in message and "0.5" in message
    message = error_of(capsys, ["train", "--out", own_run, "--resume", *SMALL, "--latent-dim", "3"])
    assert "dim" in message
    assert {path.name: path.read_bytes() for path in own_run.iterdir()} == before
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("keep me")
    for more in ([], ["--resume"]):
        assert "holds other files" in error_of(capsys, ["train", "--out", tmp_path / "letters", *more, *SMALL])
    assert [path.name for path in (tmp_path / "letters").iterdir()] == ["dear.txt"]


@pytest.mark.parametrize(
    "flags",
    [
        ["--model", "autoencoder", "--objective.loss", "bce"],
        ["--network", "conv", "--hidden", "4", "8", "--posterior", "multivariate-normal"],
        ["--network", "res-net", "--hidden", "4", "--estimator", "mean-field-elbo", "--estimator.num-particles", "2"],
        ["--likelihood", "normal", "--likelihood.scale", "0.3", "--beta", "cyclical", "--beta.period", "9"],
        ["--hidden", "--activation", "tanh", "--prior.learned"],
        ["--dequantize"],
    ],
)
def test_every_word_is_a_swap_and_every_command_still_works(flags, tmp_path, capsys):
    folder = str(tmp_path / "run")
    assert main(["train", "--out", folder, *SMALL, *flags, "--report"]) == 0
    assert main(["evaluate", folder, "--limit", "20", "--num-particles", "5", "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])["test"]
    assert result["n"] == 20 and np.isfinite(result["reconstruction_error"])
    for command in (["reconstruct", "--n", "3"], ["interpolate", "--steps", "4"]):
        assert main([command[0], folder, *command[1:], "--out", str(tmp_path / "x.png")]) == 0


def test_a_table_gets_columns_and_binary_data_a_bernoulli(tmp_path):
    rng = np.random.default_rng(0)
    kinds = {"table": rng.normal(3, 2, (90, 5)), "shares": rng.random((90, 5)), "binary": rng.integers(0, 2, (90, 5))}
    for name, rows in kinds.items():
        np.save(tmp_path / f"{name}.npy", rows.astype("float32"))
        out = tmp_path / f"run-{name}"
        assert main(["train", "--data", str(tmp_path / f"{name}.npy"), "--out", str(out), *SMALL]) == 0
        model = ppl_vae.load(out)
        names = type(model.likelihood).__name__, type(model.posterior.network).__name__
        assert names == (("Bernoulli", "MLP") if name == "binary" else ("Columns", "TableEncoder"))
    for scale in ("auto", "standard", "unit", "none"):
        line = ["train", "--data", str(tmp_path / "table.npy"), "--out", str(tmp_path / scale), "--scale", scale]
        assert main([*line, "--likelihood", "normal", *SMALL]) == 0
        likelihood = ppl_vae.load(tmp_path / scale).likelihood
        by = likelihood.by if isinstance(likelihood, ppl_vae.likelihoods.Scaled) else "none"
        assert by == ("standard" if scale == "auto" else scale)
    out = tmp_path / "plain"
    argv = ["train", "--data", str(tmp_path / "table.npy"), "--model", "autoencoder", "--out", str(out), *SMALL]
    assert main(argv) == 0
    assert (ppl_vae.load(out).output, ppl_vae.load(out).units.by) == ("identity", "standard")
    again = ["train", "--config", str(out / "config.json"), "--out", str(tmp_path / "again"), *SMALL[-2:]]
    assert main(again) == 0
    assert ppl_vae.load(tmp_path / "again").output == "identity"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--likelihood", "poisson", "--scale", "unit"], "Poisson is a mass on the counts, which scaled data leave"),
        (["--likelihood", "columns", "--scale", "standard"], "Columns has units of its columns inside already"),
        (["--model", "dbn", "--scale", "standard"], "--scale standard is for models that have units"),
        (["--model", "autoencoder", "--model.scale", "unit", "--scale", "standard"], "differ; give one of them"),
    ],
)
def test_a_scale_that_the_model_cannot_have_is_refused(words, said, tmp_path, capsys):
    np.save(tmp_path / "t.npy", np.random.default_rng(0).integers(0, 9, (60, 3)).astype("float32"))
    assert said in error_of(capsys, ["train", "--data", tmp_path / "t.npy", "--out", tmp_path / "run", *words, *SMALL])


def test_fewer_data_than_the_default_batch_are_no_error_but_an_explicit_batch_size_is(tmp_path, capsys):
    np.save(tmp_path / "few.npy", np.random.default_rng(0).random((30, 4)).astype("float32"))
    argv = ["train", "--data", tmp_path / "few.npy", "--out", tmp_path / "run", *SMALL]
    message = error_of(capsys, [*argv, "--batch-size", "128"])
    assert "batch" in message and "128" in message
    assert not (tmp_path / "run").exists()
    assert main([str(word) for word in argv]) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_data_that_is_not_finite_is_refused(bad, tmp_path, capsys):
    x = np.random.default_rng(0).random((50, 4)).astype("float32")
    x[::3, 2] = bad
    np.save(tmp_path / "bad.npy", x)
    argv = ["train", "--data", tmp_path / "bad.npy", "--out", tmp_path / "run", "--likelihood", "normal", *SMALL]
    assert "NaN or infinite" in error_of(capsys, argv)
    assert not (tmp_path / "run").exists()


def test_a_loss_that_diverges_is_one_line(tmp_path, capsys):
    argv = ["train", "--out", tmp_path / "run", *SMALL, "--lr", "1e30", "--optimizer", "sgd"]
    message = error_of(capsys, argv)
    assert "step" in message


def test_evaluate_prints_the_fixed_keys_and_keeps_them(own_run, capsys):
    assert main(["evaluate", str(own_run), "--num-particles", "20", "--limit", "30", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert set(printed) == {"test"} and KEYS <= set(printed["test"])
    test = printed["test"]
    assert test["n"] == 30 and test["num_particles"] == 20
    assert test["elbo"] == pytest.approx(test["reconstruction"] - test["kl"], abs=1e-4)
    assert {"baseline_log_likelihood", "gain", "gain_stderr"} <= set(test)
    assert [found["name"] for found in test.pop("verdicts")][0] == "collapsed"
    assert json.loads((own_run / "evaluation.json").read_text())["test"] == test
    assert main(["evaluate", str(own_run), "--num-particles", "5", "--split", "valid", "--seed", "3"]) == 0
    table = capsys.readouterr().out
    assert "The model is collapsed: " in table.splitlines()[-1] and "  gain  " in table
    assert "log-likelihood" in table and "  nats  log p(x) of an example" in table and "nan" not in table
    kept = json.loads((own_run / "evaluation.json").read_text(), parse_constant=pytest.fail)
    assert kept["test"] == test and kept["valid"]["n"] == 179


def spoil(run, value):
    """A run whose likelihood has this bias."""
    file = run / "weights.safetensors"
    weights = load_file(file)
    save_file(
        weights | {"likelihood.head.layer.bias": torch.full_like(weights["likelihood.head.layer.bias"], value)}, file
    )
    return str(run)


@pytest.mark.parametrize(
    "words", [["evaluate"], ["evaluate", "--json"], ["report"], ["sample", "--out", "x.npy"], ["compress"], ["anomaly"]]
)
def test_a_run_whose_weights_are_nan_is_one_line_and_exit_code_2(own_run, tmp_path, capsys, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    kept = (own_run / "evaluation.json").read_text()
    said = error_of(capsys, [words[0], spoil(own_run, np.nan), *words[1:]])
    assert "parameter likelihood.head.layer.bias of the model holds NaN" in said
    assert (own_run / "evaluation.json").read_text() == kept and not (tmp_path / "x.npy").exists()


def test_figures_that_are_not_finite_are_said_and_valid_json(own_run, capsys):
    """A bias at which one black pixel costs 3e38 nats, and two are infinitely many: no draw explains the data."""
    run = spoil(own_run, 3e38)
    assert main(["evaluate", run, "--num-particles", "30", "--json"]) == 0
    test = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)["test"]
    assert test["log_likelihood"] == test["elbo"] == "-inf" and test["khat"] is None and test["ess"] is None
    assert "log_likelihood_error" not in test and test["error_unknown"] == 1
    assert main(["evaluate", run, "--num-particles", "30"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert any(line.startswith("log-likelihood -inf nats log p(x)") for line in lines)
    assert "Pareto k-hat not defined" in lines
    assert "error not known k-hat is above 0.32 or undefined for 100% of the examples" in lines
    assert main(["report", run]) == 0
    page = (own_run / "report.html").read_text()
    assert "\N{MINUS SIGN}inf" in page and "its error is not known" in page
    assert (
        "k-hat is not defined for any of the" in page
        and "nan" not in page.lower().split("</style>")[1].split("<svg")[0]
    )


def test_the_error_is_printed_only_where_it_is_known(own_run, capsys):
    file = own_run / "weights.safetensors"
    weights = load_file(file)
    for name, tensor in weights.items():
        if name.startswith("posterior.head"):  # twice as wide as the prior, so that the weights are bounded
            tensor.zero_()
            if name.endswith("bias"):
                tensor[len(tensor) // 2 :] = np.log(np.exp(2.0) - 1)
        if name.startswith("likelihood.head") and name.endswith("weight"):
            tensor.mul_(0.1)
    save_file(weights, file)
    assert main(["evaluate", str(own_run), "--num-particles", "300"]) == 0
    (line,) = (line.split() for line in capsys.readouterr().out.splitlines() if line.split()[0] == "error")
    assert 0 < float(line[1]) < 0.1 and line[2:8] == ["nats", "of", "the", "log-likelihood,", "from", "the"]
    assert main(["evaluate", str(own_run), "--num-particles", "10"]) == 0
    assert "error not known k-hat needs 25 particles" in " ".join(capsys.readouterr().out.split())


def test_sample_writes_means_or_draws(run, tmp_path):
    for name, more in (("means", []), ("again", []), ("other", ["--seed", "1"]), ("draws", ["--draw"])):
        assert main(["sample", str(run), "--n", "6", "--out", str(tmp_path / f"{name}.npy"), *more]) == 0
    means, again, other, draws = (np.load(tmp_path / f"{n}.npy") for n in ("means", "again", "other", "draws"))
    assert means.shape == draws.shape == (6, 1, 8, 8) and means.dtype == np.float32
    assert np.array_equal(means, again) and not np.array_equal(means, other)
    assert set(np.unique(draws)) == {0.0, 1.0} and 0 < means.mean() < 1 and len(np.unique(means)) > 2
    assert main(["sample", str(run), "--out", str(tmp_path / "x.png")]) == 0
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.size[0] > 100


def test_reconstruct_writes_pairs_and_interpolate_a_line(run, tmp_path):
    assert main(["reconstruct", str(run), "--n", "3", "--out", str(tmp_path / "r.npy")]) == 0
    pair = np.load(tmp_path / "r.npy")
    assert pair.shape == (2, 3, 1, 8, 8) and set(np.unique(pair[0])) <= {0.0, 1.0}
    argv = ["interpolate", str(run), "--from", "2", "--to", "5", "--steps", "4", "--out", str(tmp_path / "i.npy")]
    assert main(argv) == 0
    line = np.load(tmp_path / "i.npy")
    assert line.shape == (4, 1, 8, 8)
    assert main(["reconstruct", str(run), "--n", "6", "--out", str(tmp_path / "r.npy")]) == 0
    np.testing.assert_allclose(line[[0, -1]], np.load(tmp_path / "r.npy")[1][[2, 5]], atol=1e-5)


def test_report_is_written_again(own_run, capsys):
    (own_run / "report.html").unlink()
    (own_run / "evaluation.json").write_text("{ cut sho")
    assert main(["report", str(own_run)]) == 0
    assert capsys.readouterr().out.strip().endswith("report.html")
    assert "<html" in (own_run / "report.html").read_text()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["evaluate", "RUN", "--num-particles", "0"], "num_particles must be a whole number of at least 1, not 0"),
        (["evaluate", "RUN", "--limit", "0"], "limit must be"),
        (["evaluate", "RUN", "--device", "warp"], "device 'warp'"),
        (["sample", "RUN", "--n", "0", "--out", "OUT.npy"], "n must be"),
        (["reconstruct", "RUN", "--n", "0", "--out", "OUT.npy"], "n must be"),
        (["interpolate", "RUN", "--to", "400", "--out", "OUT.npy"], "--to 400 is not an example: test has 0 to 178"),
        (["interpolate", "RUN", "--steps", "1", "--out", "OUT.npy"], "steps must be"),
    ],
)
def test_what_a_run_cannot_give_is_one_line(argv, message, run, tmp_path, capsys):
    argv = [word.replace("RUN", str(run)).replace("OUT", str(tmp_path / "x")) for word in argv]
    assert message in error_of(capsys, argv)
    assert not any(tmp_path.iterdir())


def test_an_autoencoder_has_nothing_to_sample_from(tmp_path, capsys):
    assert main(["train", "--model", "autoencoder", "--out", str(tmp_path / "run"), *SMALL]) == 0
    assert "has no prior" in error_of(capsys, ["sample", tmp_path / "run", "--out", tmp_path / "x.npy"])


@pytest.mark.parametrize("name", ["weights.safetensors", "config.json"])
def test_a_damaged_run_is_one_line(name, own_run, tmp_path, capsys):
    content = (own_run / name).read_bytes()
    (own_run / name).write_bytes(content[: len(content) // 2])
    assert name in error_of(capsys, ["sample", own_run, "--out", tmp_path / "x.npy"])


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"model": {"class": "os.system"}}', '{"model": {"class": "models.VAE"}}']
)
def test_a_configuration_of_something_else_is_one_line(content, own_run, tmp_path, capsys):
    (own_run / "config.json").write_text(content)
    for argv in (["evaluate", own_run], ["report", own_run], ["sample", own_run, "--out", tmp_path / "x.npy"]):
        error_of(capsys, argv)


@pytest.mark.parametrize("damage", [b"", b'{"epoch": 1, "st', b"\x80\x04 garbage", b"[]\n", b"3\n"])
def test_damaged_metrics_are_one_line_and_resume_writes_them_anew(damage, own_run, capsys):
    whole = (own_run / "metrics.jsonl").read_bytes()
    (own_run / "metrics.jsonl").write_bytes(damage)
    if damage:
        assert "metrics.jsonl is damaged" in error_of(capsys, ["report", own_run])
    assert main(["train", "--data", "digits", "--out", str(own_run), *SMALL, "--resume"]) == 0
    assert (own_run / "metrics.jsonl").read_bytes() == whole


def test_a_stored_evaluation_of_another_make_is_replaced(own_run, capsys):
    (own_run / "evaluation.json").write_text("[1]")
    assert main(["evaluate", str(own_run), "--limit", "3", "--num-particles", "2"]) == 0
    assert json.loads((own_run / "evaluation.json").read_text())["test"]["n"] == 3


def test_a_damaged_checkpoint_is_not_resumed(own_run, capsys):
    content = (own_run / "checkpoint.pt").read_bytes()
    (own_run / "checkpoint.pt").write_bytes(content[:-100])
    message = error_of(capsys, ["train", "--out", own_run, "--resume", *SMALL, "--epochs", "2"])
    assert "checkpoint.pt is truncated" in message


def test_a_full_disk_is_one_line(tmp_path, capsys):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))  # files of this process, until the line is written
    try:
        message = error_of(capsys, ["train", "--out", tmp_path / "run", *SMALL])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "checkpoint.pt" in message


def test_parts_that_do_not_go_together_leave_no_run_behind(tmp_path, capsys):
    words = ["train", "--data", "digits", "--estimator", "iwae", "--prior", "bernoulli", "--latent-dim", "3"]
    assert main([*words, "--hidden", "4", "--epochs", "1", "--out", str(tmp_path / "run")]) == 2
    assert "site z of the guide is a Bernoulli" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
