"""The same loop trains a plain autoencoder: an ``nn.Module`` without Pyro.

python examples/autoencoder.py
"""

import torch
from sklearn.decomposition import PCA

from ppl_vae import Reconstruction, data, evaluation, fit, models, networks

torch.manual_seed(0)
digits = data.load("digits", binarize="none")
autoencoder = models.Autoencoder(
    encoder=networks.MLP(digits.shape, [256]), decoder=networks.MLP(8, [256]), dim=8, shape=digits.shape
)
fit(Reconstruction(autoencoder), digits.train, valid=digits.valid, epochs=100, progress=False)

pca = PCA(8).fit(digits.train.x.flatten(1))
test = digits.test.x.flatten(1).numpy()
error = ((test - pca.inverse_transform(pca.transform(test))) ** 2).sum(1).mean()
ours = evaluation.reconstruction_error(autoencoder, digits.test.x).mean().item()
print(f"squared error an image with 8 numbers: autoencoder {ours:.2f}, PCA {error:.2f}")
