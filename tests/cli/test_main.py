"""The shell from outside: help, speed, errors in one line, exit codes."""

import json
import os
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from PIL import Image

from ppl_vae import catalog
from ppl_vae.cli import main
from ppl_vae.cli.flags import commands
from ppl_vae.cli.run import Run
from ppl_vae.cli.settings import Settings


def shell(*argv, **options):
    return subprocess.run([sys.executable, "-m", "ppl_vae", *argv], capture_output=True, text=True, **options)


def error_of(capsys, argv):
    """The one line that a failing command prints; checks everything else about how it fails."""
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("ppl-vae: error: ") and err.count("\n") == 1, err
    return err


@pytest.mark.parametrize("argv", [["--help"], ["train", "--help"], ["evaluate", "--help"], ["--version"]])
def test_help_does_not_import_torch(argv):
    code = f"import sys; from ppl_vae.cli import main; main({argv}); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_an_error_does_not_import_torch():
    code = (
        "import sys; from ppl_vae.cli import main; main(['train', '--prior', 'x']); assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_help_is_quick():
    times = []
    for _ in range(3):
        began = time.perf_counter()
        assert shell("--help").returncode == 0
        times.append(time.perf_counter() - began)
    assert min(times) < 0.5


def test_train_help_lists_every_part_with_its_options(capsys):
    assert main(["train", "--help"]) == 0
    text = capsys.readouterr().out
    words = text.split()
    for role, offered in catalog.roles().items():
        for name, entry in offered.items():
            assert f"  {name} " in text or f"  {name}\n" in text
            assert " ".join(entry.summary.split()[:4]) in " ".join(words)
            assert all(f"--{role}.{option}" in words for option in entry.options)
    for name in catalog.constant("data", "NAMES"):
        assert name in text


def test_every_command_has_help(capsys):
    for command in commands():
        assert main([command, "--help"]) == 0
        assert f"ppl-vae {command}" in capsys.readouterr().out


def test_no_command_shows_the_commands(capsys):
    assert main([]) == 2
    assert "train" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("trian", "trian is no command; choose from train, evaluate"),
        ("trian", "(did you mean train?)"),
        ("train --prio normal", "--prio is unknown (did you mean --prior?)"),
        ("train --epoch 3", "--epoch is unknown (did you mean --epochs?)"),
        ("train --prior norml", "--prior norml is unknown; choose from"),
        ("train --prior norml", "(did you mean normal?)"),
        ("train --estimator trace_elb", "(did you mean trace-elbo?)"),
        ("train --prior.lerned true", "(did you mean --prior.learned?)"),
        ("train --posterior.learned true", "--posterior.learned is unknown"),
        (
            "train --likelihood bernoulli --likelihood.scale 1",
            "no option of --likelihood bernoulli; --likelihood laplace",
        ),
        ("train --likelihood.scale 1", "no option of --likelihood, which is not given; --likelihood laplace has it"),
        ("train --likelihood normal --likelihood.scale lerned", "did you mean learned?"),
        ("train --beta linaer", "neither a number nor a schedule; choose from cyclical, linear (did you mean linear?)"),
        ("train --beta 2 --beta.steps 3", "no option of --beta 2.0; --beta "),
        (
            "train --beta linear --beta.period 3",
            "is no option of --beta linear; choose from end, start, steps",
        ),
        ("train --model autoencoder --prior normal", "--prior does not apply to --model autoencoder"),
        ("train --model autoencoder --beta 2", "--beta does not apply to --model autoencoder"),
        ("train --model autoencoder --estimator.num-particles 2", "does not apply to --model autoencoder"),
        ("train --activation tahn", "did you mean tanh?"),
        ("train --epochs", "--epochs: expected one argument"),
        ("train --epochs 1.5", "--epochs takes none or a whole number, not 1.5"),
        ("train --epochs ten", "--epochs takes none or a whole number, not ten"),
        ("train --hidden 20 x", "--hidden takes a whole number ..., not x"),
        ("train --lr fast", "--lr takes a number, not fast"),
        ("train stray", "'stray' is not expected by ppl-vae"),
        ("train --config no-such-file.yaml", "no-such-file.yaml: No such file or directory"),
        ("evaluate", "the following arguments are required: RUN"),
        ("evaluate a b", "'b' is not expected by ppl-vae"),
        ("evaluate no-such-run", "no-such-run is not a run folder"),
        ("evaluate no-such-run --split tset", "did you mean test?"),
        ("evaluate no-such-run --num-particle 3", "did you mean --num-particles?"),
        ("report no-such-run", "no-such-run is not a run folder"),
        ("sample no-such-run --out x.npy", "no-such-run is not a run folder"),
        ("sample no-such-run", "--out is needed"),
        ("sample no-such-run --out x.jpg", "--out x.jpg must end in .png or .npy"),
        ("sample no-such-run --out no-such-folder/x.npy", "lies in no-such-folder, which is not a folder"),
        ("reconstruct no-such-run --out x.npy", "no-such-run is not a run folder"),
        ("interpolate no-such-run --out x.npy", "no-such-run is not a run folder"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(line, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in error_of(capsys, line.split())
    assert not any(tmp_path.iterdir()), "a refused command left something behind"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--epochs 0", "epochs must be a whole number of at least 1, not 0"),
        ("--batch-size -3", "batch_size must be"),
        ("--batch-size 100000", "100000"),
        ("--latent-dim 0", "dim must be a whole number of at least 1, not 0"),
        ("--hidden 20 -1", "hidden must be"),
        ("--lr -1", "lr must be"),
        ("--beta -1", "beta must be"),
        ("--beta nan", "beta must be"),
        ("--beta linear --beta.steps 0", "steps must be"),
        ("--estimator.num-particles 0", "num_particles must be"),
        ("--likelihood normal --likelihood.scale -2", "scale must be"),
        ("--optimizer rmspropp", "did you mean rmsprop?"),
        ("--schedule cosin", "did you mean cosine?"),
        ("--binarize dynamc", "did you mean dynamic?"),
        ("--binarize none --likelihood bernoulli", "outside the likelihood's support {0, 1}"),
        ("--data dgits", "did you mean digits?"),
        ("--data mnist --data-root no-such-folder", "--download"),
        ("--device warp", "device 'warp'"),
        ("--seed -1", "seed must be"),
    ],
)
def test_what_only_building_can_tell_is_one_line_too(line, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in error_of(capsys, ["train", "--no-progress", *line.split()])
    assert not any(tmp_path.iterdir()), "a refused command left something behind"


def test_our_own_bugs_keep_their_traceback(monkeypatch):
    def broken(run: Run, **_):
        return int("not a number")

    monkeypatch.setattr("ppl_vae.cli.jobs.report.report", broken)
    with pytest.raises(ValueError, match="invalid literal"):
        main(["report", "x"])


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (
            OSError(28, "No space left on device", "runs/a/checkpoint.pt"),
            2,
            "runs/a/checkpoint.pt: No space left on device",
        ),
        (PermissionError(13, "Permission denied", "runs"), 2, "runs: Permission denied"),
        (OSError("could not write x"), 2, "could not write x"),
        (KeyboardInterrupt(), 130, "the same command with --resume goes on"),
    ],
)
def test_what_the_world_does_is_one_line(error, code, message, capsys, monkeypatch):
    def fails(settings: Settings, **_):
        raise error

    monkeypatch.setattr("ppl_vae.cli.jobs.train.train", fails)
    assert main(["train"]) == code
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


def test_a_reader_that_leaves_is_no_error():
    read, write = os.pipe()
    os.close(read)
    argv = [sys.executable, "-m", "ppl_vae", "train", "--print-config"]
    done = subprocess.run(argv, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert done.returncode == 1
    assert done.stderr == b""


def test_list_names_every_part_and_the_pairs_that_go_together(capsys):
    assert main(["list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    old = "priors posteriors likelihoods estimators models data networks penalties corruptions compatible"
    assert set(listed) == {*old.split(), "conditions", "quantizers", "updates", "code-priors"}
    for role in catalog.roles():
        if role != "beta":
            assert listed[catalog.plural(role)] == [*catalog.parts(role)]
    assert "digits" in listed["data"]
    assert ["normal", "normal"] in listed["compatible"]
    assert ["normal", "multivariate-normal"] in listed["compatible"]
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    table = dict(line.split(maxsplit=1) for line in text.partition("\nprior ")[2].splitlines()[1:])
    assert "mlp" in text and {*table} == {*listed["priors"]} and table["vamp-prior"] == "every one"
    assert all(
        (q in table[p].split(", ")) == ([p, q] in listed["compatible"])
        for p in ("normal", "beta")
        for q in listed["posteriors"]
    )


def printed(*arguments, **_):
    """What a shell does with a warning, where pytest records it."""
    sys.stderr.write(warnings.formatwarning(*arguments[:4]))


def test_a_warning_is_one_line_and_what_could_be_read_is_used(tmp_path, capsys, monkeypatch):
    (tmp_path / "pics").mkdir()
    for i in range(12):
        Image.fromarray(np.full((4, 4), 20 * i, np.uint8)).save(tmp_path / "pics" / f"{i}.png")
    (tmp_path / "pics" / "bad.png").write_bytes(b"not a picture")
    words = ["--model", "autoencoder", "--latent-dim", "2", "--hidden", "4", "--epochs", "1", "--quiet", "--no-report"]
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        monkeypatch.setattr(warnings, "showwarning", printed)
        assert main(["train", "--data", str(tmp_path / "pics"), "--out", str(tmp_path / "run"), *words]) == 0
    said = f"ppl-vae: warning: 1 of the 13 images in {tmp_path / 'pics'} cannot be read and are skipped: bad.png\n"
    assert capsys.readouterr().err == said
