"""The variational autoencoder as a pair of Pyro programs.

    model:  z ~ p(z | y),  x ~ p(x | z, y)          guide:  z ~ q(z | x, y)

for every datum in the plate ``data``. Training maximises E_q[log p(x | z)] - KL(q(z | x) || p(z)) in nats per example;
the estimator decides which bound and which gradient.
"""

from __future__ import annotations

import itertools
from typing import Any

import pyro
import torch
from pyro.infer.util import is_validation_enabled
from torch import Tensor
from torch.distributions import constraints

from .. import supports
from ..checks import check_event, check_size
from ..distributions.means import mean_of
from ..handlers import register
from ..likelihoods import Completed, Likelihood, Scaled
from ..networks import MLP, Condition, Conditioned, condition_of
from ..networks import Scaled as ScaledNetwork
from ..parts import Part
from ..posteriors import Posterior, natural
from ..priors import Prior
from .fitting_parts import check_parts
from .protocols import Codec, Latent, Pair

_numbers = itertools.count()


class VAE(Part, Codec, Latent, Pair):
    """A prior, a posterior and a likelihood, and the Pyro ``model`` and ``guide`` they make.

    ``pyro.infer.SVI(vae.model, vae.guide, ...)`` works for any number of instances in a process: each registers its
    parameters under its own name.

    Args:
        prior: p(z | y), event shape (dim,).
        posterior: q(z | x, y), event shape (dim,); None takes the natural family of the prior's support over an MLP
            with two layers of 200, of x, and of y where the other parts are conditional, scaled as the likelihood is.
        likelihood: p(x | z, y), event shape ``shape``.

    Attributes:
        dim: size of the code.
        shape: event shape of the data.
        support: constraint on one entry of the data.

    Raises:
        ValueError: parts whose code sizes, data shapes or supports differ, or an encoder that cannot take the missing
            entries that the likelihood takes.

    Source: Kingma and Welling 2014, "Auto-encoding variational Bayes"; Rezende et al. 2014.

    Example:
        >>> from ppl_vae import likelihoods, networks, posteriors, priors
        >>> vae = VAE(
        ...     prior=priors.Normal(2),
        ...     posterior=posteriors.Normal(networks.MLP((1, 8, 8), [32]), 2),
        ...     likelihood=likelihoods.Bernoulli(networks.MLP(2, [32]), (1, 8, 8)),
        ... )
        >>> vae.model(n=5).shape
        torch.Size([5, 1, 8, 8])
    """

    prior: Any  # any modules with the parts' attributes: check_parts looks at them
    posterior: Any
    likelihood: Any

    def __init__(self, prior: Prior, posterior: Posterior | None = None, likelihood: Likelihood | None = None) -> None:
        super().__init__()
        if posterior is None and isinstance(likelihood, Likelihood) and isinstance(prior, Prior):
            posterior = getattr(prior, "posterior", None) or _natural(prior, likelihood)  # VampPrior's, or the user's
        self.prior, self.posterior, self.likelihood = prior, posterior, likelihood
        self._condition = (condition_of(self),)  # in a tuple, which does not register it a second time
        check_parts(self)

    @property
    def dim(self) -> int:  # noqa: D102
        return self.prior.dim

    @property
    def shape(self) -> tuple[int, ...]:  # noqa: D102
        return self.likelihood.shape

    @property
    def support(self) -> constraints.Constraint:  # noqa: D102
        return self.likelihood.support

    @property
    def condition(self) -> Condition | None:
        """What y is, where a part needs it."""
        return self._condition[0]

    @property
    def code_shape(self) -> tuple[int, ...]:
        """Shape of one code, (dim,)."""
        return (self.dim,)

    @property
    def code_support(self) -> constraints.Constraint:
        """Constraint on one code: the prior's support."""
        return self.prior.support

    def model(self, x: Tensor | None = None, y: Tensor | None = None, n: int | None = None) -> Tensor:
        """p(z | y) p(x | z, y): scores x (B, *shape), or draws it when it is left out.

        Args:
            x: data (B, *shape); None to generate.
            y: labels (B, ...), for parts that use them.
            n: how many to generate when neither x nor y says.

        Returns:
            x, given or drawn.
        """
        self._register("prior", "likelihood")
        y = self._observed(x, y)
        with pyro.plate("data", examples(x, y, n, self.condition)):
            return self.generate(x, y)

    def guide(self, x: Tensor | None = None, y: Tensor | None = None, n: int | None = None) -> Tensor:
        """q(z | x, y), or the prior when there is no x to look at; the codes z (B, dim)."""
        self._register("posterior" if x is not None else "prior")
        y = self._observed(x, y)
        with pyro.plate("data", examples(x, y, n, self.condition)):
            return self.infer(x, y)

    def generate(self, x: Tensor | None, y: Tensor | None) -> Tensor:
        """The sites of ``model`` inside its plate, for a program of which it is a part; x, given or drawn."""
        z = pyro.sample("z", self.prior(y))
        return pyro.sample("x", self.likelihood(z, y), obs=x)

    def infer(self, x: Tensor | None, y: Tensor | None) -> Tensor:
        """The sites of ``guide`` inside its plate; z."""
        return pyro.sample("z", self.prior(y) if x is None else self.posterior(x, y))

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Codes (B, dim) of x (B, *shape): the means of q(z | x, y), or the averages of 256 draws."""
        return mean_of(self.posterior(x, self._observed(x, y)))

    def decode(self, z: Tensor, y: Tensor | None = None, *, like: Tensor | None = None) -> Tensor:
        """Pictures (..., *shape) of codes z (..., dim): the means of p(x | z, y).

        Codes outside the prior's support, such as averages of codes on a sphere or of discrete codes, are projected
        onto it, since the decoder was trained only there.

        Args:
            z: codes (..., dim).
            y: labels (..., *event) for each code, for parts that use them.
            like: data (..., *shape) whose totals the pictures get, for a likelihood of counts given their total.

        Raises:
            ValueError: codes of another size.
        """
        check_event("z", z.shape, self.dim)
        return mean_of(self.likelihood(supports.onto(self.prior.support, z), y), like)

    def _observed(self, x: Tensor | None, y: Tensor | None) -> Tensor | None:
        """The y of x where the condition takes it from x itself, else y as it is."""
        if x is None or self.condition is None or not self.condition.observes:
            return y
        return self.condition.of(x)

    def _register(self, *parts: str) -> None:
        for part in parts:
            register(f"{self.name}.{part}", self.get_submodule(part))

    @property
    def name(self) -> str:
        """What the parameters are registered under, different in every model of a process."""
        # Not part of the copied state: a deep copy or an unpickled model gets its own name.
        if "_registered_as" not in self.__dict__:
            self.__dict__["_registered_as"] = f"vae{next(_numbers)}"
        return self.__dict__["_registered_as"]

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_registered_as"}


def examples(
    x: Tensor | None, y: Tensor | None, n: int | None, condition: Condition | None, *, partly: bool = False
) -> int:
    """How many examples a program is given; y is checked against it, its values only where Pyro checks values.

    Args:
        x: data (B, *shape), or None.
        y: labels (B, ...), or None.
        n: how many where neither says.
        condition: what y is; None where it is not used.
        partly: whether y may be missing or unknown.
    """
    given = next((len(value) for value in (x, y) if value is not None), None)
    if given is None and n is None:
        raise ValueError("model needs x, y or n: without data, say how many examples to generate, as model(n=64)")
    if given is not None and n not in (None, given):
        raise ValueError(f"n is {n}, but x or y holds {given} examples; give as many labels as there are examples")
    size = check_size("n", n) if given is None else given
    if condition is None or (partly and y is None):
        return size
    if is_validation_enabled():
        condition.check(y, size, partly)
    else:
        condition.check_shape(y, size)
    return size


def _natural(prior: Prior, likelihood: Likelihood) -> Posterior:
    """The posterior to take when none is named."""
    condition = condition_of(torch.nn.ModuleList([prior, likelihood]))
    shape = likelihood.shape
    if condition is None or condition.observes:  # x holds that y
        network: Any = MLP(shape)
    else:
        network = Conditioned.around(MLP, condition, shape)
    likelihood = likelihood.likelihood if isinstance(likelihood, Completed) else likelihood
    if isinstance(likelihood, Scaled):
        network = ScaledNetwork.around(network, likelihood.by)
    groups = supports.ungrouped(prior.support)[1]
    return natural(prior)(network, prior.dim, **({"groups": groups} if groups > 1 else {}))
