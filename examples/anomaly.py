"""Anomaly detection: one digit is not in the training data, so its images have large reconstruction errors.

python examples/anomaly.py
"""

import torch

from ppl_vae import Reconstruction, data, evaluation, fit, models, networks

UNSEEN = 0

torch.manual_seed(0)
digits = data.load("digits", binarize="none")
normal = digits.train.x[digits.train.y != UNSEEN]
model = models.Autoencoder(networks.MLP(digits.shape, [256]), networks.MLP(8, [256]), 8, digits.shape)
fit(Reconstruction(model), normal, epochs=60, lr=2e-3, progress=False)

threshold = evaluation.threshold(evaluation.anomaly_scores(model, normal), quantile=0.95)
scores, unseen = evaluation.anomaly_scores(model, digits.test.x), digits.test.y == UNSEEN
flagged = scores > threshold
print(f"AUROC of the {UNSEEN} among the other digits: {evaluation.auroc(scores, unseen):.3f}")
print(f"above the threshold: {flagged[unseen].float().mean():.0%} of the {UNSEEN}s, ", end="")
print(f"{flagged[~unseen].float().mean():.0%} of the other digits")
