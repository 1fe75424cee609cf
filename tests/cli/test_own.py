"""Parts of the user's own in the shell: FILE.py:CLASS and of:weibull by the words of every role, and --parts."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import ppl_vae
from ppl_vae import catalog, own, priors
from ppl_vae.cli import main
from ppl_vae.cli.arguments import words
from ppl_vae.cli.build import build_objective, load_data
from ppl_vae.cli.grid import grid
from ppl_vae.cli.settings import settings

SMALL = "--hidden 8 --latent-dim 2 --epochs 1 --no-progress".split()
EXAMPLES = Path(__file__).parent.parent.parent / "examples"

MINE = """
import pyro
import torch
import pyro.distributions as dist
from torch import nn
from torch.distributions import constraints
import ppl_vae
from ppl_vae import VAE, corruptions, estimators, likelihoods, networks, penalties, posteriors, priors
from ppl_vae.handlers import Schedule
from ppl_vae.models import Pair
from ppl_vae.parts import Part

class Tilted(priors.Prior):
    '''A Normal whose mean is learned.

    Args:
        dim: size of the code.
        by: the mean at the start.
    '''
    support = constraints.independent(constraints.real, 1)

    def __init__(self, dim, by=1.0, over: int | None = None):
        super().__init__(dim)
        self.by = nn.Parameter(torch.full((dim,), float(by)))

    def forward(self, y=None):
        return dist.Normal(self.by, 1.0).to_event(1)

class Wide(posteriors.Normal): ...
class Coin(likelihoods.Bernoulli): ...
class Net(networks.MLP): ...
class Bound(ppl_vae.estimators.IWAE): ...
class Rising(Schedule):
    def __init__(self, by=0.5):
        self.by = by
    def __call__(self, step):
        return min(1.0, self.by * step)
class Digit(networks.Label): ...
class Model(VAE):
    def __init__(self, prior, posterior=None, likelihood=None, note: str = "none"):
        super().__init__(prior, posterior, likelihood)
        self.note = note
class Salt(corruptions.SaltAndPepper): ...
class Few(penalties.L1): ...

class Needy(priors.Normal):
    def __init__(self, dim, df):
        super().__init__(dim)
class Typed(priors.Normal):
    def __init__(self, dim, source: object):
        super().__init__(dim)
class Failing(priors.Normal):
    def __init__(self, dim, by=0):
        super().__init__(dim)
        1 / by
class Half(priors.Prior): ...
class Narrow(networks.MLP):
    def __init__(self, in_shape):
        super().__init__(in_shape)
class Bare(nn.Module, Pair):
    def model(self, x): ...
    def guide(self, x): ...
class Factors(Part, Pair):
    shape, support = (1, 8, 8), constraints.real
    def __init__(self, dim, shape):
        super().__init__()
        self.dim, self.shape = dim, shape
        self.encode_, self.decode_ = nn.Linear(64, dim), nn.Linear(dim, 64)
    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(self.dim), 1.0).to_event(1))
            mean = self.decode_(z).unflatten(-1, self.shape)
            pyro.sample("x", dist.Normal(mean, 1.0).to_event(3), obs=x)
    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.encode_(x.flatten(1)), 1.0).to_event(1))
"""


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "mine.py"
    path.write_text(MINE)
    return path


@pytest.fixture(scope="module")
def run(mine, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shell") / "run"
    argv = ["train", "--data", "digits", "--prior", f"{mine}:Tilted", "--prior.by", "2", "--out", str(folder), *SMALL]
    assert main([*argv, "--no-report"]) == 0
    return folder


def error_of(capsys, *argv):
    capsys.readouterr()
    assert main([str(word) for word in argv]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("ppl-vae: error: ") and err.count("\n") == 1, err
    return err


def built(line):
    chosen = settings([*SMALL, *line.split()])
    return build_objective(chosen, load_data(chosen))


# A run, from training to samples


def test_a_run_records_the_part_and_keeps_its_file(run, mine):
    config = json.loads((run / "config.json").read_text())
    assert config["model"]["prior"] == {"class": "mine.py:Tilted", "dim": 2, "by": 2, "over": None}
    assert config["shell"]["prior"] == f"{mine}:Tilted" and config["shell"]["prior.by"] == 2 and "parts" not in config
    assert (run / "parts" / "mine.py").read_text() == MINE
    assert type(ppl_vae.load(run, parts=run / "parts" / "mine.py").prior).__name__ == "Tilted"


@pytest.mark.parametrize("job", ["evaluate", "report", "sample --out {}/x.npy", "embed --out {}/x.npy"])
def test_without_parts_a_job_names_what_to_give(run, job, capsys, tmp_path):
    name, *rest = job.format(tmp_path).split()
    said = error_of(capsys, name, run, *rest)
    assert "the class Tilted of mine.py" in said and f"--parts {run / 'parts' / 'mine.py'}" in said
    assert not any(tmp_path.iterdir()) and not (run / "report.html").exists()


def test_a_run_that_was_moved_is_evaluated_and_sampled_as_before(run, mine, tmp_path, capsys):
    """The file it was trained with is gone; its copy is in the run."""
    shutil.copytree(run, tmp_path / "before")
    shutil.copytree(run, tmp_path / "elsewhere" / "after")
    found = []
    for folder, file in ((tmp_path / "before", mine), (tmp_path / "elsewhere" / "after", None)):
        file = folder / "parts" / "mine.py" if file is None else file
        capsys.readouterr()
        assert main(["evaluate", str(folder), "--parts", str(file), "--json", "--limit", "20"]) == 0
        figures = capsys.readouterr().out
        assert main(["sample", str(folder), "--parts", str(file), "--n", "3", "--out", str(folder / "x.npy")]) == 0
        found.append((figures, np.load(folder / "x.npy").tolist()))
    assert found[0] == found[1] and "log_likelihood" in found[0][0]


def test_a_run_goes_on_with_the_same_arguments_alone(run, mine, tmp_path, capsys):
    folder = shutil.copytree(run, tmp_path / "run")
    argv = ["train", "--prior", f"{mine}:Tilted", "--out", folder, *SMALL, "--no-report", "--resume", "--epochs", "2"]
    assert "model prior.by was 2 in the run" in error_of(capsys, *argv, "--prior.by", "3")
    assert main([*map(str, argv), "--prior.by", "2"]) == 0


def test_a_configuration_executes_nothing(run, mine, tmp_path, capsys):
    """A run's own config.json is read back with the file that --parts names, and with no other."""
    argv = ["train", "--config", run / "config.json", "--out", tmp_path / "again"]
    assert f"give --parts {run / 'parts' / 'mine.py'}" in error_of(capsys, *argv)
    assert "your own code" in error_of(capsys, *argv, "--parts", "other.py")
    chosen = settings([*map(str, argv[1:]), "--parts", str(run / "parts" / "mine.py")])
    assert chosen["prior"] == f"{run / 'parts' / 'mine.py'}:Tilted" and chosen["prior.by"] == 2
    assert settings([*map(str, argv[1:]), "--prior", "normal"])["prior"] == "normal"
    file = tmp_path / "flags.yaml"
    file.write_text(f"prior: {{name: '{mine}:Tilted', by: 4}}\n")
    assert settings(["--config", str(file), "--parts", str(mine)])["prior.by"] == 4
    file.write_text(f"prior: {mine}:Tilted\nparts: {mine}\n")
    assert "sets parts, which belongs on the command line" in error_of(capsys, "train", "--config", file)
    assert not (tmp_path / "again").exists()


# Every role


@pytest.mark.parametrize(
    ("line", "find", "cls"),
    [
        ("--prior {}:Tilted --prior.by 3 --prior.over 2", lambda o: o.model.prior, "Tilted"),
        ("--posterior {}:Wide", lambda o: o.model.posterior, "Wide"),
        ("--likelihood {}:Coin", lambda o: o.model.likelihood, "Coin"),
        ("--network {}:Net", lambda o: o.model.posterior.network, "Net"),
        ("--network {}:Net", lambda o: o.model.likelihood.network, "Net"),
        ("--estimator {}:Bound --estimator.num-particles 3", lambda o: o.estimator, "Bound"),
        ("--beta {}:Rising --beta.by 0.25", lambda o: o.beta, "Rising"),
        ("--condition {}:Digit", lambda o: o.model.condition, "Digit"),
        ("--model {}:Model --model.note hello --beta 2", lambda o: o.model, "Model"),
        ("--model {}:Factors", lambda o: o.model, "Factors"),
        ("--model autoencoder --corruption {}:Salt", lambda o: o.model.corruption, "Salt"),
        ("--model autoencoder --penalty {}:Few", lambda o: o.model.penalties[0], "Few"),
    ],
)
def test_every_role_takes_a_class_by_the_same_word(line, find, cls, mine):
    objective = built(line.format(mine))
    found = find(objective)
    assert type(found).__name__ == cls and type(found).__module__.startswith("ppl_vae_own_")
    assert type(found) in own.classes(mine)


def test_options_are_those_of_the_constructor_with_its_docs(mine):
    entry = catalog.lookup("prior", f"{mine}:Tilted")
    assert [*entry.options] == ["by", "over"] and entry.options["by"].help == "the mean at the start"
    assert entry.summary == "A Normal whose mean is learned."
    assert built(f"--prior {mine}:Tilted --prior.by 2.5").model.prior.by.tolist() == [2.5, 2.5]
    assert [*catalog.lookup("estimator", f"{mine}:Bound").options] == ["num-particles", "gradient"]
    assert built(f"--estimator {mine}:Bound --estimator.num-particles 3").estimator.num_particles == 3


@pytest.mark.parametrize(
    "text",
    [
        "from ppl_vae import priors\nclass Mine(priors.Laplace): ...",
        "from ppl_vae import priors as p\nclass Mine(p.Laplace): ...",
        "import ppl_vae\nclass Mine(ppl_vae.priors.Laplace): ...",
        "import ppl_vae.priors\nclass Mine(ppl_vae.priors.Laplace): ...",
        "import ppl_vae.priors as p\nclass Mine(p.Laplace): ...",
        "from ppl_vae.priors import Laplace as L\nclass Base(L): ...\nclass Mine(Base): ...",
        "from ppl_vae.priors.laplace import Laplace\nclass Mine(Laplace): ...",
    ],
)
def test_the_base_is_followed_into_the_package_however_it_is_imported(text, tmp_path):
    (tmp_path / "x.py").write_text(text)
    entry = catalog.lookup("prior", f"{tmp_path / 'x.py'}:Mine")
    assert entry.options == catalog.parts("prior")["laplace"].options and entry.options


# Refusals


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--prior none.py:Mine", "--prior none.py:Mine: there is no file none.py"),
        ("--prior {}", "write {}:CLASS; it has Tilted, Wide"),
        ("--prior {}:Tiltd", "the file has no class Tiltd; it has Tilted"),
        ("--prior {}:Tiltd", "(did you mean Tilted?)"),
        ("--prior {}:Tilted --prior.bye 2", "--prior.bye is no option of --prior {}:Tilted; choose from by, over (did"),
        ("--prior {}:Tilted --prior.by much", "--prior.by takes a number, not much"),
        ("--prior {}:Needy", "--prior {}:Needy needs --prior.df"),
        ("--prior {}:Typed", "argument source needs a default, since no words can be typed for it"),
        ("--prior {}:Failing", "--prior {}:Failing cannot be built: ZeroDivisionError: division by zero (at mine.py:"),
        ("--prior {}:Half", "--prior {}:Half: the class must define forward"),
        ("--prior {}:Coin", "--prior {}:Coin: the class must derive from ppl_vae.priors.Prior"),
        ("--estimator {}:Tilted", "must derive from ppl_vae.estimators.Estimator or pyro.infer.ELBO"),
        ("--beta {}:Tilted", "must derive from ppl_vae.handlers.Schedule"),
        ("--model {}:Bare", "must derive from ppl_vae.parts.Part first, as in class Bare(Part, ...)"),
        ("--model {}:Tilted", "the class must derive from ppl_vae.models."),
        ("--network {}:Narrow", "need __init__(self, in_shape, hidden, activation) and a classmethod decoder("),
        ("--prior mine:Tilted", "is unknown; a class of your own is written FILE.py:CLASS"),
        ("--prior of:weibul", "no class of pyro.distributions has this name (did you mean of:weibull?)"),
        ("--prior of:weibull --prior.rate 2", "--prior.rate is no option of --prior of:weibull; choose from concentr"),
        ("--prior of:weibull --prior.scale -1", "scale must be positive, not -1"),
        ("--prior of:uniform", "--prior of:uniform: Uniform cannot be used by the general rule"),
        ("--likelihood of:poisson-binomial", "no class of pyro.distributions has this name"),
        ("--prior of:relaxed-bernoulli", "RelaxedBernoulli needs --prior.temperature"),
        ("--estimator of:normal", "only a prior, a posterior and a likelihood can be of a distribution"),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_written(line, said, mine, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said.replace("{}", str(mine)) in error_of(capsys, "train", *SMALL, *line.replace("{}", str(mine)).split())
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("class Mine(:\n", "the file is not Python: invalid syntax (line 1)"),
        ("", "the file has no class Mine; it has no classes"),
        ("import nowhere_at_all\nclass Mine: ...\n", "does not import: ModuleNotFoundError: No module named 'nowhere"),
        ("class Mine: ...\nraise SystemExit\n", "does not import: SystemExit:"),
    ],
)
def test_a_file_that_fails_is_one_sentence_and_nothing_is_written(text, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.py").write_text(text)
    assert said in error_of(capsys, "train", *SMALL, "--prior", "bad.py:Mine")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.py"]


def test_two_files_of_one_name_are_refused(mine, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(mine, tmp_path / "mine.py")
    said = error_of(capsys, "train", *SMALL, "--prior", f"{mine}:Tilted", "--posterior", "mine.py:Wide")
    assert "have one name" in said and "rename one" in said


def test_a_file_is_read_as_text_until_something_is_built(tmp_path):
    """A mistake in the words is found without torch, and without executing the file."""
    (tmp_path / "x.py").write_text("from ppl_vae import priors\nclass Mine(priors.Normal): ...\nopen('seen', 'w')\n")
    code = "import sys; from ppl_vae.cli import main; assert main({}) == 2 and 'torch' not in sys.modules"
    argv = ["train", "--prior", "x.py:Mine", "--prior.lerned", "true"]
    done = subprocess.run([sys.executable, "-c", code.format(argv)], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and "did you mean learned?" in done.stderr
    assert not (tmp_path / "seen").exists()


# Distributions of Pyro


def test_a_distribution_of_pyro_is_a_prior_a_posterior_and_a_likelihood():
    model = built("--prior of:weibull --prior.scale 2 --posterior of:gamma --likelihood of:gumbel").model
    assert isinstance(model.prior, priors.Of) and type(model.posterior).__name__ == "Of"
    made = model.prior()
    assert type(made.base_dist).__name__ == "Weibull" and made.base_dist.scale.tolist() == [2.0, 2.0]
    assert type(model.posterior(torch.rand(3, 1, 8, 8)).base_dist).__name__ == "Gamma"
    assert type(model.likelihood(torch.rand(3, 2)).base_dist).__name__ == "Gumbel"
    learned = built("--prior of:weibull --prior.concentration 1.5 3 --prior.learned true").model.prior
    assert torch.allclose(learned().base_dist.concentration, torch.tensor([1.5, 3.0]))  # through a softplus and back
    assert [name for name, _ in learned.named_parameters()] == ["raw"]


def test_a_run_of_a_distribution_of_pyro_needs_no_parts(tmp_path):
    assert main(["train", "--prior", "of:Log_Normal", "--out", str(tmp_path / "run"), *SMALL, "--no-report"]) == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["shell"]["prior"] == "of:log-normal"
    assert type(ppl_vae.load(tmp_path / "run").prior().base_dist).__name__ == "LogNormal"
    assert not (tmp_path / "run" / "parts").exists()


# Comparisons


def test_own_parts_are_values_of_an_axis(mine):
    line = f"--prior normal {mine}:Tilted {mine}:Tilted:by=3,over=2 of:weibull:scale=2 --prior.by 4 5"
    found = grid(words("compare", line.split()))
    name = f"{mine}:Tilted"
    values = [(cell.settings["prior"], cell.settings.values.get("prior.by")) for cell in found]
    assert values == [("normal", None), (name, 4), (name, 5), (name, 3), ("of:weibull", None)]
    assert found[3].label == f"{name}, by 3, over 2" and found[4].label == "of:weibull, scale 2"


def compared(mine, out, *more):
    line = ["--seed", "0", *SMALL, "--limit", "10", "--num-particles", "5", "--out", out, *more]
    return main(["compare", "--prior", "normal", f"{mine}:Tilted", *map(str, line)])


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("ppl_vae.comparison.figures.REPEATS", 4)
    monkeypatch.setattr("ppl_vae.comparison.figures.LAST_REPEATS", 4)
    monkeypatch.setattr("ppl_vae.comparison.report.write", lambda *_, **__: None)


def test_a_comparison_of_own_parts_is_gone_on_with(mine, tmp_path, capsys, quick, monkeypatch):
    assert compared(mine, tmp_path / "c", "--estimator", "trace-elbo") == 0
    cell = next((tmp_path / "c" / "cells").glob("*Tilted*"))
    assert (cell / "parts" / "mine.py").read_text() == MINE
    assert type(ppl_vae.load(cell, parts=mine).prior).__name__ == "Tilted"
    before = [path.stat().st_mtime_ns for path in sorted((tmp_path / "c" / "cells").glob("*/result.json"))]
    assert compared(mine, tmp_path / "c", "--estimator", "trace-elbo") == 0
    assert before == [path.stat().st_mtime_ns for path in sorted((tmp_path / "c" / "cells").glob("*/result.json"))]
    said = error_of(capsys, "compare", "--prior", "normal", f"{mine}:Coin", "--out", tmp_path / "d", *SMALL)
    assert "the class must derive from ppl_vae.priors.Prior" in said and not (tmp_path / "d").exists()
    with pytest.raises(ValueError, match="prior.bye is no flag"):
        ppl_vae.compare("digits", out=tmp_path / "d", prior=[f"{mine}:Tilted"], axes={"prior.bye": [1]})


@pytest.mark.slow
def test_other_processes_import_the_file_too(mine, tmp_path, quick):
    assert compared(mine, tmp_path / "c", "--jobs", "2") == 0
    cells = json.loads((tmp_path / "c" / "table.json").read_text())["cells"]
    assert len(cells) == 2 and not any(row.get("error") for row in cells)


# The examples as files for the shell


@pytest.mark.parametrize(
    ("role", "cls", "options"),
    [
        ("prior", "SkewedT", ["df", "skew"]),
        ("likelihood", "SoftLaplace", ["scale"]),
        ("estimator", "VRMax", ["num-particles"]),
    ],
)
def test_the_examples_are_files_for_the_shell(role, cls, options, tmp_path, capsys):
    word = f"{EXAMPLES / f'own_{role}.py'}:{cls}"
    assert [*catalog.lookup(role, word).options] == options
    argv = ["train", f"--{role}", word, f"--{role}.{options[0]}", "3", "--out", str(tmp_path / "run"), *SMALL]
    assert main([*argv, "--no-report"]) == 0
    first, *verdicts = capsys.readouterr().out.splitlines()
    assert "test ELBO" in first and all(". Try: " in line for line in verdicts), "the script part was executed"
    assert len((EXAMPLES / f"own_{role}.py").read_text().splitlines()) < 50
    how = [] if role == "estimator" else ["--parts", str(tmp_path / "run" / "parts" / f"own_{role}.py")]
    assert main(["evaluate", str(tmp_path / "run"), "--limit", "10", "--num-particles", "5", *how]) == 0
