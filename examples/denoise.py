"""A denoising autoencoder learns to undo a corruption, here tested on new digits.

python examples/denoise.py
"""

import torch

from ppl_vae import Reconstruction, corruptions, data, evaluation, fit, models, networks

torch.manual_seed(0)
digits = data.load("digits", binarize="none")
corruption = corruptions.Gaussian(0.3)
plain = models.Autoencoder(networks.MLP(digits.shape, [256]), networks.MLP(32, [256]), 32, digits.shape)
denoising = models.DenoisingAutoencoder(
    networks.MLP(digits.shape, [256]), networks.MLP(32, [256]), 32, digits.shape, corruption
)
clean = digits.test.x
noisy = corruption(clean)
for name, model in (("plain", plain), ("denoising", denoising)):
    fit(Reconstruction(model), digits.train, epochs=60, lr=2e-3, progress=False)
    gain = evaluation.denoising_gain(clean, noisy, evaluation.denoise(model, noisy))
    print(f"{name} autoencoder: {gain:+.1f} dB nearer to the clean digits")
