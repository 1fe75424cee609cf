"""Compare priors on MNIST, everything else equal: test log-likelihood after 10 epochs.

    python -m benchmarks.priors [--data-root ../shared/data] [--epochs 10] [--jobs 2] [--only normal vamp-prior]

The network of the IWAE paper (784-200-200, tanh), 50 codes, Bernoulli likelihood with dynamic binarization, Adam 1e-3,
batch 128, seed 0, closed-form KL where one is known. Each prior gets the natural posterior of its support. Figures are
of the first 1000 test images with K = 1000 importance weights.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from joblib import Parallel, delayed

PRIORS = {
    "normal": [],
    "mixture-of-gaussians": ["--prior.components", "50"],
    "vamp-prior": ["--prior.components", "500"],
    "flow": ["--prior.kind", "autoregressive"],
    "beta": ["--prior.concentration1", "1", "--prior.concentration0", "1"],
    "dirichlet": [],
    "hyperspherical": [],
}
NETWORK = "--latent-dim 50 --hidden 200 200 --activation tanh --binarize dynamic --likelihood bernoulli".split()


def run(*words):
    done = subprocess.run([sys.executable, "-m", "ppl_vae", *words], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def row(prior, options, folder, data_root, epochs):
    out = str(Path(folder) / prior)
    run(
        *["train", "--data", "mnist", "--data-root", data_root, *NETWORK, "--epochs", str(epochs), "--prior", prior],
        *[*options, "--out", out, "--no-progress", "--no-report"],
    )
    test = json.loads(run("evaluate", out, "--num-particles", "1000", "--limit", "1000", "--json"))["test"]
    seconds = json.loads((Path(out) / "metrics.jsonl").read_text().splitlines()[-1])["seconds"]
    posterior = json.loads((Path(out) / "config.json").read_text())["model"]["posterior"]
    kind = posterior.get("class", "posteriors.Normal").split(".")[1]
    error = f" ± {test['log_likelihood_error']:.2f}" if "log_likelihood_error" in test else ""
    return [prior, kind, test["log_likelihood"], error, test["elbo"], test["kl"], seconds]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-root", default="../shared/data")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", nargs="*", choices=PRIORS, default=list(PRIORS))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = Parallel(n_jobs=args.jobs, prefer="threads")(
            delayed(row)(prior, PRIORS[prior], folder, args.data_root, args.epochs) for prior in args.only
        )
    print("| prior | posterior | log-likelihood | ELBO | KL | seconds |\n|---|---|---|---|---|---|")
    for prior, kind, value, error, elbo, kl, seconds in rows:
        print(f"| {prior} | {kind} | {value:.2f}{error} | {elbo:.2f} | {kl:.2f} | {seconds:.0f} |")


if __name__ == "__main__":
    main()
