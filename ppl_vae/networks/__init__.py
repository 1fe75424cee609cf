"""Networks: tensor -> features, for any number of leading batch dimensions.

A network maps an event of shape ``in_shape`` to features of shape ``out_shape``. Leading dimensions are folded into
one batch dimension and unfolded after the layers, so convolutions and batch normalisation work with vectorised
particles. Encoders halve the image at every hidden size (3x3 convolution, stride 2); ``X.decoder`` builds the mirrored
network, whose features the likelihood's head maps to parameters. ``Conditioned`` adds y, a ``Label``, ``Vector``,
``Picture`` or ``Quadrants`` of x, to the input of a network, ``FiLM`` to its layers, and ``Scaled`` gives it data in
units of their own.
"""

from .base import ACTIVATIONS as ACTIVATIONS
from .base import Network as Network
from .base import event_shape as event_shape
from .base import fold as fold
from .base import full_precision as full_precision
from .base import stated as stated
from .condition import Condition as Condition
from .condition import condition_of as condition_of
from .conditioned import Conditioned
from .conv import Conv, ConvTranspose
from .fill_missing import FillMissing
from .film import FiLM
from .head import Head as Head
from .label import Label
from .mlp import MLP
from .numbers import Picture, Vector
from .quadrants import Guessed, Quadrants
from .resnet import ResNet, ResNetTranspose
from .scaled import Scaled
from .scaled import middle_of as middle_of
from .scaled import units_of as units_of
from .table_encoder import TableEncoder
from .units import Units as Units

__all__ = [
    "MLP",
    "Conditioned",
    "Conv",
    "ConvTranspose",
    "FiLM",
    "FillMissing",
    "Guessed",
    "Label",
    "Picture",
    "Quadrants",
    "ResNet",
    "ResNetTranspose",
    "Scaled",
    "TableEncoder",
    "Vector",
]
