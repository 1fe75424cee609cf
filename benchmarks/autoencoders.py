"""Compare autoencoders on the tasks they are used for, everything else equal; PCA is the baseline.

    python -m benchmarks.autoencoders [--data digits|mnist] [--data-root ../shared/data] [--epochs N] [--json out.json]

The same network (one hidden layer of 256 for digits, 512-256 for MNIST), data in [0, 1], Adam 1e-3 with a cosine
schedule to 0, seed 0. Digits have 8 codes and MNIST 32; sparse models have four times as many, of which k-sparse keeps
8 or 32. All figures are of the test split:

    error    squared error of the reconstruction, summed over pixels, mean over examples
    probe    accuracy of a logistic regression from codes to labels, learned on at most 10,000 training examples
    kNN      accuracy of 5 nearest neighbours among the same codes
    gain     decibels by which denoising lowers the error of Normal noise of standard deviation 0.3
    AUROC    of detecting a digit left out of a second training, by the error (VAE: by -log p(x))
    seconds  time of the first training
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from sklearn import decomposition
from torch import nn
from torch.distributions import constraints

from ppl_vae import (
    SVI,
    VAE,
    Reconstruction,
    corruptions,
    data,
    estimators,
    evaluation,
    fit,
    likelihoods,
    models,
    networks,
    penalties,
    posteriors,
    priors,
)

SIZES = {"digits": (8, [256], 200), "mnist": (32, [512, 256], 20)}  # codes, hidden layers, epochs
MOST = 10_000  # training examples that probe and kNN learn from
NOISE = 0.3


class PCA(nn.Module, models.Codec):
    """Principal components with the interface of an autoencoder."""

    def __init__(self, dim, shape):
        super().__init__()
        self.dim, self.shape, self.support = dim, torch.Size(shape), None
        self.code_shape, self.code_support = (dim,), constraints.independent(constraints.real, 1)
        self.register_buffer("mean", torch.zeros(self.shape.numel()))
        self.register_buffer("axes", torch.zeros(dim, self.shape.numel()))

    def fit(self, x):
        found = decomposition.PCA(self.dim, svd_solver="full").fit(x.flatten(1).numpy())
        self.mean.copy_(torch.from_numpy(found.mean_))
        self.axes.copy_(torch.from_numpy(found.components_))

    def encode(self, x, y=None):
        return (x.flatten(1) - self.mean) @ self.axes.T

    def decode(self, z, y=None, *, like=None):
        return (z @ self.axes + self.mean).unflatten(-1, self.shape)


def makers(dim, shape, hidden, epochs):
    """Functions that make a model, by name."""
    wide = 4 * dim

    def parts(codes=dim):
        return networks.MLP(shape, hidden), networks.MLP.decoder(codes, hidden[::-1], shape), codes, shape

    def vae():
        encoder, decoder = parts()[:2]
        return VAE(
            priors.Normal(dim), posteriors.Normal(encoder, dim), likelihoods.Normal(decoder, shape, scale="optimal")
        )

    pretrain = max(1, epochs // 5)
    return {
        "PCA": lambda: PCA(dim, shape),
        "autoencoder": lambda: models.Autoencoder(*parts()),
        "conv-autoencoder": lambda: models.ConvAutoencoder(dim, shape, [32, 64]),
        "denoising": lambda: models.DenoisingAutoencoder(*parts(), corruptions.Gaussian(NOISE)),
        "sparse, k-sparse": lambda: models.SparseAutoencoder(*parts(wide), penalties.KSparse(dim)),
        "sparse, l1": lambda: models.SparseAutoencoder(*parts(wide), penalties.L1(0.01), code="relu"),
        "sparse, kl": lambda: models.SparseAutoencoder(*parts(wide), penalties.KLRate(0.1, 0.1)),
        "contractive": lambda: models.ContractiveAutoencoder(*parts(), weight=0.01, code="identity", probes=1),
        "stacked": lambda: models.StackedAutoencoder(*parts(), pretrain=pretrain),
        "latent-noise": lambda: models.LatentNoiseAutoencoder(*parts()),
        "regularized": lambda: models.RegularizedAutoencoder(*parts()),
        "dbn": lambda: models.DeepBeliefNet(dim, shape, hidden, pretrain=pretrain),
        "VAE": vae,
    }


def trained(make, train, epochs):
    """A trained model, and the seconds of its training."""
    torch.manual_seed(0)
    model, began = make(), time.perf_counter()
    if isinstance(model, PCA):
        model.fit(train.x)
    else:
        objective = SVI(model, estimators.MeanFieldELBO()) if isinstance(model, VAE) else Reconstruction(model)
        fit(objective, train, epochs=epochs, schedule="cosine", progress=sys.stderr.isatty())
    return model, time.perf_counter() - began


def row(make, digits, normal, held_out, epochs):
    """The figures of a model."""
    model, seconds = trained(make, digits.train, epochs)
    x, y = digits.test.take(slice(None))
    known, labels = digits.train.take(slice(0, min(MOST, len(digits.train))))
    codes = evaluation.codes(model, known), labels, evaluation.codes(model, x), y
    noisy = x + NOISE * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    unaware, _ = trained(make, normal.train, epochs)
    return {
        "codes": codes[0].shape[1],
        "error": evaluation.reconstruction_error(model, x).mean().item(),
        "probe": evaluation.linear_probe(*codes),
        "knn": evaluation.knn_accuracy(*codes),
        "gain": evaluation.denoising_gain(x, noisy, evaluation.denoise(model, noisy)),
        "auroc": evaluation.auroc(evaluation.anomaly_scores(unaware, x), y == held_out),
        "seconds": seconds,
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", choices=SIZES, default="digits")
    parser.add_argument("--data-root", default="../shared/data")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--held-out", type=int, default=0)
    parser.add_argument("--only", nargs="*", help="names of the rows")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    dim, hidden, epochs = SIZES[args.data]
    epochs = args.epochs or epochs
    options = {"root": args.data_root, "binarize": "none"}
    digits, normal = data.load(args.data, **options), data.load(args.data, **options, without=args.held_out)
    offered = makers(dim, tuple(digits.shape), hidden, epochs)
    rows = {}
    for name in args.only or offered:
        if name not in offered:
            sys.exit(f"--only {name!r} is not a row; choose from {', '.join(offered)}")
        print(f"{len(rows) + 1} of {len(args.only or offered)}: {name}", file=sys.stderr)
        rows[name] = row(offered[name], digits, normal, args.held_out, epochs)
    print("| model | codes | error | probe | kNN | gain, dB | AUROC | seconds |\n|---|---|---|---|---|---|---|---|")
    for name, r in rows.items():
        print(
            f"| {name} | {r['codes']} | {r['error']:.2f} | {r['probe']:.3f} | {r['knn']:.3f} | {r['gain']:+.2f} | "
            f"{r['auroc']:.3f} | {r['seconds']:.0f} |"
        )
    if args.json:
        setup = {"data": args.data, "epochs": epochs, "hidden": hidden, "held_out": args.held_out}
        args.json.write_text(json.dumps(setup | {"rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
