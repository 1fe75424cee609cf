"""Posteriors q(z | x, y), one family a file."""

from .base import Posterior as Posterior
from .bernoulli import Bernoulli
from .beta import Beta
from .dirichlet import Dirichlet
from .flow import Flow
from .gamma import Gamma
from .gumbel_softmax import GumbelSoftmax
from .hierarchical import Hierarchical
from .hyperspherical import Hyperspherical
from .kumaraswamy import Kumaraswamy
from .laplace import Laplace
from .log_normal import LogNormal
from .logistic_normal import LogisticNormal
from .logit_normal import LogitNormal
from .low_rank_normal import LowRankNormal
from .multivariate_normal import MultivariateNormal
from .natural import natural as natural
from .normal import Normal
from .of import Of
from .one_hot_categorical import OneHotCategorical
from .relaxed_one_hot_categorical import RelaxedOneHotCategorical
from .stick_breaking import StickBreaking
from .student_t import StudentT

__all__ = [
    "Bernoulli",
    "Beta",
    "Dirichlet",
    "Flow",
    "Gamma",
    "GumbelSoftmax",
    "Hierarchical",
    "Hyperspherical",
    "Kumaraswamy",
    "Laplace",
    "LogNormal",
    "LogisticNormal",
    "LogitNormal",
    "LowRankNormal",
    "MultivariateNormal",
    "Normal",
    "Of",
    "OneHotCategorical",
    "RelaxedOneHotCategorical",
    "StickBreaking",
    "StudentT",
]
