"""The auxiliary semi-supervised VAE: a further latent variable a makes the guide richer and leaves the model as it is.

    model:  y ~ p(y),  z ~ p(z | y),  x ~ p(x | z, y),  a ~ p(a | x, y, z)
    guide:  a ~ q(a | x),  y ~ q(y | x, a),  z ~ q(z | x, a, y)

p(a | x, y, z) integrates to 1, so p(x, y, z) is that of a ``SemiSupervisedVAE``; q(y, z | x) is a mixture over a.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from .. import supports
from ..distributions.means import mean_of
from ..likelihoods import Likelihood, Scaled
from ..networks import MLP, Conditioned, condition_of, stated
from ..networks import Scaled as ScaledNetwork
from ..parts import Part
from ..posteriors import Normal, Posterior, natural
from ..priors import Prior
from .averaged import Averaged, beside
from .semi_supervised import SemiSupervisedVAE

if TYPE_CHECKING:
    from ..data import Split

DRAWS = 32  # of q(a | x) over which predictions and codes are averaged
STARTED = 10_000  # training rows at which the networks of x and a, or of x and z, start
INFER: Any = {"enumerate": "parallel", "own_dimension": True}  # one draw of a for all classes


class AuxiliaryVAE(SemiSupervisedVAE):
    """ADGM: a ``SemiSupervisedVAE`` whose guide first draws an auxiliary variable a, on which q(y) and q(z) depend.

    Networks of x and a, and of x and z, take both as one vector, x first. ``predict`` averages q(y | x, a) over 32
    draws of q(a | x), and ``encode`` the means of q(z | x, a, y).

    Args:
        prior: p(z | y), event shape (dim,).
        posterior: q(z | x, a, y), of a ``networks.Conditioned`` of vectors (D + A,), D entries of x and A of a; None
            for the natural family of the prior's support over an MLP with two layers of 200.
        likelihood: p(x | z, y), of a ``networks.Conditioned`` on a ``networks.Label``.
        classifier: network of vectors (D + A,) whose features give the logits of q(y | x, a); None for such an MLP.
        frequencies: p(y), as of ``SemiSupervisedVAE``.
        auxiliary: q(a | x), event shape (A,); None for a Normal of as many entries as z over such an MLP.
        reverse: p(a | x, y, z), of a ``networks.Conditioned`` of vectors (D + dim,), x and z; None for a Normal over
            such an MLP.

    Raises:
        ValueError: networks that take other sizes, q(a | x) and p(a | x, y, z) of different sizes or supports, a prior
            that is made of the posterior, or as of ``SemiSupervisedVAE``.

    Source: Maaløe et al. 2016, "Auxiliary deep generative models".

    Example:
        >>> from ppl_vae import likelihoods, networks, priors
        >>> decoder = networks.Conditioned(networks.MLP(2 + 10, [32]), networks.Label(10))
        >>> adgm = AuxiliaryVAE(priors.Normal(2), likelihood=likelihoods.Bernoulli(decoder, (1, 8, 8)))
        >>> adgm.predict(torch.zeros(5, 1, 8, 8)).shape, adgm.model(y=torch.tensor([3, 7])).shape
        (torch.Size([5, 10]), torch.Size([2, 1, 8, 8]))
    """

    def __init__(
        self,
        prior: Prior,
        posterior: Posterior | None = None,
        likelihood: Likelihood | None = None,
        classifier: nn.Module | None = None,
        frequencies: Literal["uniform", "data"] = "uniform",
        auxiliary: Posterior | None = None,
        reverse: Posterior | None = None,
    ) -> None:
        for name, part, kind in (("prior", prior, Prior), ("likelihood", likelihood, Likelihood)):
            if not isinstance(part, kind):
                raise TypeError(f"{name} must be a {kind.__name__} of ppl_vae, not {part!r}")
        assert likelihood is not None
        if any(isinstance(part, Posterior) for part in prior.modules()):
            raise ValueError(
                f"prior {type(prior).__name__} is made of a posterior of x alone, and that of an AuxiliaryVAE takes x "
                "and a; use another prior, such as priors.MixtureOfGaussians"
            )
        label = condition_of(nn.ModuleList([prior, likelihood]))
        by, size = likelihood.by if isinstance(likelihood, Scaled) else None, math.prod(likelihood.shape)

        def network(of: Any, label: Any = None) -> Any:
            found = MLP(of) if label is None else Conditioned.around(MLP, label, of)
            return found if by is None else ScaledNetwork.around(found, by)

        if auxiliary is None:
            auxiliary = Normal(network(likelihood.shape), prior.dim)
        auxiliary = _checked("auxiliary", auxiliary)
        if posterior is None:
            groups = supports.ungrouped(prior.support)[1]
            own: Any = {"groups": groups} if groups > 1 else {}
            posterior = natural(prior)(network(size + auxiliary.dim, label), prior.dim, **own)
        if reverse is None:
            reverse = Normal(network(size + prior.dim, label), auxiliary.dim)
        if classifier is None:
            classifier = network(size + auxiliary.dim)
        posterior, reverse = _checked("posterior", posterior), _checked("reverse", reverse)
        _check_sizes("posterior", posterior.network, size, auxiliary.dim)
        _check_sizes("classifier", classifier, size, auxiliary.dim)
        _check_sizes("reverse", reverse.network, size, prior.dim)
        if reverse.dim != auxiliary.dim or not supports.same(reverse.support, auxiliary.support):
            raise ValueError(
                f"reverse, p(a | x, y, z), must have the dim and the support of auxiliary, q(a | x): {auxiliary.dim} "
                f"entries on {supports.name(auxiliary.support)}, not {reverse.dim} on {supports.name(reverse.support)}"
            )
        averaged: Any = Averaged(auxiliary, posterior, len(likelihood.shape))
        super().__init__(prior, averaged, likelihood, classifier, frequencies)
        self.reverse = reverse
        condition_of(self)  # which refuses parts conditional on different y
        if supports.allows_missing(self.support):
            self._check_missing()

    @property
    def auxiliary(self) -> Posterior:
        """q(a | x)."""
        return self._averaged.auxiliary

    @property
    def _averaged(self) -> Averaged:
        return self.conditional.posterior

    def _classified(self) -> tuple[int, ...]:
        return (math.prod(self.conditional.shape) + self.auxiliary.dim,)

    def _beside(self, x: Tensor, other: Tensor) -> Tensor:
        return beside(x, other, len(self.shape))

    def classify(self, x: Tensor) -> Tensor:
        """log q(y | x), (B, classes), of x (B, *shape): of the average of q(y | x, a) over 32 draws of a."""
        return self.log_q(self._beside(x, self.auxiliary(x).sample((DRAWS,)))).logsumexp(0) - math.log(DRAWS)

    def classify_draw(self, x: Tensor) -> Tensor:
        """log q(y | x, a), (B, classes), at one draw of q(a | x)."""
        return self.log_q(self._beside(x, _drawn(self.auxiliary(x))))

    def start(self, train: Split) -> None:
        """Start the parts at the training rows, those of x and a, or x and z, at some of these with the means of q."""
        for part in (self.target, self.conditional.prior, self.likelihood, self.auxiliary):
            part.start(train)
        with torch.no_grad():
            rows = [train.take(slice(i, i + 1000))[0] for i in range(0, min(len(train), STARTED), 1000)]
            x = torch.cat(rows).to(self.frequency)
            a = mean_of(self.auxiliary(x))
            self._start_at(train, self._beside(x, a), self._averaged.posterior, self.classifier)
            y = self.log_q(self._beside(x, a)).argmax(-1)
            self._start_at(
                train, self._beside(x, mean_of(self._averaged.posterior(self._beside(x, a), y))), self.reverse
            )
        self.count(train)

    def _start_at(self, train: Split, rows: Tensor, *parts: nn.Module) -> None:
        inside = type(train)(rows.cpu(), name="x and what is beside it")
        for part in parts:
            if isinstance(part, Part):
                part.start(inside)

    def model(self, x: Tensor | None = None, y: Tensor | None = None, n: int | None = None) -> Tensor:
        """p(y) p(z | y) p(x | z, y) p(a | x, y, z): scores x (B, *shape), or draws it; as of ``SemiSupervisedVAE``."""
        size = self.begin(x, y, n)
        with pyro.plate("data", size):
            p = dist.Categorical(self.frequency)
            y = pyro.sample("y", p, infer=INFER) if x is not None or y is None else pyro.sample("y", p, obs=y)
            z = pyro.sample("z", self.conditional.prior(y))
            x = pyro.sample("x", self.likelihood(z, y), obs=x)
            pyro.sample("auxiliary", self.reverse(self._beside(x, z), y))
            return x

    def guide(self, x: Tensor | None = None, y: Tensor | None = None, n: int | None = None) -> Tensor:
        """q(a | x) q(y | x, a) q(z | x, a, y), a point mass where y is known, or the prior without x; z (B, dim)."""
        size = self.begin(x, y, n)
        with pyro.plate("data", size):
            if x is None:
                y = pyro.sample("y", dist.Categorical(self.frequency)) if y is None else y
                z = pyro.sample("z", self.conditional.prior(y))
                pyro.sample("auxiliary", self.reverse(self._beside(self.likelihood(z, y).sample(), z), y))
                return z
            both = self._beside(x, pyro.sample("auxiliary", self.auxiliary(x)))
            y = pyro.sample("y", dist.Categorical(logits=self.known(self.log_q(both), y)), infer=INFER)
            return pyro.sample("z", self._averaged.posterior(both, y))

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Means (B, dim) of q(z | x, y) over 32 draws of q(a | x), at the most probable y where it is unknown."""
        y = self.known(self.classify(x), y).argmax(-1)
        a = self.auxiliary(x).sample((DRAWS,))
        return mean_of(self._averaged.posterior(self._beside(x, a), y.expand(DRAWS, -1))).mean(0)

    def draw(self, x: Tensor, y: Tensor | None, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Labels (count, B) and codes (count, B, dim) of the guide, and log of p(y, z, a) / q(y, z, a), (count, B)."""
        q_a = self.auxiliary(x)
        a = q_a.sample((count,))
        both = self._beside(x, a)
        log_q = self.known(self.log_q(both), y)
        label = dist.Categorical(logits=log_q).sample()
        q_z = self._averaged.posterior(both, label)
        z = q_z.sample()
        ratio = self.frequency.log()[label] - log_q.gather(-1, label.unsqueeze(-1)).squeeze(-1)
        ratio = ratio + self.prior(label).log_prob(z) - q_z.log_prob(z)
        return label, z, ratio + self.reverse(self._beside(x, z), label).log_prob(a) - q_a.log_prob(a)

    @torch.no_grad()
    def _check_missing(self) -> None:
        """Refuse networks that turn a missing entry into NaN."""
        x = torch.full((2, *self.shape), torch.nan)
        a, z, y = torch.zeros(2, self.auxiliary.dim), torch.zeros(2, self.conditional.dim), self.target.example(2, x)
        seen = {
            "auxiliary": self.auxiliary.features(x, y),
            "posterior": self._averaged.posterior.features(self._beside(x, a), y),
            "classifier": self.log_q(self._beside(x, a)),
            "reverse": self.reverse.features(self._beside(x, z), y),
        }
        bad = next((name for name, features in seen.items() if not features.isfinite().all()), None)
        if bad is not None:
            raise ValueError(
                f"the network of {bad} gives NaN where entries of x are missing; wrap it in networks.FillMissing"
            )


def _drawn(p: TorchDistribution) -> Tensor:
    return p.rsample() if p.has_rsample else p.sample()


def _checked(name: str, part: Any) -> Posterior:
    if not isinstance(part, Posterior):
        raise TypeError(f"{name} must be one of ppl_vae.posteriors, such as posteriors.Normal, not {part!r}")
    return part


def _check_sizes(name: str, network: nn.Module | None, size: int, more: int) -> None:
    """Refuse a network that states another input size than that of x and a, or x and z, as one vector."""
    takes = stated(network, "in_shape")
    if takes not in (None, (size + more,)):
        raise ValueError(
            f"the network of {name} takes {takes}, but is given {size} + {more} = {size + more} entries, those of x "
            f"and of {'z' if name == 'reverse' else 'a'}, as one vector"
        )
