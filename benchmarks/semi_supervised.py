"""Time a captured step of M2, which sums over 10 classes, beside one of the CVAE inside of it, in turns.

python -m benchmarks.semi_supervised [--hidden 500] [--rounds 5] [--steps 20] [--device cpu] [--uncompiled]
"""

import argparse
import statistics
import time

import torch

from ppl_vae import SVI, data, likelihoods, models, networks, objectives, posteriors, priors
from ppl_vae.training.capture import Captured

CLASSES, PIXELS, LABELLED = 10, 784, 100


def model(hidden, dim):
    """M2 of 784 binary numbers; two calls give two models of the same weights."""
    torch.manual_seed(0)
    label = networks.Label(CLASSES)
    encoder = networks.Conditioned(networks.MLP(PIXELS + CLASSES, [hidden]), label)
    decoder = networks.Conditioned(networks.MLP(dim + CLASSES, [hidden]), label)
    p, q = likelihoods.Bernoulli(decoder, PIXELS), posteriors.Normal(encoder, dim)
    return models.SemiSupervisedVAE(priors.Normal(dim), q, p, networks.MLP(PIXELS, [hidden]))


def objectives_of(options, x, y):
    """The objectives by name."""
    m2 = objectives.SemiSupervised(model(options.hidden, options.dim))
    m2.attach(data.Split(x, torch.where(torch.arange(len(x)) < LABELLED, y, -1)))
    return {"cvae": SVI(model(options.hidden, options.dim).conditional), "m2": m2}


def main(arguments=None):
    """Print the seconds of a step and how many CVAE steps an M2 step costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("batch", 128), ("hidden", 500), ("dim", 50), ("rounds", 5), ("steps", 20)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--uncompiled", action="store_true", help="captured, but not compiled")
    options = parser.parse_args(arguments)
    generator = torch.Generator().manual_seed(7)
    x = (torch.rand(1000, PIXELS, generator=generator) < 0.13).float()
    y = torch.randint(CLASSES, (1000,), generator=generator)
    steps = {}
    for name, objective in objectives_of(options, x, y).items():
        objective = objective.to(options.device).train()
        given = y if name == "cvae" else torch.full_like(y, -1)
        batch = x[: options.batch].to(options.device), given[: options.batch].to(options.device)
        objective.prepare(*batch)
        steps[name] = (
            Captured(objective, batch, compiled=not options.uncompiled),
            batch,
            torch.optim.Adam(objective.parameters()),
        )
    seconds = {name: [] for name in steps}
    for _ in range(options.rounds):
        for name, (step, batch, optimizer) in steps.items():
            began = time.perf_counter()
            for _ in range(options.steps):
                optimizer.zero_grad()
                loss = step(batch)
                optimizer.step()
            loss.value.item()  # waits for an accelerator
            seconds[name].append((time.perf_counter() - began) / options.steps)
    for name, values in seconds.items():
        print(f"{name}: {statistics.median(values) * 1e3:.2f} ms a step")
    ratios = [b / a for a, b in zip(seconds["cvae"], seconds["m2"], strict=True)]
    print(f"an M2 step costs {statistics.median(ratios):.1f} CVAE steps ({min(ratios):.1f} to {max(ratios):.1f})")


if __name__ == "__main__":
    main()
