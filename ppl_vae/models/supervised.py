"""The supervised VAE: a code that tells y as well as x.

    model:  z ~ p(z),  x ~ p(x | z),  y ~ p(y | z)          guide:  z ~ q(z | x)

y is observed where it is known; where it is not, its term is left out, and the bound is one of log p(x) alone:

    E_q(z | x) [log p(x | z) + weight * log p(y | z)] - KL(q(z | x) || p(z))
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pyro
import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ..checks import check_weight
from ..distributions.softplus import inverse_softplus
from ..likelihoods import Likelihood
from ..networks import MLP, Condition, Head, Label, Vector, fold, stated
from ..posteriors import Posterior
from ..priors import Prior
from .protocols import Predictor
from .vae import VAE, examples

if TYPE_CHECKING:
    from ..data import Split

DRAWS = 32  # of q(z | x) over which a prediction is averaged
SCALE_FLOOR = 1e-3  # of p(y | z), in the units in which y is seen


class Outcome(nn.Module):
    """p(y | z): class probabilities or means from a network of z; numbers have a learned scale, the same for all z.

    Args:
        network: module from z (..., dim) to features.
        dim: size of the code.
        target: what y is.
    """

    def __init__(self, network: nn.Module, dim: int, target: Label | Vector) -> None:
        super().__init__()
        self.network = network
        self.target: Any = target
        takes = stated(network, "in_shape")
        if takes not in (None, (dim,)):
            raise ValueError(f"the predictor takes {takes}, but the codes have shape ({dim},)")
        self.head = Head(network, (target.classes,) if isinstance(target, Label) else target.event)
        self.raw_scale = None
        if not isinstance(target, Label):
            self.raw_scale = nn.Parameter(torch.full(target.event, inverse_softplus(1.0 - SCALE_FLOOR)))
        with torch.no_grad():
            self(torch.zeros(2, dim))  # sizes lazy layers, and refuses a network that does not take z

    def forward(self, z: Tensor) -> TorchDistribution:
        """Distribution of batch shape (...) over y from z (..., dim)."""
        (out,) = self.head(fold(self.network, z, 1))
        if self.raw_scale is None:
            return dist.Categorical(logits=out)
        scale = (F.softplus(self.raw_scale) + SCALE_FLOOR).expand(out.shape)
        if (units := self.target.units) is not None:
            shift, unit = (value.reshape(self.target.event) for value in (units.shift, units.unit))
            out, scale = shift + unit * out, unit * scale
        return dist.Normal(out, scale).to_event(len(self.target.event))


class SupervisedVAE(VAE, Predictor):
    """A ``VAE`` whose code also predicts y, a class or numbers, which may be known of some examples only.

    ``model`` takes y (B, ...) of which some or all are unknown: -1 for a class, NaN for numbers; without y all are.
    Evaluation takes y as unknown unless it is given, so that the log-likelihood is that of x.

    Args:
        prior: p(z), event shape (dim,).
        posterior: q(z | x); None as for a ``VAE``.
        likelihood: p(x | z).
        target: what y is: ``networks.Label`` for a class, ``networks.Vector`` for numbers.
        predictor: network of z whose features give the logits of p(y | z), or its means; None for an MLP with one layer
            of 200.
        weight: of log p(y | z) in the bound; at 1 it is a bound of log p(x, y). x often has hundreds of entries beside
            which one y counts little.

    Raises:
        TypeError: a target that is neither a ``Label`` nor a ``Vector``.
        ValueError: parts that are conditional on y, a predictor of another input size, a negative weight, or as of
            ``VAE``; when trained, data without labels.

    Source: Blei and McAuliffe 2008, "Supervised topic models"; Ji et al. 2021, "A probabilistic framework for
    supervised variational autoencoders".

    Example:
        >>> from ppl_vae import likelihoods, networks, priors
        >>> likelihood = likelihoods.Bernoulli(networks.MLP(2, [32]), (1, 8, 8))
        >>> vae = SupervisedVAE(priors.Normal(2), likelihood=likelihood, target=networks.Label(10))
        >>> vae.predict(torch.zeros(5, 1, 8, 8)).shape, vae.model(n=3).shape
        (torch.Size([5, 10]), torch.Size([3, 1, 8, 8]))
    """

    def __init__(
        self,
        prior: Prior,
        posterior: Posterior | None = None,
        likelihood: Likelihood | None = None,
        target: Condition | None = None,
        predictor: nn.Module | None = None,
        weight: float = 1.0,
    ) -> None:
        super().__init__(prior, posterior, likelihood)
        if not isinstance(target, Label | Vector):
            raise TypeError(f"target must be networks.Label(classes) or networks.Vector(), what y is, not {target!r}")
        if self.condition is not None:
            raise ValueError(
                f"the parts are conditional on {self.condition!r}, but a SupervisedVAE predicts y from a code that has "
                "not seen it; use networks without Conditioned, or models.CVAE"
            )
        self.weight = check_weight("weight", weight)
        self.outcome = Outcome(MLP(self.dim, [200]) if predictor is None else predictor, self.dim, target)

    @property
    def target(self) -> Label | Vector:  # type: ignore[override]
        """What y is."""
        return self.outcome.target

    def start(self, train: Split) -> None:
        """Start the parts; refuse data without labels."""
        if not train.labelled:
            raise ValueError(f"a SupervisedVAE needs data with labels y, its {self.target!r}; use models.VAE without")
        super().start(train)

    def model(self, x: Tensor | None = None, y: Tensor | None = None, n: int | None = None) -> Tensor:
        """p(z) p(x | z) p(y | z): scores x (B, *shape), or draws it when it is left out.

        Args:
            x: data (B, *shape); None to generate.
            y: labels (B, ...), of which some may be unknown, or None for all.
            n: how many to generate when neither x nor y says.

        Returns:
            x, given or drawn.
        """
        self._register("outcome")
        if y is not None:
            examples(x, y, n, self.target, partly=True)
        return super().model(x, y, n)

    def generate(self, x: Tensor | None, y: Tensor | None) -> Tensor:
        """The sites z, x and y of ``model``; y only where it is given, or drawn with x."""
        z = pyro.sample("z", self.prior())
        drawn = pyro.sample("x", self.likelihood(z), obs=x)
        p = self.outcome(z)
        if y is not None:
            # Several handlers look at the scale's presence: at weight 1 there must be none.
            scaled = contextlib.nullcontext() if self.weight == 1 else pyro.poutine.scale(scale=self.weight)
            known: Any = self.target.known(y)
            whole = torch.where(known.reshape(-1, *[1] * (y.dim() - 1)), y, torch.zeros_like(y))
            with scaled, pyro.poutine.mask(mask=known):
                pyro.sample("y", p, obs=whole if isinstance(self.target, Label) else whole.to(p.mean.dtype))
        elif x is None:
            pyro.sample("y", p)
        return drawn

    def predict(self, x: Tensor) -> Tensor:
        """Class probabilities (B, classes), or means (B, *event), averaged over 32 draws of q(z | x)."""
        p = self.outcome(self.posterior(x).sample((DRAWS,)))
        return (p.probs if isinstance(self.target, Label) else p.mean).mean(0)
