"""Parts of the user's own in Python: recorded with their arguments, rebuilt only from what is given by hand."""

import json
import math
import shutil
import sys

import pyro.distributions as dist
import pytest
import torch
from instances import vae
from torch import nn
from torch.distributions import constraints

import ppl_vae
from ppl_vae import SVI, VAE, estimators, fit, likelihoods, networks, own, parts, posteriors, priors

FILE = """
import torch
import pyro.distributions as dist
from pathlib import Path
from torch.distributions import constraints
from ppl_vae import priors

torch.manual_seed(3)
Path({marker!r}).write_text("executed")


class Tilted(priors.Prior):
    support = constraints.independent(constraints.real, 1)

    def __init__(self, dim, by=1.0):
        super().__init__(dim)
        self.by = torch.nn.Parameter(torch.full((dim,), float(by)))

    def forward(self, y=None):
        return dist.Normal(self.by, 1.0).to_event(1)
"""

X = torch.rand(20, 4, generator=torch.Generator().manual_seed(7)).round()


def small(prior):
    return VAE(prior, posteriors.Normal(networks.MLP(4, [3]), 2), likelihoods.Bernoulli(networks.MLP(2, [3]), 4))


class Tilted(priors.Prior):
    support = constraints.independent(constraints.real, 1)

    def __init__(self, dim, by=1.0):
        super().__init__(dim)
        self.by = nn.Parameter(torch.full((dim,), float(by)))

    def forward(self, y=None):
        return dist.Normal(self.by, 1.0).to_event(1)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my_file.py"
    path.write_text(FILE.format(marker=str(tmp_path / "marker")))
    return path


@pytest.fixture
def run(file, tmp_path):
    """A run whose prior is of the file; what the file left when it was executed is gone."""
    (cls,) = own.classes(file)
    fit(SVI(small(cls(2, by=2.0))), X, epochs=1, out=tmp_path / "run", progress=False)
    (tmp_path / "marker").unlink()
    forget()
    return tmp_path / "run"


@pytest.fixture(autouse=True)
def fresh():
    yield
    forget()


def forget():
    for name in [name for name in sys.modules if name.startswith("ppl_vae_own_")]:
        del sys.modules[name]


def refused(run, **how):
    with pytest.raises(ValueError) as caught:
        ppl_vae.load(run, **how)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_record_has_file_class_and_arguments(run):
    record = json.loads((run / "config.json").read_text())["model"]["prior"]
    assert record == {"class": "my_file.py:Tilted", "dim": 2, "by": 2.0}


def test_nothing_is_executed_because_a_run_names_it(run, file, tmp_path, monkeypatch):
    """Neither the file where it was, nor a copy in the run's folder, nor one that Python would find."""
    shutil.copytree(file.parent, run / "parts", ignore=lambda *_: ["run"])
    monkeypatch.chdir(tmp_path)
    said = refused(run)
    assert "the class Tilted of my_file.py" in said and f"--parts {run / 'parts' / 'my_file.py'}" in said
    shutil.rmtree(run / "parts")
    assert "give it by --parts my_file.py in the shell, and in Python by parts='my_file.py'" in refused(run)
    assert not (tmp_path / "marker").exists()


def test_a_run_is_opened_by_file_class_module_or_list(run, file, tmp_path):
    before = torch.get_rng_state()
    module = own.import_file(file)
    for given in (file, str(file), [str(file)], module, module.Tilted, Tilted, [module.Tilted, Tilted]):
        model = ppl_vae.load(run, parts=given)
        assert type(model.prior).__name__ == "Tilted" and not model.training
        assert torch.equal(model.prior.by, ppl_vae.load(run, parts=file).prior.by)
    assert torch.equal(torch.get_rng_state(), before), "the file's manual_seed came through"
    assert str(tmp_path) not in sys.path and not (tmp_path / "__pycache__").exists()


def test_what_is_given_must_be_what_the_run_holds(run, file, tmp_path):
    assert "(given: test_own.py:Other)" in refused(run, parts=type("Other", (Tilted,), {"__module__": __name__}))
    with pytest.raises(TypeError, match="parts must be files, modules or classes derived from ppl_vae.parts.Part, not"):
        ppl_vae.load(run, parts=[nn.Linear])
    assert refused(run, parts=tmp_path / "none.py") == f"there is no file {tmp_path / 'none.py'}"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("by=1.0", "tilt=1.0", "the record of my_file.py:Tilted does not fit its constructor: .*'by'"),
        ("__init__(dim)", "__init__(dim); 1 / 0", "Tilted cannot be built as the run records it: ZeroDivision"),
        ("full((dim,)", "full((3,)", "run.* was made by another model|weights"),
    ],
)
def test_a_file_that_was_changed_is_one_sentence(run, file, old, new, said):
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(ValueError, match=said):
        ppl_vae.load(run, parts=file)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def (", "does not import: invalid syntax (line 1)"),
        (
            "import no_such_module",
            "does not import: ModuleNotFoundError: No module named 'no_such_module' (at my_file.py:1",
        ),
        ("\nraise SystemExit('bye')", "does not import: SystemExit: bye (at my_file.py:2 in <module>)"),
        ("1 / 0", "does not import: ZeroDivisionError: division by zero (at my_file.py:1"),
    ],
)
def test_a_file_that_fails_is_one_sentence(file, text, said):
    file.write_text(text)
    with pytest.raises(ValueError) as caught:
        own.import_file(file)
    assert str(caught.value).startswith(f"{file} {said}")
    assert not [name for name in sys.modules if name.startswith("ppl_vae_own_")], "half a module is left"


def test_a_file_imports_the_one_beside_it_and_is_executed_once(file, tmp_path):
    (tmp_path / "beside_it.py").write_text("by = 3\n")
    file.write_text("from beside_it import by\nfrom ppl_vae.priors import Normal\nclass Mine(Normal): ...\nseen = []\n")
    module = own.import_file(file)
    module.seen.append(1)
    assert own.import_file(str(file)) is module and module.by == 3
    file.write_text(file.read_text() + "more = 1\n")
    assert own.import_file(file).more == 1 and own.import_file(file).seen == []
    assert own.classes(module) == [module.Mine], "classes of ppl_vae are no own ones"


def test_other_arguments_are_refused_when_a_run_goes_on(tmp_path):
    def train(by, epochs):
        return fit(SVI(small(Tilted(2, by=by))), X, epochs=epochs, out=tmp_path / "run", resume=True, progress=False)

    train(2.0, 1)
    with pytest.raises(ValueError, match=r"model prior.by was 2.0 in the run .* is now 3.0"):
        train(3.0, 2)
    assert len(train(2.0, 2).rows) == 2


def test_two_classes_of_one_name_are_told_apart_by_their_file(tmp_path):
    (tmp_path / "a.py").write_text("from ppl_vae.priors import Normal\nclass Mine(Normal): which = 'a'\n")
    (tmp_path / "b.py").write_text("from ppl_vae.priors import Normal\nclass Mine(Normal): which = 'b'\n")
    a, b = own.classes([tmp_path / "a.py", tmp_path / "b.py"])
    assert parts.build({"class": "b.py:Mine", "dim": 2}, [a, b]).which == "b"
    assert parts.build({"class": "c.py:Mine", "dim": 2}, [a]).which == "a", "the file has another name now"
    with pytest.raises(ValueError, match=r"the class Mine of c.py.*\(given: a.py:Mine, b.py:Mine\)"):
        parts.build({"class": "c.py:Mine", "dim": 2}, [a, b])


# A forward without y


def without_y(base, first):
    names = ", ".join(["self", *first])
    scope = {"base": base}
    exec(f"class Mine(base):\n    def forward({names}):\n        return super().forward({', '.join(first)})", scope)
    return scope["Mine"]


@pytest.mark.parametrize("role", ["prior", "posterior", "likelihood"])
def test_a_forward_without_y_is_refused_when_the_model_is_built(role):
    first = {"prior": [], "posterior": ["x"], "likelihood": ["z"]}[role]
    network = networks.MLP(2 if role == "likelihood" else (1, 4, 4), [3])
    made = {
        "prior": lambda: without_y(priors.Normal, first)(2),
        "posterior": lambda: without_y(posteriors.Normal, first)(network, 2),
        "likelihood": lambda: without_y(likelihoods.Bernoulli, first)(network, (1, 4, 4)),
    }[role]()
    written = ", ".join(["self", *first, "y=None"])
    with pytest.raises(TypeError) as caught:
        vae(**{role: made})
    assert str(caught.value) == f"{role} Mine must take y, used or not: def forward({written})"


def test_a_forward_that_takes_anything_is_a_forward_with_y():
    class Any(priors.Normal):
        def forward(self, *batch):
            return super().forward()

    assert vae(prior=Any(2)).model(n=3).shape == (3, 1, 4, 4)


# What an estimator of one's own derives from


def test_an_own_bound_of_the_log_weights():
    class Largest(estimators.Importance):
        def bound(self, log_w):
            return log_w.amax(0) - math.log(len(log_w))

    model = vae()
    x = torch.ones(3, 1, 4, 4)
    bounds = []
    for cls in (Largest, estimators.IWAE):
        torch.manual_seed(5)
        terms = cls(num_particles=4).terms(model.model, model.guide, x)
        assert isinstance(terms, estimators.Terms)
        bounds.append(terms.surrogate.detach())
    below = bounds[1] - bounds[0]
    assert (below >= 0).all() and (below <= math.log(4) + 1e-5).all()  # of the same samples
    assert estimators.Importance.__abstractmethods__ == {"bound"}
