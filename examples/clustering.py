"""Clusters of handwritten digits, found without their labels: a VAE whose code comes from one of ten components.

An autoencoder first, then a mixture fitted to its codes, then all parts together (Jiang et al. 2017). The labels only
tell how good the clusters are.

python examples/clustering.py, or ppl-vae train --data digits --model mixture-vae --epochs 60 --out runs/clusters
"""

import torch

from ppl_vae import data, evaluation, fit, likelihoods, models, networks, objectives, posteriors, priors
from ppl_vae.statistics.clusters import cluster_agreement, confusion, matched

DIM, CLUSTERS = 10, 10


def main(pretrain=30, epochs=40):
    torch.manual_seed(0)
    digits = data.load("digits", binarize="dynamic")
    vae = models.MixtureVAE(
        priors.MixtureOfGaussians(DIM, CLUSTERS),
        posteriors.Normal(networks.MLP(digits.shape, [256]), DIM),
        likelihoods.Bernoulli(networks.MLP(DIM, [256]), digits.shape),
    )
    fit(objectives.Clustering(vae, pretrain=pretrain), digits.train, epochs=epochs, progress=False)

    x, labels = digits.test.x, digits.test.y
    found = evaluation.assign(vae, x)
    for name, value in cluster_agreement(labels, found.argmax(-1)).items():
        print(f"{name:<17}{value:.3f}")
    table = confusion(labels, found.argmax(-1), (10, CLUSTERS))
    digit_of = matched(table)
    print("\ncluster  mostly  rows  share of them  drawn from it")
    for cluster in range(CLUSTERS):
        digit, rows = digit_of[cluster], int(table[:, cluster].sum())
        share = table[digit, cluster] / max(rows, 1)
        drawn = evaluation.sample_means(vae, 20, torch.full((20,), cluster))
        read = evaluation.assign(vae, drawn.round()).argmax(-1) == cluster
        print(f"{cluster:>7}  {digit:>6}  {rows:>4}  {share:>13.0%}  {read.float().mean():.0%} come back to it")


if __name__ == "__main__":
    main()
