"""Pyro's CVAE tutorial and the same model through ppl_vae: the rest of an MNIST digit from 1, 2 or 3 of its quadrants.

A baseline network 784-500-500-784 guesses the rest; then a CVAE with 200 codes, whose prior sees the observed part with
that guess, whose encoder sees the digit, and whose decoder sees the code alone, each with two layers of 500. On the
tutorial's terms: grey pixels as targets of a cross-entropy, 60,000 digits, batch 128, Adam at 1e-3, patience 3 on the
*test* digits, whose negative ELBO with 10 particles is the figure. Its table says 71.8, 51.0 and 24.2 nats, at up to 50
epochs.

    python -m benchmarks.cvae --data-root DIR --observed 1 --epochs 50 --json OUT
    python -m benchmarks.cvae --data-root DIR --observed 1 --epochs 50 --systems ppl_vae --binarized

``--binarized`` adds what can be compared with other models: ppl_vae's CVAE on dynamically binarized digits, stopped on
validation digits, and log p(rest | part) of the test digits by importance sampling.

Two things differ: scales are exp(.) in the tutorial and softplus(.) here, and ``fit`` starts the decoder at the data's
mean.
"""

import argparse
import copy
import json
import math
import time
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro.infer import SVI as PyroSVI
from pyro.infer import Trace_ELBO
from torch import nn
from torch.distributions import constraints

from ppl_vae import SVI, data, evaluation, fit, likelihoods, models, networks, objectives, posteriors, priors

HIDDEN, DIM, BATCH, PATIENCE, PARTICLES = (500, 500), 200, 128, 3, 10


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cvae")
    parser.add_argument("--data-root", default="../shared/data")
    parser.add_argument("--observed", type=int, default=1, choices=(1, 2, 3))
    parser.add_argument("--epochs", type=int, default=50, help="at most, of each network")
    parser.add_argument("--systems", nargs="*", default=["pyro", "ppl_vae"], choices=("pyro", "ppl_vae"))
    parser.add_argument("--binarized", action="store_true", help="also log p(rest | part) of binarized digits")
    parser.add_argument("--samples", type=int, default=1000, help="K of that log-likelihood")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", help="file to write")
    chosen = parser.parse_args()
    grey = data.load("mnist", root=chosen.data_root, binarize="none", valid=1)  # the fewest allowed
    parts = (grey.train, grey.valid, grey.test)
    *x, test = (part.resolve(constraints.unit_interval).take(slice(None))[0] for part in parts)
    x = torch.cat(x)
    device = chosen.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    options = {"observed": chosen.observed, "epochs": chosen.epochs, "seed": chosen.seed, "device": device}
    rows = [{"pyro": by_pyro, "ppl_vae": by_us}[name](x, test, **options) for name in chosen.systems]
    if chosen.binarized:
        digits = data.load("mnist", root=chosen.data_root, binarize="dynamic")
        rows.append(binarized(digits, samples=chosen.samples, **options))
    if chosen.json:
        Path(chosen.json).write_text(json.dumps({"rows": rows}, indent=1) + "\n")


def told(row):
    """Print a row and give it back."""
    print(", ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()), flush=True)
    return row


# ppl_vae


class Grey(likelihoods.Bernoulli):
    """The cross-entropy of grey pixels, which is no log-probability: for the tutorial's terms alone."""

    support = constraints.unit_interval

    def forward(self, z, y=None):
        """As Bernoulli, without a check of the values."""
        (logits,) = self.parameters_of(z, y)
        return dist.Bernoulli(logits=logits, validate_args=False).to_event(len(self.shape))


class Guess(objectives.Objective):
    """Cross-entropy of the guess, in nats per example, over the entries that are not seen."""

    def __init__(self, guessed):
        super().__init__()
        self.model = guessed

    def forward(self, x, *y):
        """Loss of a batch."""
        by_entry = F.binary_cross_entropy_with_logits(self.model.logits(x), x, reduction="none")
        return objectives.Loss((by_entry * ~self.model.mask).flatten(1).sum(1).mean())


def build(shape, observed, likelihood, hidden=HIDDEN, dim=DIM):
    """The network that guesses, and the CVAE that sees its guess."""
    seen, size = networks.Quadrants(shape, observed), math.prod(shape)
    guessed = networks.Guessed(seen, networks.MLP(size, hidden))
    cvae = models.CVAE(
        priors.Given(priors.Normal(dim, learned=True), guessed, networks.MLP(size, hidden)),
        posteriors.Normal(networks.MLP(shape, hidden), dim),
        likelihoods.Completed(likelihood(networks.MLP(dim, hidden), shape), seen),
    )
    return guessed, cvae


def train(guessed, cvae, x, valid, epochs, seed, device):
    """Both trainings by ``fit``, each stopped on ``valid``: the epochs that were run and the guess's loss."""
    options = {"valid": valid, "epochs": epochs, "batch_size": BATCH, "patience": PATIENCE, "seed": seed}
    guess = fit(Guess(guessed), x, device=device, progress=False, **options)
    guessed.requires_grad_(False)
    history = fit(SVI(cvae), x, device=device, progress=False, **options)
    return len(history.rows), min(row["valid"]["loss"] for row in guess.rows)


def by_us(x, test, observed, epochs, seed, device="cpu", hidden=HIDDEN, dim=DIM):
    """Our row on the tutorial's terms."""
    began = time.monotonic()
    torch.manual_seed(seed)
    guessed, cvae = build(x.shape[1:], observed, Grey, hidden, dim)
    run, baseline = train(guessed, cvae, (x,), (test,), epochs, seed, device)
    seconds = time.monotonic() - began
    found = evaluation.elbo(cvae, test, num_particles=PARTICLES)
    nll = -found.elbo.double().mean().item()
    row = {"system": "ppl_vae", "observed": observed, "negative_elbo": nll, "baseline": baseline}
    return told(row | {"epochs": run, "seconds": seconds})


def binarized(digits, observed, epochs, samples, seed, device="cpu", hidden=HIDDEN, dim=DIM):
    """log p(rest | part) on binarized test digits, stopped on validation digits."""
    torch.manual_seed(seed)
    guessed, cvae = build(tuple(digits.shape), observed, likelihoods.Bernoulli, hidden, dim)
    run, _ = train(guessed, cvae, digits.train, digits.valid, epochs, seed, device)
    x = digits.test.resolve(cvae.support).take(slice(None))[0]
    found = evaluation.log_likelihood(cvae, x, num_particles=samples)
    row = {"system": "ppl_vae, binarized", "observed": observed, "log_likelihood": found.mean, "K": samples}
    error = {"stderr_of_K": found.mean_stderr, "error": found.mean_error}
    return told(row | error | {"stderr_of_digits": (found.value.std() / len(x) ** 0.5).item(), "epochs": run})


# The tutorial, written anew for this Pyro


class Layers(nn.Sequential):
    """Two hidden layers with relu, and linear outputs."""

    def __init__(self, size_in, hidden, size_out):
        first, second = hidden
        super().__init__(
            *(nn.Flatten(), nn.Linear(size_in, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU()),
            nn.Linear(second, size_out),
        )


class Tutorial(nn.Module):
    """The tutorial's three networks and the frozen baseline."""

    def __init__(self, baseline, mask, hidden, dim):
        super().__init__()
        size = mask.numel()
        self.baseline, self.dim = baseline, dim
        self.register_buffer("mask", mask.flatten())
        self.prior, self.encoder = Layers(size, hidden, 2 * dim), Layers(size, hidden, 2 * dim)
        self.decoder = Layers(dim, hidden, size)

    def codes(self, network, picture):
        """A Normal of codes."""
        location, log_scale = network(picture).chunk(2, -1)
        return dist.Normal(location, log_scale.exp()).to_event(1)

    def model(self, x):
        """p(z | part) p(rest | z)."""
        pyro.module("tutorial", self)
        with pyro.plate("data", len(x)):
            with torch.no_grad():
                guess = self.baseline(torch.where(self.mask, x, -1.0)).sigmoid()
            z = pyro.sample("z", self.codes(self.prior, torch.where(self.mask, x, guess)))
            rest = dist.Bernoulli(logits=self.decoder(z)[:, ~self.mask], validate_args=False)
            pyro.sample("x", rest.to_event(1), obs=x[:, ~self.mask])

    def guide(self, x):
        """q(z | x)."""
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.codes(self.encoder, x))


def stopped(module, step, loss, x, test, epochs):
    """Epochs of ``step``, stopped by ``loss`` of the test data; the best weights are put back."""
    best, waited, kept, run = math.inf, 0, None, 0
    for _ in range(epochs):
        run += 1
        for rows in torch.randperm(len(x), device=x.device).split(BATCH):
            step(x[rows])
        found = sum(loss(part) for part in test.split(BATCH)) / len(test)
        best, waited, kept = (
            (found, 0, copy.deepcopy(module.state_dict())) if found < best else (best, waited + 1, kept)
        )
        if waited >= PATIENCE:
            break
    module.load_state_dict(kept)
    return run, best


def by_pyro(x, test, observed, epochs, seed, device="cpu", hidden=HIDDEN, dim=DIM):
    """The tutorial's row."""
    began = time.monotonic()
    torch.manual_seed(seed)
    pyro.clear_param_store()
    mask = networks.Quadrants(x.shape[1:], observed).mask.flatten().to(device)
    x, test = x.flatten(1).to(device), test.flatten(1).to(device)
    baseline = Layers(mask.numel(), hidden, mask.numel()).to(device)
    optimizer = torch.optim.Adam(baseline.parameters(), lr=1e-3)

    def error(part):
        logits = baseline(torch.where(mask, part, -1.0))
        return F.binary_cross_entropy_with_logits(logits[:, ~mask], part[:, ~mask], reduction="sum")

    def step(part):
        optimizer.zero_grad()
        (error(part) / len(part)).backward()
        optimizer.step()

    with_error = torch.no_grad()(lambda part: error(part).item())
    _, guess = stopped(baseline, step, with_error, x, test, epochs)
    model = (
        Tutorial(baseline.requires_grad_(False), mask, hidden, dim).to(device).eval()
    )  # pyro.module warns of frozen parameters in training mode
    svi = PyroSVI(model.model, model.guide, pyro.optim.Adam({"lr": 1e-3}), loss=Trace_ELBO())
    run, _ = stopped(model, svi.step, svi.evaluate_loss, x, test, epochs)
    seconds = time.monotonic() - began
    elbo = Trace_ELBO(num_particles=PARTICLES)
    with torch.no_grad():
        nll = sum(elbo.loss(model.model, model.guide, part) for part in test.split(1000)) / len(test)
    pyro.clear_param_store()
    row = {"system": "pyro", "observed": observed, "negative_elbo": nll, "baseline": guess}
    return told(row | {"epochs": run, "seconds": seconds})


if __name__ == "__main__":
    main()
