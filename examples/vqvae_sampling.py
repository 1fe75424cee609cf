"""New digits of a VQ-VAE: codes are drawn of the learned prior, one after the other, and decoded.

python examples/vqvae_sampling.py [RUN] [--n 64] [--out samples.png]

RUN is a folder that vqvae_mnist.py --out or ``ppl-vae train --model vqvae`` made; without it a VQ-VAE is trained here.
"""

import argparse
import sys

import torch

from ppl_vae import Reconstruction, code_priors, data, fit, likelihoods, load, models, networks, quantizers
from ppl_vae.reporting import plots, save

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("run", nargs="?")
parser.add_argument("--n", type=int, default=64)
parser.add_argument("--epochs", type=int, default=200, help="of the training, without RUN")
parser.add_argument("--out", default="samples.png")
args = parser.parse_args()
torch.manual_seed(0)


def trained(epochs):
    """A VQ-VAE of the digits that scikit-learn ships: 2 x 2 codes."""
    digits = data.load("digits", binarize="dynamic")
    encoder = networks.Conv(digits.shape, [32, 64], flatten=False, blocks=2)
    decoder = networks.ConvTranspose((16, 2, 2), [64, 32], digits.shape, blocks=2)
    quantizer = quantizers.VectorQuantizer(num_codes=128, dim=16)
    likelihood = likelihoods.Bernoulli(decoder, digits.shape)
    vq = models.VQVAE(encoder, quantizer, likelihood, code_priors.Transformer())
    fit(Reconstruction(vq), digits.train, valid=digits.valid, epochs=epochs, progress=False)
    return vq


def show(done, total):
    if sys.stderr.isatty():
        print(f"\r{done} of {total} codes drawn", end="", file=sys.stderr, flush=True)


vq = (load(args.run) if args.run else trained(args.epochs)).eval()
# What the prior computed of the codes before is kept, so a code costs one pass of one place.
codes = vq.prior.draw(args.n, progress=show)
with torch.no_grad():
    likely = vq.prior().log_prob(codes)
    pictures = vq.decode(codes)  # means of p(x | codes)
order = likely.argsort(descending=True)
save(plots.image_grid(pictures[order], title="The most likely codes first"), args.out)
print(f"{args.n} codes of shape {tuple(codes.shape[1:])}, {len(codes.unique(dim=0))} of them different")
print(f"log p(codes) from {likely.min():.1f} to {likely.max():.1f} nats; the pictures are in {args.out}")
