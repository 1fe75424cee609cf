"""Models: VAEs as Pyro programs, a wrapper for the user's own, and autoencoders as plain modules."""

from .autoencoder import Autoencoder
from .program import Program
from .vae import VAE

__all__ = ["VAE", "Autoencoder", "Program"]
