"""Training cost of ``ppl_vae.fit`` against a plain in-memory PyTorch loop, in one process.

    python -m benchmarks.loop [--data-root ../shared/data] [--threads 2] [--repeats 5] [--steps 300]

Both train the same network on the same MNIST with dynamic binarization, batch 128, fused Adam, in fp32. The plain loop
keeps the data in memory and shuffles indices, without DataLoader. Rounds alternate; read the ratio of a round's two
times, since the machine's speed drifts.
"""

import argparse
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn

from ppl_vae import SVI, VAE, data, estimators, fit, likelihoods, networks, posteriors, priors

WORKS = {
    "784-200-200-z50 tanh": ([200, 200], 50, "tanh"),
    "784-400-z20 softplus": ([400], 20, "softplus"),
}


def by_hand(x, hidden, dim, activation, steps, batch_size=128):
    layer = {"tanh": nn.Tanh, "softplus": nn.Softplus}[activation]

    def mlp(sizes):
        return [m for a, b in zip(sizes, sizes[1:], strict=False) for m in (nn.Linear(a, b), layer())]

    encoder = nn.Sequential(*mlp([784, *hidden]), nn.Linear(hidden[-1], 2 * dim))
    decoder = nn.Sequential(*mlp([dim, *hidden[::-1]]), nn.Linear(hidden[0], 784))
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3, fused=True)
    done, began = 0, time.perf_counter()
    while done < steps:
        for index in torch.randperm(len(x)).split(batch_size):
            batch = x[index]
            batch = (torch.rand_like(batch) < batch).float()
            mean, raw = encoder(batch).chunk(2, -1)
            scale = F.softplus(raw) + 1e-6
            z = mean + scale * torch.randn_like(mean)
            logits = decoder(z)
            reconstruction = -F.binary_cross_entropy_with_logits(logits, batch, reduction="none").sum(1)
            kl = (0.5 * (mean**2 + scale**2 - 1) - scale.log()).sum(1)
            loss = (kl - reconstruction).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            done += 1
            if done == steps:
                break
    return (time.perf_counter() - began) / steps


def ours(x, hidden, dim, activation, steps):
    vae = VAE(
        priors.Normal(dim),
        posteriors.Normal(networks.MLP(784, hidden, activation), dim),
        likelihoods.Bernoulli(networks.MLP(dim, hidden[::-1], activation), 784),
    )
    split = data.Split(x[: steps * 128], binarize="dynamic")
    began = time.perf_counter()
    fit(SVI(vae, estimators.MeanFieldELBO()), split, epochs=1, progress=False)
    return (time.perf_counter() - began) / steps


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-root", default="../shared/data")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=300)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    x = data.load("mnist", root=args.data_root, binarize="none").train.x.flatten(1)
    for name, work in WORKS.items():
        rounds = []
        for round_ in range(args.repeats + 1):
            pair = (by_hand(x, *work, args.steps), ours(x, *work, args.steps))
            if round_:  # the first one warms up
                rounds.append(pair)
        ratios = sorted(b / a for a, b in rounds)
        hand, fitted = (statistics.median(column) * 1000 for column in zip(*rounds, strict=True))
        print(
            f"{name}: by hand {hand:.2f} ms a step, fit {fitted:.2f}, ratio {statistics.median(ratios):.2f} "
            f"({ratios[0]:.2f} to {ratios[-1]:.2f}, {args.threads} threads)"
        )


if __name__ == "__main__":
    main()
