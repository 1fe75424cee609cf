"""The variational autoencoder as a pair of Pyro programs.

    model:  z ~ p(z | y),  x ~ p(x | z, y)          guide:  z ~ q(z | x, y)

for every datum in the plate ``data``. Training maximises E_q[log p(x | z)] - KL(q(z | x) || p(z)) in nats per example;
which bound and which gradient is the estimator's business.
"""

from __future__ import annotations

import itertools
from typing import Any

import pyro
import torch
from torch import Tensor
from torch.distributions import constraints

from .. import supports
from ..checks import check_size
from ..handlers import register
from ..likelihoods import Likelihood
from ..networks import MLP, fold
from ..parts import Part
from ..posteriors import Posterior, natural
from ..posteriors.natural import BY_SUPPORT
from ..priors import Prior
from .protocols import Latent, Pair

_numbers = itertools.count()


class VAE(Part, Pair, Latent):
    """A prior, a posterior and a likelihood, and the Pyro ``model`` and ``guide`` they make.

    ``pyro.infer.SVI(vae.model, vae.guide, ...)`` works for any number of instances in a process: each registers its
    parameters under a name of its own.

    Args:
        prior: p(z | y), event shape (dim,).
        posterior: q(z | x, y), event shape (dim,); None takes the natural family of the prior's support over an MLP
            with two layers of 200.
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

    prior: Any  # any modules with the parts' attributes: _check_parts looks at them
    posterior: Any
    likelihood: Any

    def __init__(self, prior: Prior, posterior: Posterior | None = None, likelihood: Likelihood | None = None) -> None:
        super().__init__()
        if posterior is None and isinstance(likelihood, Likelihood) and isinstance(prior, Prior):
            posterior = getattr(prior, "posterior", None) or natural(prior)(MLP(likelihood.shape), prior.dim)
        self.prior, self.posterior, self.likelihood = prior, posterior, likelihood
        self._check_parts()

    @property
    def dim(self) -> int:  # noqa: D102
        return self.prior.dim

    @property
    def shape(self) -> tuple[int, ...]:  # noqa: D102
        return self.likelihood.shape

    @property
    def support(self) -> constraints.Constraint:  # noqa: D102
        return self.likelihood.support

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
        with pyro.plate("data", _size(x, y, n)):
            z = pyro.sample("z", self.prior(y))
            return pyro.sample("x", self.likelihood(z, y), obs=x)

    def guide(self, x: Tensor | None = None, y: Tensor | None = None, n: int | None = None) -> Tensor:
        """q(z | x, y), or the prior when there is no x to look at; the codes z (B, dim)."""
        self._register("posterior" if x is not None else "prior")
        with pyro.plate("data", _size(x, y, n)):
            return pyro.sample("z", self.prior(y) if x is None else self.posterior(x, y))

    def _register(self, *parts: str) -> None:
        for part in parts:
            register(f"{self._name}.{part}", getattr(self, part))

    @property
    def _name(self) -> str:
        # Held outside the copied state, so that a deep copy or an unpickled model gets a name of its own.
        if "_registered_as" not in self.__dict__:
            self.__dict__["_registered_as"] = f"vae{next(_numbers)}"
        return self.__dict__["_registered_as"]

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_registered_as"}

    def _check_parts(self) -> None:
        for name, needs in (("prior", "dim"), ("posterior", "dim"), ("likelihood", "shape")):
            part = getattr(self, name)
            if not (isinstance(part, torch.nn.Module) and hasattr(part, needs) and hasattr(part, "support")):
                plural = "likelihoods" if name == "likelihood" else f"{name}s"
                raise TypeError(f"{name} must be one of ppl_vae.{plural}, such as {plural}.Normal(...), not {part!r}")
        if self.prior.dim != self.posterior.dim:
            raise ValueError(
                f"posterior has dim {self.posterior.dim}, but the prior has dim {self.prior.dim}; give both the same"
            )
        takes = getattr(getattr(self.likelihood, "network", None), "in_shape", None)
        if takes is not None and tuple(takes) != (self.dim,):
            raise ValueError(f"the likelihood's network takes {tuple(takes)}, but the codes have shape ({self.dim},)")
        sees = getattr(getattr(self.posterior, "network", None), "in_shape", None)
        if sees is not None and tuple(sees) != self.shape:
            raise ValueError(f"the posterior's network takes {tuple(sees)}, but the likelihood's data is {self.shape}")
        if not supports.same(self.prior.support, self.posterior.support):
            q, p = (
                f"{type(part).__name__} lives on {supports.name(part.support)}" for part in (self.posterior, self.prior)
            )
            fits = BY_SUPPORT.get(supports.name(self.prior.support), "Of")
            raise ValueError(f"posterior {q}, but prior {p}; choose a posterior there, such as posteriors.{fits}")
        self._try_parts()

    @torch.no_grad()
    def _try_parts(self) -> None:
        """Run every part once on two examples, which also sizes layers that wait for their first use."""
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        with torch.random.fork_rng(devices=[]):
            like = next(self.parameters(), torch.zeros(()))
            like = like if not torch.nn.parameter.is_lazy(like) else torch.zeros(())
            x = torch.zeros(2, *self.shape, dtype=like.dtype, device=like.device)
            q, fills = self.posterior(x), self._fills_missing(x)
            p = self.likelihood(torch.zeros(2, self.dim, dtype=like.dtype, device=like.device))
        for module, mode in modes:
            module.training = mode
        for name, part, expected in (("posterior", q, (self.dim,)), ("likelihood", p, self.shape)):
            if part.batch_shape != (2,) or part.event_shape != tuple(expected):
                raise ValueError(
                    f"{name} gave batch shape {tuple(part.batch_shape)} and event shape {tuple(part.event_shape)} for "
                    f"2 examples, where (2,) and {tuple(expected)} are needed"
                )
        if not fills:
            raise ValueError(
                "the posterior's network gives NaN where entries of x are missing; wrap it, as in "
                f"networks.FillMissing(network, {self.shape})"
            )

    def _fills_missing(self, x: Tensor) -> bool:
        """Whether the encoder of a model of missing entries turns NaN into finite features."""
        network = getattr(self.posterior, "network", None)
        if not self.likelihood.missing or network is None:
            return True
        return bool(fold(network, torch.full_like(x, torch.nan), len(self.shape)).isfinite().all())


def _size(x: Tensor | None, y: Tensor | None, n: int | None) -> int:
    given = next((len(value) for value in (x, y) if value is not None), None)
    if given is None and n is None:
        raise ValueError("model needs x, y or n: without data, say how many examples to generate, as in model(n=64)")
    if given is not None and n not in (None, given):
        raise ValueError(f"n is {n}, but x or y holds {given} examples; give as many labels as there are to generate")
    return check_size("n", n) if given is None else given
