"""Distributions, KL divergences and parameter rules that Pyro does not have."""

from . import divergences as divergences
from . import normal_kl as normal_kl
from .family import Family
from .flow import Flow
from .gaussian_mixture import GaussianMixture
from .grouped import Grouped
from .gumbel_softmax import GumbelSoftmax
from .kumaraswamy import Kumaraswamy
from .layered import Layered
from .logistic import Logistic
from .logistic_normal import LogisticNormal
from .logit_normal import LogitNormal
from .power_spherical import PowerSpherical, SphereUniform
from .relaxed_one_hot_categorical import RelaxedOneHotCategorical
from .scaled import Scaled
from .stick_breaking import StickBreaking
from .uniform import Uniform

__all__ = [
    "Family",
    "Flow",
    "GaussianMixture",
    "Grouped",
    "GumbelSoftmax",
    "Kumaraswamy",
    "Layered",
    "Logistic",
    "LogisticNormal",
    "LogitNormal",
    "PowerSpherical",
    "RelaxedOneHotCategorical",
    "Scaled",
    "SphereUniform",
    "StickBreaking",
    "Uniform",
]
