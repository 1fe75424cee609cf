"""Priors p(z | y), one family a file."""

from .base import Prior as Prior
from .bernoulli import Bernoulli
from .beta import Beta
from .dirichlet import Dirichlet
from .flow import Flow
from .gamma import Gamma
from .given import Given
from .hierarchical import Hierarchical
from .hyperspherical import Hyperspherical
from .kumaraswamy import Kumaraswamy
from .laplace import Laplace
from .log_normal import LogNormal
from .logistic import Logistic
from .logistic_normal import LogisticNormal
from .mixture_of_gaussians import MixtureOfGaussians
from .multivariate_normal import MultivariateNormal
from .normal import Normal
from .of import Of
from .one_hot_categorical import OneHotCategorical
from .relaxed_one_hot_categorical import RelaxedOneHotCategorical
from .stick_breaking import StickBreaking
from .student_t import StudentT
from .uniform import Uniform
from .vamp_prior import VampPrior

__all__ = [
    "Bernoulli",
    "Beta",
    "Dirichlet",
    "Flow",
    "Gamma",
    "Given",
    "Hierarchical",
    "Hyperspherical",
    "Kumaraswamy",
    "Laplace",
    "LogNormal",
    "Logistic",
    "LogisticNormal",
    "MixtureOfGaussians",
    "MultivariateNormal",
    "Normal",
    "Of",
    "OneHotCategorical",
    "RelaxedOneHotCategorical",
    "StickBreaking",
    "StudentT",
    "Uniform",
    "VampPrior",
]
