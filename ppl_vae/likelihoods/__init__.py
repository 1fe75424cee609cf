"""Likelihoods p(x | z, y), one family a file."""

from .base import Likelihood as Likelihood
from .bernoulli import Bernoulli
from .beta import Beta
from .categorical import Categorical
from .columns import Columns
from .completed import Completed
from .continuous_bernoulli import ContinuousBernoulli
from .discretized_logistic_mixture import DiscretizedLogisticMixture
from .gamma import Gamma
from .laplace import Laplace
from .log_normal import LogNormal
from .logit_normal import LogitNormal
from .missing import Missing
from .multinomial import Multinomial
from .negative_binomial import NegativeBinomial
from .normal import Normal
from .of import Of
from .poisson import Poisson
from .scaled import Scaled
from .student_t import StudentT
from .zero_inflated_negative_binomial import ZeroInflatedNegativeBinomial
from .zero_inflated_poisson import ZeroInflatedPoisson

__all__ = [
    "Bernoulli",
    "Beta",
    "Categorical",
    "Columns",
    "Completed",
    "ContinuousBernoulli",
    "DiscretizedLogisticMixture",
    "Gamma",
    "Laplace",
    "LogNormal",
    "LogitNormal",
    "Missing",
    "Multinomial",
    "NegativeBinomial",
    "Normal",
    "Of",
    "Poisson",
    "Scaled",
    "StudentT",
    "ZeroInflatedNegativeBinomial",
    "ZeroInflatedPoisson",
]
