"""The first column of the IWAE paper's table: one stochastic layer on dynamically binarized MNIST, in full.

784-200-200-z50 with tanh, batch 20, 3^i epochs at lr 1e-3 * 10^(-i/7) for i = 0 ... 7, 3280 in all; test NLL with
K = 5000 on all 10,000 images. Published (Burda et al. 2016): VAE 86.76 at k = 1; IWAE 85.54 at 5, 84.78 at 50.

    python -m benchmarks.iwae_paper --data-root DIR --particles 1 --out runs/iwae-1

Meant for a GPU. The same command continues a stopped run; ``--passes 3`` stops after i = 2.
"""

import argparse
import time
from pathlib import Path

import torch

from ppl_vae import SVI, VAE, data, estimators, evaluation, fit, likelihoods, networks, posteriors, priors


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.iwae_paper")
    parser.add_argument("--data-root", default="../shared/data")
    parser.add_argument("--particles", type=int, default=1)
    parser.add_argument("--passes", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--limit", type=int, default=10_000, help="test images")
    parser.add_argument("--samples", type=int, default=5000, help="K of the NLL")
    parser.add_argument("--out", default="runs/iwae-paper")
    chosen = parser.parse_args()
    mnist = data.load("mnist", root=chosen.data_root, binarize="dynamic", valid=1)  # the fewest allowed
    torch.manual_seed(chosen.seed)
    vae = VAE(
        priors.Normal(50),
        posteriors.Normal(networks.MLP(mnist.shape, [200, 200], "tanh"), 50),
        likelihoods.Bernoulli(networks.MLP(50, [200, 200], "tanh"), mnist.shape),
    )
    estimator = estimators.IWAE(chosen.particles) if chosen.particles > 1 else estimators.TraceELBO()
    objective, began = SVI(vae, estimator), time.monotonic()
    for i in range(chosen.passes):
        history = fit(
            objective,
            mnist.train,
            epochs=3**i,
            lr=1e-3 * 10 ** (-i / 7),
            batch_size=20,
            seed=chosen.seed + i,
            device=chosen.device,
            out=Path(chosen.out) / f"pass-{i}",
            resume=True,
        )
        print(
            f"pass {i}: {3**i} epochs, train ELBO {history.rows[-1]['train']['elbo']:.2f}, {history.steps}", flush=True
        )
    minutes = (time.monotonic() - began) / 60
    x = mnist.test.take(slice(0, chosen.limit))[0]
    found = evaluation.log_likelihood(vae, x, num_particles=chosen.samples)
    print(
        f"k = {chosen.particles}: test NLL {-found.mean:.2f} nats, by {found}; this session trained for {minutes:.1f} "
        "minutes"
    )


if __name__ == "__main__":
    main()
