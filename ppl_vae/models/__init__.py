"""Models: VAEs as Pyro programs, a wrapper for the user's own, and autoencoders as plain modules."""

from ..penalties import L1 as L1
from ..penalties import L2 as L2
from ..penalties import KLRate as KLRate
from ..penalties import KSparse as KSparse
from .adjusted import AdjustedVAE
from .autoencoder import Autoencoder
from .autoencoder import Reconstructs as Reconstructs
from .auxiliary import AuxiliaryVAE
from .cvae import CVAE
from .deep_belief_net import DeepBeliefNet
from .mixture import MixtureVAE
from .presets import (
    ContractiveAutoencoder,
    ConvAutoencoder,
    DenoisingAutoencoder,
    LatentNoiseAutoencoder,
    SparseAutoencoder,
)
from .program import Program
from .protocols import Clustering as Clustering
from .protocols import Codec, Latent, Pair
from .protocols import Discrete as Discrete
from .protocols import Predictor as Predictor
from .rbm import RBM
from .regularized import RegularizedAutoencoder
from .semi_supervised import SemiSupervisedVAE
from .stacked import StackedAutoencoder
from .stacked_semi_supervised import StackedSemiSupervisedVAE
from .supervised import SupervisedVAE
from .vae import VAE
from .vqvae import VQVAE
from .vqvae2 import VQVAE2

__all__ = [
    "CVAE",
    "RBM",
    "VAE",
    "VQVAE",
    "VQVAE2",
    "AdjustedVAE",
    "Autoencoder",
    "AuxiliaryVAE",
    "Codec",
    "ContractiveAutoencoder",
    "ConvAutoencoder",
    "DeepBeliefNet",
    "DenoisingAutoencoder",
    "Latent",
    "MixtureVAE",
    "LatentNoiseAutoencoder",
    "Pair",
    "Program",
    "RegularizedAutoencoder",
    "SparseAutoencoder",
    "SemiSupervisedVAE",
    "StackedAutoencoder",
    "SupervisedVAE",
    "StackedSemiSupervisedVAE",
]
