"""Models: VAEs as Pyro programs, a wrapper for the user's own, and autoencoders as plain modules."""

from ..penalties import L1 as L1
from ..penalties import L2 as L2
from ..penalties import KLRate as KLRate
from ..penalties import KSparse as KSparse
from .autoencoder import Autoencoder
from .contractive import ContractiveAutoencoder
from .conv_autoencoder import ConvAutoencoder
from .deep_belief_net import DeepBeliefNet
from .denoising import DenoisingAutoencoder
from .latent_noise import LatentNoiseAutoencoder
from .program import Program
from .protocols import Codec, Latent, Pair
from .rbm import RBM
from .regularized import RegularizedAutoencoder
from .sparse import SparseAutoencoder
from .stacked import StackedAutoencoder
from .vae import VAE

__all__ = [
    "RBM",
    "VAE",
    "Autoencoder",
    "Codec",
    "ContractiveAutoencoder",
    "ConvAutoencoder",
    "DeepBeliefNet",
    "DenoisingAutoencoder",
    "Latent",
    "LatentNoiseAutoencoder",
    "Pair",
    "Program",
    "RegularizedAutoencoder",
    "SparseAutoencoder",
    "StackedAutoencoder",
]
