"""Decode random codes: plain autoencoder, one with noise on its code, VAE and RAE, all with the same network.

    python -m benchmarks.generation [--data digits|mnist] [--data-root ../shared/data] [--epochs N] [--out x.png]

The VAE's codes (Bernoulli likelihood, dynamic binarization) are drawn from its prior, those of the regularized
autoencoder from its mixture of 10 Normals, fitted to the codes of the training data; the other two have no prior, so
their codes are drawn from a Normal fitted in the same way. Prints a table and plots the pictures, data first:

    continuity    largest / mean change of the picture over 50 steps between the codes of two test examples, median
    midway        share of the pictures half-way along these lines that the classifier recognises
    near          share of 2000 draws that are as near to the training data as 95 % of the test data
    recognised    share for which a classifier is as confident as for 95 % of the test data
    variety       effective share of the classes among these
"""

import argparse
import sys

import numpy as np
import torch
from matplotlib.figure import Figure

from ppl_vae import (
    SVI,
    VAE,
    Reconstruction,
    data,
    estimators,
    evaluation,
    fit,
    likelihoods,
    models,
    networks,
    posteriors,
    priors,
)
from ppl_vae.reporting import save

SIZES = {"digits": (16, [256], 200), "mnist": (32, [512, 256], 20)}  # codes, hidden layers, epochs
DRAWS, SHOWN, PAIRS, MOST = 2000, 8, 500, 10_000


def makers(dim, shape, hidden):
    """Functions that make an objective, by the model's name."""

    def parts():
        return networks.MLP(shape, hidden), networks.MLP.decoder(dim, hidden[::-1], shape), dim, shape

    def vae():
        encoder, decoder = parts()[:2]
        likelihood = likelihoods.Bernoulli(decoder, shape)
        return SVI(VAE(priors.Normal(dim), posteriors.Normal(encoder, dim), likelihood), estimators.MeanFieldELBO())

    return {
        "autoencoder": lambda: Reconstruction(models.Autoencoder(*parts())),
        "latent-noise": lambda: Reconstruction(models.LatentNoiseAutoencoder(*parts())),
        "VAE": vae,
        "regularized": lambda: Reconstruction(models.RegularizedAutoencoder(*parts())),
    }


def figures(model, draws, known, labels, test):
    """Continuity and the tests of completeness."""
    half = min(PAIRS, len(test) // 2)
    a, b = test[:half], test[half : 2 * half]
    midway = evaluation.interpolate(model, a, b, steps=3)[:, 1]
    share, variety = evaluation.recognised(draws, known, labels, test)
    return {
        "continuity": evaluation.continuity(model, a, b).median().item(),
        "midway": evaluation.recognised(midway, known, labels, test)[0],
        "near": evaluation.near_data(draws, known, test),
        "recognised": share,
        "variety": variety,
    }


def mosaic(images):
    """SHOWN * SHOWN images of one channel as one picture, with a line between them."""
    rows = np.pad(images[: SHOWN**2, 0].clamp(0, 1).numpy(), ((0, 0), (0, 1), (0, 1)), constant_values=0.4)
    return np.block([[*rows[i : i + SHOWN]] for i in range(0, SHOWN**2, SHOWN)])[:-1, :-1]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", choices=SIZES, default="digits")
    parser.add_argument("--data-root", default="../shared/data")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--out", default="generation.png")
    args = parser.parse_args()
    dim, hidden, epochs = SIZES[args.data]
    grey, binary = (data.load(args.data, root=args.data_root, binarize=mode) for mode in ("none", "dynamic"))
    known, labels = grey.train.take(slice(0, min(MOST, len(grey.train))))
    test = grey.test.take(slice(None))[0]
    shown = {f"{args.data}\ntest data": mosaic(test)}
    print("| model | continuity | midway | near | recognised | variety |\n|---|---|---|---|---|---|")
    for name, make in makers(dim, tuple(grey.shape), hidden).items():
        torch.manual_seed(0)
        objective, train = make(), binary.train if name == "VAE" else grey.train
        fit(objective, train, epochs=args.epochs or epochs, schedule="cosine", progress=sys.stderr.isatty())
        draws = evaluation.decode(objective.model, evaluation.random_codes(objective.model, DRAWS, x=known))
        found = figures(objective.model, draws, known, labels, test)
        print("| {} | {:.2f} | {:.0%} | {:.0%} | {:.0%} | {:.0%} |".format(name, *found.values()), flush=True)
        words = "{near:.0%} near the data, {recognised:.0%} recognised".format(**found)
        shown[f"{name}, continuity {found['continuity']:.2f}\n{words}"] = mosaic(draws)
    figure = Figure((3.1 * len(shown), 3.6), layout="constrained")
    for axes, (title, picture) in zip(figure.subplots(1, len(shown)), shown.items(), strict=True):
        axes.imshow(picture, cmap="gray", vmin=0, vmax=1)
        axes.set_title(title, fontsize=9.5)
        axes.axis("off")
    save(figure, args.out)
    print(args.out, file=sys.stderr)


if __name__ == "__main__":
    main()
