"""Exported encoders and decoders: the numbers of the model in a process that has only onnxruntime and numpy."""

import copy
import io
import json
import subprocess
import sys
import zipfile

import instances
import numpy as np
import onnx
import onnxruntime
import pyro
import pytest
import torch
from instances import SHAPE, every, instance, shaken, vae
from torch import nn
from torch.distributions import constraints

from ppl_vae import VAE, data, evaluation, likelihoods, models, networks, posteriors, priors
from ppl_vae.data import as_split
from ppl_vae.distributions.means import mean_of
from ppl_vae.models import export_formats, exporting
from ppl_vae.networks import MLP, Conditioned, Label

SAMPLED = ("Flow", "Hierarchical", "LogisticNormal", "RelaxedOneHotCategorical")  # posteriors whose mean is drawn
KINDS = {0: "real", 1: "positive", 2: "count", 3: "categorical(3)"}


def draw(*shape, seed=3):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def onnx_run(path, *inputs):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return torch.from_numpy(session.run(None, dict(zip(names, (t.numpy() for t in inputs), strict=True)))[0])


def run(path, *inputs):
    if path.suffix == ".onnx":
        return onnx_run(path, *inputs)
    return torch.export.load(path).module()(*inputs).detach()


def agree(found, expected, within=1e-5):
    """To 1e-5 of the largest entry."""
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= within * expected.abs().max()


# In a process of its own


def digits():
    split = data.load("digits")
    torch.manual_seed(0)
    model = VAE(
        priors.Normal(4),
        posteriors.Normal(MLP((1, 8, 8), [32]), 4),
        likelihoods.Bernoulli(MLP(4, [32]), (1, 8, 8)),
    )
    return model, split.train, split.test.x[:50], None


def table():
    """Columns of very different units, a fifth of whose cells are missing, in the training rows and the held ones."""
    u = draw(200, 4)
    x = torch.stack([1e4 + 500 * u[:, 0], (u[:, 1] - 3).exp(), (9 * u[:, 2].abs()).floor(), (u[:, 3] > 0) * 2.0], 1)
    x[torch.rand(x.shape, generator=torch.Generator().manual_seed(4)) < 0.2] = torch.nan
    x[-1] = torch.nan
    torch.manual_seed(0)
    encoder = networks.TableEncoder(4, [16], kinds=KINDS, mask=True)
    likelihood = likelihoods.Columns(MLP(2, [16]), 4, KINDS)
    return VAE(priors.Normal(2), posteriors.Normal(encoder, 2), likelihood), as_split(x[:150]), x[150:], None


def conv():
    split = data.load("digits")
    torch.manual_seed(0)
    model = VAE(
        priors.Normal(3),
        posteriors.Normal(networks.Conv((1, 8, 8), [8, 4]), 3),
        likelihoods.Normal(networks.Conv.decoder(3, [8, 4], (1, 8, 8)), (1, 8, 8), scale="learned"),
    )
    return model, split.train, split.test.x[:50], None


def conditional():
    split = data.load("digits")
    torch.manual_seed(0)
    y = Label(10)
    model = VAE(
        priors.Normal(3),
        posteriors.Normal(Conditioned.around(MLP, y, (1, 8, 8), [16]), 3),
        likelihoods.Bernoulli(Conditioned(MLP(3 + 10, [16]), y), (1, 8, 8)),
    )
    return model, split.train, split.test.x[:50], split.test.y[:50]


ALONE = """
import json, sys
import numpy as np, onnxruntime
for file in sys.argv[1:]:
    rows = np.load(file + ".npz")
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    assert [v.name for v in session.get_inputs()] == json.loads(about["inputs"])
    for n in (len(rows["expected"]), 1):
        found = session.run([about["output"]], {v.name: rows[v.name][:n] for v in session.get_inputs()})[0]
        expected = rows["expected"][:n]
        assert found.shape == expected.shape and found.dtype == expected.dtype
        size = np.abs(rows["expected"])
        worst = (np.abs(found - expected) / np.maximum(size.max(0), min(1, size.max()))).max()
        assert worst <= 1e-5, (file, worst)
assert "torch" not in sys.modules and "ppl_vae" not in sys.modules
print("agreed", len(sys.argv) - 1)
"""


@pytest.mark.parametrize(
    "make", [table, *(pytest.param(make, marks=pytest.mark.slow) for make in (digits, conv, conditional))]
)
def test_round_trip_in_a_process_without_torch(make, tmp_path):
    """Held rows, in the data's own units: every column agrees to 1e-5 of its own largest value, or of 1."""
    model, train, x, y = make()
    model.start(train)
    shaken(model)
    z = evaluation.codes(model, x, y)
    means = evaluation.decode(model, z, y)
    for part, given, expected in (("encoder", {"x": x}, z), ("decoder", {"z": z}, means)):
        made = model.export(tmp_path / f"{part}.onnx", part, x=x, y=y)
        assert made.difference < 1e-5
        given = given if y is None else given | {"y": y}
        np.savez(tmp_path / f"{part}.onnx.npz", expected=expected.numpy(), **{k: v.numpy() for k, v in given.items()})
    files = [str(tmp_path / f"{part}.onnx") for part in ("encoder", "decoder")]
    done = subprocess.run([sys.executable, "-c", ALONE, *files], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == "agreed 2\n", done.stderr


def test_the_table_has_units_and_gaps():
    """What the round trip above is about: raw rows go in, some without a single entry."""
    model, train, x, _ = table()
    model.start(train)
    assert model.posterior.network.zero.abs().max() > 1000 and evaluation.codes(model, x).isfinite().all()
    assert x.isnan().all(1).any() and 0.1 < x.isnan().float().mean() < 0.4


# All families


class Half(nn.Module, models.Codec):
    """A codec whose encoder is a posterior, or whose decoder is a likelihood."""

    shape, code_shape, support = SHAPE, (instances.DIM,), constraints.real
    code_support = constraints.independent(constraints.real, 1)

    def __init__(self, q=None, p=None):
        super().__init__()
        self.q, self.p, self.shape = q, p, SHAPE if p is None else p.shape

    def encode(self, x, y=None):
        return mean_of(self.q(x, y))

    def decode(self, z, y=None, *, like=None):
        return mean_of(self.p(z, y))


def check_export(model, part, given, folder, formats=(".onnx", ".pt2")):
    """The file's numbers on several rows and on one."""
    with torch.no_grad(), pyro.validation_enabled(False):
        twin = copy.deepcopy(model).eval()
        expected = (twin.encode if part == "encoder" else twin.decode)(given)
    for suffix in formats:
        path = model.export(folder / f"{part}{suffix}", part).path
        for n in (len(given), 1):
            agree(run(path, given[:n]), expected[:n], 1e-5 if n > 1 else 1e-4)


def check_posterior(case, folder, formats=(".onnx", ".pt2")):
    q = instance("posteriors", case)
    model = Half(q, vae(q.dim).likelihood)
    model.code_shape = (q.dim,)
    if case[0] not in SAMPLED:
        return check_export(model, "encoder", draw(5, *SHAPE), folder, formats)
    for suffix in formats:
        with pytest.raises(ValueError, match=r"Half.encode of Half\(q=\w+, p=\w+\) averages random draws.*Normal"):
            model.export(folder / f"encoder{suffix}")
    assert not [*folder.iterdir()]


QUICK = [("LowRankNormal", 0), ("Kumaraswamy", 0), ("Flow", 0)]


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case[0])
def test_some_posteriors(case, tmp_path):
    """LowRankNormal factorises a matrix that its mean does not use; Kumaraswamy's mean has log-gamma in it."""
    check_posterior(case, tmp_path, [".onnx"])


@pytest.mark.slow
@pytest.mark.parametrize("case", every("posteriors"), ids=str)
def test_posteriors(case, tmp_path):
    check_posterior(case, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("case", [c for c in every("networks") if c[0] in ("Scaled", "TableEncoder")], ids=str)
def test_networks_in_units(case, tmp_path):
    """Encoders that have units inside, which are not the initial ones."""
    network = instance("networks", case)
    x = draw(40, *network.in_shape).abs().mul(3).floor()
    network.start(as_split(x))
    assert any(b.ne(0).any() and b.ne(1).any() for b in network.buffers())
    model = Half(posteriors.Normal(network, instances.DIM), likelihoods.Normal(MLP(instances.DIM, [5]), x.shape[1:]))
    check_export(model, "encoder", x[:5], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("case", every("likelihoods"), ids=str)
def test_likelihoods(case, tmp_path):
    check_export(Half(p=instance("likelihoods", case)), "decoder", draw(5, instances.DIM), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["encoder", "decoder"])
@pytest.mark.parametrize("case", every("models"), ids=str)
def test_models(case, part, tmp_path):
    model = instance("models", case)
    given = draw(5, *(SHAPE if part == "encoder" else model.code_shape)).sigmoid()
    if isinstance(model, models.Discrete) and part == "decoder":
        given = (given * model.num_codes).long()
    check_export(model, part, given, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in every("priors") if case != ("Uniform", 1)], ids=str)
def test_priors(case, tmp_path):
    """Decoders bring codes onto the prior's support. No posterior lives on the interval of the Uniform left out."""
    prior = instance("priors", case)
    model = vae(prior.dim, prior=prior, posterior=posteriors.natural(prior)(MLP(SHAPE, [5]), prior.dim))
    check_export(model, "decoder", draw(5, prior.dim), tmp_path)


def test_decoders_project_codes(tmp_path):
    """Codes off the sphere are brought onto it as ``decode`` does."""
    model = vae(3, prior=priors.Hyperspherical(3), posterior=posteriors.Hyperspherical(MLP(SHAPE, [5]), 3))
    z = draw(4, 3)
    path = model.export(tmp_path / "decoder.onnx", "decoder").path
    agree(onnx_run(path, z), evaluation.decode(model, z))
    agree(onnx_run(path, z), onnx_run(path, torch.nn.functional.normalize(z, dim=1)), 1e-6)


def test_log_gamma():
    """The series for ONNX against torch's own, in units of rounding; ONNX has no such operator."""
    x = torch.cat([torch.logspace(-6, 4, 400), -torch.linspace(0.05, 30.55, 62)]).double()
    right = torch.lgamma(x)
    assert ((export_formats.lgamma(x) - right).abs() <= 1e-10 * right.abs().clamp(min=1)).all()


def test_running_products():
    """Of a posterior that breaks a stick, against torch's own; ONNX has no such operator."""
    x = draw(3, 4, 5)
    for dim in (1, -1):
        torch.testing.assert_close(export_formats.cumprod(x, dim), torch.cumprod(x, dim))  # torch's are rounded once


# The file


class Odd(nn.Module, models.Codec):
    """A user's codec, with layers that work otherwise in training."""

    shape, code_shape, support = (6,), (2,), constraints.real
    code_support = constraints.independent(constraints.real, 1)

    def __init__(self):
        super().__init__()
        self.up = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
        self.down = nn.Linear(2, 6)

    def encode(self, x, y=None):
        return self.up(x)

    def decode(self, z, y=None, *, like=None):
        return self.down(z)


def test_a_users_codec_in_training_is_left_alone(tmp_path):
    """Exported as it works in evaluation; mode, statistics, generators and validation are as before."""
    model = Odd().train()
    model.up(draw(20, 6) + 3)
    before, generator = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    made = model.export(str(tmp_path / "encoder.onnx"))
    assert all(module.training for module in model.modules())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator) and torch.distributions.Distribution._validate_args
    x = draw(7, 6)
    agree(onnx_run(made.path, x), model.eval().encode(x).detach())
    assert made == (tmp_path / "encoder.onnx", ("x",), "z", made.difference) and 0 <= made.difference < 1e-5


def test_what_an_onnx_file_says(tmp_path):
    """Names, shapes and the user's own strings; nothing of this computer."""
    model, _, x, y = conditional()
    made = model.export(tmp_path / "encoder.onnx", metadata={"columns": '["a"]'}, x=x, y=y)
    assert made.inputs == ("x", "y") and made.output == "z"
    file = onnx.load(made.path)
    onnx.checker.check_model(file, full_check=True)
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*file.graph.input, *file.graph.output)
    }
    assert shapes == {"x": ["batch", 1, 8, 8], "y": ["batch"], "z": ["batch", 3]}
    about = {prop.key: prop.value for prop in file.metadata_props}
    assert about.pop("ppl_vae")
    assert about == {
        "part": "encoder",
        "inputs": '["x", "y"]',
        "output": "z",
        "shape": "[1, 8, 8]",
        "code_shape": "[3]",
        "y": "Label(10)",
        "columns": '["a"]',
    }
    assert b".py" not in made.path.read_bytes()
    agree(onnx_run(made.path, x, y), evaluation.codes(model, x, y))
    assert not torch.allclose(onnx_run(made.path, x, (y + 1) % 10), onnx_run(made.path, x, y))


def test_a_pt2_file_holds_json_and_plain_bytes(tmp_path):
    """No member of the archive is a pickle; the program runs for any number of rows."""
    model = vae()
    made = model.export(tmp_path / "decoder.pt2", "decoder", metadata={"columns": "[]"})
    with zipfile.ZipFile(made.path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    assert not [name for name, held in members.items() if held[:2] in (b"\x80\x02", b"PK") or b"ctorch" in held]
    assert not [name for name, held in members.items() if b".py" in held]
    assert not [name for name, held in members.items() if b"_assert_async" in held]  # checks of arguments
    extra = {export_formats.METADATA: ""}
    program = torch.export.load(made.path, extra_files=extra)
    about = json.loads(extra[export_formats.METADATA])
    assert (about["part"], about["inputs"], about["columns"]) == ("decoder", '["z"]', "[]")
    for n in (1, 2, 30):
        z = draw(n, 2)
        agree(program.module()(z).detach(), evaluation.decode(model, z))


@pytest.mark.slow
def test_half_and_double_precision(tmp_path):
    """Half precision becomes float32; double stays."""
    x = draw(4, *SHAPE)
    model = vae().double()
    agree(onnx_run(model.export(tmp_path / "double.onnx").path, x.double()), evaluation.codes(model, x.double()), 1e-12)
    path = vae().to(torch.bfloat16).export(tmp_path / "half.onnx").path
    assert onnx_run(path, x).dtype == torch.float32


# Refusals


def no_files(folder):
    return not [*folder.iterdir()]


def test_a_file_that_differs_is_not_written(tmp_path, monkeypatch):
    """What a faulty exporter would write: the old file stays."""
    written, run = exporting.FORMATS[".pt2"]

    def faulty(content):
        return lambda *rows: run(content)(*rows) * (1 + 3e-5)

    monkeypatch.setitem(exporting.FORMATS, ".pt2", (written, faulty))
    path = tmp_path / "encoder.pt2"
    with pytest.raises(ValueError, match=r"encoder differs from the model by [23].*e-05 of .* tolerance=1e-05"):
        vae().export(path)
    assert no_files(tmp_path)
    path.write_text("old")
    with pytest.raises(ValueError, match="nothing was written"):
        vae().export(path)
    assert path.read_text() == "old" and len([*tmp_path.iterdir()]) == 1
    assert vae().export(path, tolerance=1e-4).difference > 1e-5


def test_one_row_is_compared_too(monkeypatch):
    """A file that is right for many rows and wrong for one."""
    rows = (draw(5, 3),)
    assert exporting._difference(lambda x: x.numpy(), rows, rows[0]) == 0
    wrong = exporting._difference(lambda x: x.numpy() * (2 if len(x) == 1 else 1), rows, rows[0])
    assert wrong > 0.1
    assert exporting._difference(lambda x: x.numpy() * np.nan, rows, rows[0]) == np.inf
    assert exporting._difference(lambda x: x[:, :2].numpy(), rows, rows[0]) == np.inf


def test_small_columns_count_as_much_as_large_ones():
    """A column in millions does not hide an error in a column of ones; entries near 0 need not agree to their size."""
    right = torch.tensor([[1e6, 1.0, 1e-9], [2e6, -1.0, 0.0]])
    wrong = right + torch.tensor([0.0, 1e-4, 0.0])
    assert exporting._difference(lambda x: wrong[: len(x)].numpy(), (right,), right) == pytest.approx(1e-4, rel=0.01)
    near = right + torch.tensor([0.0, 0.0, 1e-9])
    assert exporting._difference(lambda x: near[: len(x)].numpy(), (right,), right) < 1e-8


def test_without_onnx(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ValueError, match=r"not installed; pip install 'ppl_vae\[onnx\]'"):
        vae().export(tmp_path / "encoder.onnx")
    assert no_files(tmp_path)


def test_without_onnxruntime_the_file_is_not_compared(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert export_formats.run_onnx(b"") is None
    assert exporting._difference(None, (draw(5, 3),), draw(5, 3)) is None


def broken_vae():
    model = vae()
    with torch.no_grad():
        model.posterior.head.layer.bias[0] = torch.nan
    return model


class Counting(Odd):
    def encode(self, x, y=None):
        return self.up(x) if x.sum() > 0 else self.up(-x)


class Bessel(Odd):
    def encode(self, x, y=None):
        return torch.special.bessel_j0(self.up(x))


def test_an_operator_that_onnx_lacks(tmp_path):
    with pytest.raises(ValueError, match=r"ONNX, which has no operator for prims.bessel_j0; write a .pt2 file"):
        Bessel().export(tmp_path / "encoder.onnx")
    assert no_files(tmp_path) and Bessel().export(tmp_path / "encoder.pt2").difference < 1e-5


class NoModule(models.Codec):
    def encode(self, x, y=None):
        return x

    def decode(self, z, y=None, *, like=None):
        return z


@pytest.mark.parametrize(
    "make, kwargs, says",
    [
        (vae, {"path": "encoder.pt"}, r"path must end in .onnx \(ONNX\) or .pt2 \(torch.export\), not 'encoder.pt'"),
        (vae, {"part": "prior"}, "part must be 'encoder', 'decoder' or 'predictor', not 'prior'"),
        (vae, {"path": "none/encoder.onnx"}, "path is in .*none, which is not a folder; make it first"),
        (vae, {"metadata": {"columns": ["a"]}}, "metadata must map strings to strings, not 'columns'"),
        (vae, {"metadata": {"part": "a"}}, "metadata holds 'part', which the file says itself"),
        (vae, {"x": torch.zeros(3, 16)}, r"x must be rows \(B, 1, 4, 4\), not of shape \(3, 16\)"),
        (vae, {"x": torch.zeros(0, *SHAPE)}, r"x must be rows .* not of shape \(0, 1, 4, 4\)"),
        (vae, {"y": torch.zeros(3)}, "y is given without x"),
        (vae, {"x": torch.full((3, *SHAPE), torch.nan)}, "the encoder gives NaN or infinity for an example"),
        (lambda: conditional()[0], {"x": torch.zeros(3, 1, 8, 8)}, r"y is missing: the model is conditional on Label"),
        (broken_vae, {}, "parameter posterior.head.layer.bias of the model holds NaN; train it again"),
        (Counting, {}, "Counting.encode cannot be exported, since it does not run on tensors without values: "),
        (NoModule, {}, "NoModule must be a torch.nn.Module to be exported"),
    ],
)
def test_refusals(make, kwargs, says, tmp_path):
    path = tmp_path / kwargs.pop("path", "encoder.pt2")
    with pytest.raises((ValueError, TypeError), match=says) as caught:
        make().export(path, **kwargs)
    assert "\n" not in str(caught.value) and no_files(tmp_path)


# torch.export


def test_torch_export_of_the_users_own_wrapper():
    """``torch.export.export`` of a module that calls ``encode``, without anything of ours, and back from bytes."""

    class Encoder(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, x):
            return self.model.encode(x)

    model, _, x, _ = digits()
    with pyro.validation_enabled(False):
        program = torch.export.export(Encoder(model), (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    agree(torch.export.load(file).module()(x[:9]).detach(), evaluation.codes(model, x[:9]))
