"""A VQ-VAE of handwritten digits: integer codes on a grid, a codebook, and a prior that is learned of the codes.

python examples/vqvae_mnist.py [--data mnist|digits] [--data-root data] [--epochs 20] [--out runs/vqvae]

MNIST is read where --data-root holds it; otherwise the digits that scikit-learn ships are used.
"""

import argparse
import math
from pathlib import Path

import torch

from ppl_vae import Reconstruction, code_priors, data, evaluation, fit, likelihoods, models, networks, quantizers

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--data", choices=["mnist", "digits"])
parser.add_argument("--data-root", default="data")
parser.add_argument("--epochs", type=int)
parser.add_argument("--out", help="folder of the run, which vqvae_sampling.py takes")
args = parser.parse_args()
name = args.data or ("mnist" if (Path(args.data_root) / "MNIST").is_dir() else "digits")
epochs = args.epochs or {"mnist": 10, "digits": 200}[name]

torch.manual_seed(0)
digits = data.load(name, root=args.data_root, binarize="dynamic")
encoder = networks.Conv(digits.shape, [32, 64], flatten=False, blocks=2)
height, width = encoder.out_shape[1:]  # of the grid: 7 x 7 for MNIST, 2 x 2 for the digits
vq = models.VQVAE(
    encoder,
    quantizers.VectorQuantizer(num_codes=128, dim=16, commitment=0.25, update="ema"),
    likelihoods.Bernoulli(networks.ConvTranspose((16, height, width), [64, 32], digits.shape, blocks=2), digits.shape),
    code_priors.Transformer(width=64, layers=2, heads=4),
)
# Two stages: the autoencoder, then the prior of its codes.
history = fit(Reconstruction(vq), digits.train, valid=digits.valid, epochs=epochs, out=args.out, progress=False)
for stage in ("", "code prior"):
    rows = [row for row in history.rows if row["stage"] == stage]
    print(
        f"{stage or 'autoencoder'}: validation loss {rows[0]['valid']['loss']:.2f} to {rows[-1]['valid']['loss']:.2f}"
    )

x = digits.test.x
codes, terms, pixels = vq.encode(x), evaluation.elbo(vq, x), x[0].numel()
uniform = codes[0].numel() * math.log2(vq.num_codes)
error = evaluation.reconstruction_error(vq, x).mean()
print(f"{name}: {len(x)} test digits, codes of shape {tuple(codes.shape[1:])} from {vq.num_codes} values")
print(f"perplexity of the codes: {evaluation.code_usage(vq, x).perplexity:.1f} of {vq.num_codes}")
print(f"reconstruction: log p(x | codes) {terms.reconstruction.mean():.2f} nats, squared error {error:.2f}")
print(f"rate: {terms.kl.mean() / math.log(2):.1f} bits by the learned prior, {uniform:.0f} by equal shares")
print(f"bits per dimension: at most {-terms.elbo.mean() / (pixels * math.log(2)):.4f}")
