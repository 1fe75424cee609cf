"""The fixed names, used as somebody who has only read the documentation would use them."""

import math
import os
import subprocess
import sys

import pyro
import pyro.distributions as dist
import pytest
import torch
from instances import SHAPE, vae
from torch import nn
from torch.distributions import constraints
from torch.utils.data import TensorDataset

from ppl_vae import SVI, Reconstruction, evaluation, fit, likelihoods, load, models, networks, posteriors
from ppl_vae.cli import main

X = (torch.rand(24, *SHAPE, generator=torch.Generator().manual_seed(0)) > 0.5).float()
Y = torch.arange(24) % 3


def objectives():
    encoder, decoder = networks.MLP(SHAPE, [4]), networks.MLP(2, [4])
    return SVI(vae()), Reconstruction(models.Autoencoder(encoder, decoder, 2, SHAPE))


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (TensorDataset(X.double()), "is float64, but the model's parameters are float32; convert one to the other"),
        (X.half(), "is float16, but the model's parameters are float32"),
        (X[..., 1:], r"has examples of shape \(1, 4, 3\), but the model's are \(1, 4, 4\)"),
        (TensorDataset(X, Y, Y), r"data must be x, \(x,\) or \(x, y\), not 3 tensors"),
    ],
)
def test_data_of_another_make_are_one_sentence(train, message):
    for objective in objectives():
        for given in ({"train": train}, {"train": X, "valid": train}):
            with pytest.raises(ValueError, match=message) as caught:
                fit(objective, **given, epochs=1, progress=False)
            assert "\n" not in str(caught.value)
            if "tensors" not in message:
                assert f"x of the {'valid' if 'valid' in given else 'train'} split" in str(caught.value)


def test_a_double_model_takes_double_data():
    for objective in objectives():
        before = [p.detach().double() for p in objective.parameters()]
        history = fit(objective.double(), TensorDataset(X.double(), Y), valid=X.double(), epochs=1, progress=False)
        after = list(objective.parameters())
        assert all(b.dtype == torch.float64 and not torch.equal(a, b) for a, b in zip(before, after, strict=True))
        assert math.isfinite(history.rows[0]["valid"]["loss"])


@pytest.mark.parametrize("elbo", [pyro.infer.Trace_ELBO, pyro.infer.TraceMeanField_ELBO])
def test_pyros_own_vectorized_particles_leave_the_store_empty(elbo):
    fit(SVI(vae(), elbo(num_particles=2, vectorize_particles=True)), X, epochs=1, progress=False)
    assert not len(pyro.get_param_store())


def test_one_number_an_example():
    def model(x):
        scale = pyro.param("scale", torch.tensor(1.0), constraint=constraints.positive)
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), scale), obs=x)

    def guide(x):
        slope = pyro.param("slope", torch.tensor(0.0))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(slope * x, 0.7))

    x = torch.randn(100, generator=torch.Generator().manual_seed(0))
    program = models.Program(model, guide)
    history = fit(SVI(program), TensorDataset(x), valid=x, epochs=10, lr=0.05, progress=False)
    assert history.rows[-1]["valid"]["loss"] < history.rows[0]["valid"]["loss"]
    with pytest.raises(ValueError, match=r"has examples of shape \(\), but the model's are \(1, 4, 4\)"):
        fit(SVI(vae()), x, epochs=1, progress=False)
    with pytest.raises(ValueError, match="x is the number 1: wanted"):
        fit(SVI(vae()), torch.tensor(1.0), epochs=1, progress=False)


def test_noise_is_not_what_the_data_were_drawn_from():
    torch.manual_seed(0)
    z = torch.randn(200, 4)
    model = vae(
        dim=4,
        shape=(4,),
        posterior=posteriors.Normal(networks.MLP(4, []), 4),
        likelihood=likelihoods.Normal(networks.MLP(4, []), 4, scale=0.1),
    )
    for layer in (model.posterior.head.layer, model.likelihood.head.layer):
        nn.init.zeros_(layer.weight), nn.init.zeros_(layer.bias)
    nn.init.eye_(model.likelihood.head.layer.weight)
    nn.init.constant_(model.posterior.head.layer.bias[4:], 0.5413)  # q = p, so E|z - z'|^2 = 8, or 0 for z' = z
    expected = -4 * math.log(0.1 * math.sqrt(2 * math.pi)) - 8 / 0.02
    assert evaluation.elbo(model, z, seed=0).elbo.mean() == pytest.approx(expected, rel=0.2)
    history = fit(SVI(model), z, valid=z, epochs=1, lr=1e-9, seed=0, progress=False)
    assert history.rows[0]["valid"]["elbo"] == pytest.approx(expected, rel=0.2)


def test_load_wants_a_module(tmp_path):
    fit(SVI(vae()), X, epochs=1, out=tmp_path / "run", progress=False)
    with pytest.raises(TypeError, match="model must be a torch.nn.Module built as the run's was, not"):
        load(tmp_path / "run", model=vae)


def test_importing_changes_no_random_state_and_no_setting():
    code = """
import random, numpy, torch, pyro, matplotlib
def state():
    generators = random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    checks = torch.distributions.Distribution._validate_args, pyro.settings.get("validate_distributions_pyro")
    return generators, checks, torch.get_default_dtype(), matplotlib.rcParams.copy(), torch.get_num_threads()
before = state()
import ppl_vae, ppl_vae.cli.build
for name in ppl_vae.__all__:
    getattr(ppl_vae, name)
assert state() == before
next(ppl_vae.data.Batches(ppl_vae.data.load("digits", binarize="dynamic").train, 9).epoch(0))  # imports scikit-learn
assert state() == before
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_the_shell_under_torchrun_is_one_run(tmp_path, capsys):
    if torch.accelerator.is_available():
        pytest.skip("two processes would share the accelerator")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "ppl_vae", "train"]
    flags = ["--hidden", "4", "--epochs", "1", "--no-progress", "--no-report"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        [sys.executable, *launcher, *flags, "--out", str(tmp_path / "run")],
        env=environment, capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("1 epochs") == 1
    assert main(["train", *flags[:3], "2", *flags[4:], "--out", str(tmp_path / "run"), "--resume"]) == 2
    said = capsys.readouterr().err
    assert "was trained by 2 processes and is now resumed by 1; start as many" in said and said.count("\n") == 1
