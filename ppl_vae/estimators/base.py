"""What every estimator does: trace the guide, replay the model, and turn the sites into log-weights.

    log w_k = log p(x, z_k) - log q(z_k | x),   z_k ~ q(z | x),   k = 1 ... K

for every datum of the one data plate. Particles are vectorised in a plate ``particles`` to the left of all others. A
scale common to all sites (sub-sampling, ``poutine.scale``) is kept aside and multiplies the datum's loss at the end.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer import ELBO
from torch import Tensor

from ..parts import Recorded, check_size

Program = Callable[..., Any]


@dataclass(frozen=True)
class Terms:
    """Per-datum results of an estimator, all of shape (B,), in nats, beta = 1 but for ``surrogate``.

    Attributes:
        surrogate: the quantity to maximise; its value carries beta, its gradient is the estimator's.
        elbo: reconstruction - kl.
        reconstruction: E_q log p(x | z).
        kl: E_q [log q(z | x) - log p(z)].
        scale: the sites' common scale.
    """

    surrogate: Tensor
    elbo: Tensor
    reconstruction: Tensor
    kl: Tensor
    scale: float | Tensor


class Estimator(Recorded, ELBO):
    """Base of the estimators: subclasses say how log-weights become ``Terms``.

    Args:
        num_particles: K, samples of z for every datum.
        max_plate_nesting: plates of model and guide, particles apart; 1 for the models of this package.
    """

    def __init__(self, num_particles: int = 1, max_plate_nesting: int = 1) -> None:
        super().__init__(
            num_particles=check_size("num_particles", num_particles),
            max_plate_nesting=check_size("max_plate_nesting", max_plate_nesting),
            vectorize_particles=True,
        )

    @abstractmethod
    def terms(self, model: Program, guide: Program, *args: Any) -> Terms:
        """Per-datum terms of one batch, differentiable."""

    def differentiable_loss(self, model: Program, guide: Program, *args: Any) -> Tensor:
        """Scalar loss summed over the data, in nats, whose gradient is the estimator's."""
        terms = self.terms(model, guide, *args)
        return -(terms.scale * terms.surrogate).sum()

    @torch.no_grad()
    def loss(self, model: Program, guide: Program, *args: Any) -> float:
        """Loss summed over the data, in nats."""
        return self.differentiable_loss(model, guide, *args).item()

    def loss_and_grads(self, model: Program, guide: Program, *args: Any) -> float:
        """Loss summed over the data, in nats; adds its gradients to the parameters."""
        loss = self.differentiable_loss(model, guide, *args)
        if loss.requires_grad:
            loss.backward()
        return loss.item()

    def _get_trace(self, *_: Any) -> None:
        raise AssertionError("estimators trace through sites()")


@dataclass(frozen=True)
class Sites:
    """Model and guide traces of one batch, particles in front.

    Attributes:
        model: sample sites of the model by name.
        guide: sample sites of the guide by name.
        num_particles: K.
        plate: size of the data plate and its dim, counted from the right.
    """

    model: dict[str, dict[str, Any]]
    guide: dict[str, dict[str, Any]]
    num_particles: int
    size: int
    dim: int

    @property
    def observed(self) -> list[dict[str, Any]]:
        """Observed sites of the model."""
        return [site for site in self.model.values() if site["is_observed"]]

    @property
    def latent(self) -> list[dict[str, Any]]:
        """Unobserved sites of the model."""
        return [site for site in self.model.values() if not site["is_observed"]]

    @property
    def scale(self) -> float | Tensor:
        """The scale that all sites share, taken from an observed one, where beta never enters."""
        return self.observed[0]["scale"]

    def log_prob(self, site: dict[str, Any]) -> Tensor:
        """Log-probability of a site at its value, (K, B) or (1, B)."""
        return self.per_datum(site, site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"]))

    def per_datum(self, site: dict[str, Any], value: Tensor) -> Tensor:
        """A site's tensor over its plates, masked, summed over all plates but data and particles: (K, B) or (1, B).

        A site outside the data plate is shared by all data: every datum carries 1/B of it.
        """
        if site["mask"] is not None:
            value = torch.where(torch.as_tensor(site["mask"], device=value.device), value, value.new_zeros(()))
        plates = {frame.name: frame.dim for frame in site["cond_indep_stack"] if frame.vectorized}
        particles = plates.pop("particles", None)
        inner = [dim for dim in plates.values() if dim != self.dim]
        rank = max([-self.dim, value.dim(), *(-dim for dim in plates.values()), -(particles or 0)])
        value = value.reshape((1,) * (rank - value.dim()) + tuple(value.shape))
        if inner:
            value = value.sum(dim=inner, keepdim=True)
        keep_particles = value.shape[particles] if particles is not None else 1
        value = value.reshape(keep_particles, -1)
        return value if self.dim in plates.values() else value.expand(-1, self.size) / self.size


def sites(model: Program, guide: Program, args: tuple[Any, ...], num_particles: int, nesting: int = 1) -> Sites:
    """Trace the guide and replay the model against it, with ``num_particles`` samples of every latent.

    Raises:
        ValueError: the model has no observed site inside a plate.
    """
    if num_particles > 1:
        plate = pyro.plate("particles", num_particles, dim=-1 - nesting)
        model, guide = plate(model), plate(guide)
    guide_trace = poutine.trace(guide, graph_type="flat").get_trace(*args)
    model_trace = poutine.trace(poutine.replay(model, trace=guide_trace), graph_type="flat").get_trace(*args)
    in_model, in_guide = _samples(model_trace), _samples(guide_trace)
    frames = [
        frame
        for site in in_model.values()
        if site["is_observed"]
        for frame in site["cond_indep_stack"]
        if frame.vectorized and frame.name != "particles"
    ]
    if not frames:
        raise ValueError("the model has no observed site inside a plate; put the data in pyro.plate('data', len(x))")
    data = next((frame for frame in frames if frame.name == "data"), max(frames, key=lambda frame: frame.dim))
    return Sites(in_model, in_guide, num_particles, data.size, data.dim)


def _samples(trace: poutine.Trace) -> dict[str, dict[str, Any]]:
    return {
        name: site
        for name, site in trace.nodes.items()
        if site["type"] == "sample" and type(site["fn"]).__name__ != "_Subsample"
    }


def log_weights(model: Program, guide: Program, x: Tensor, y: Tensor | None = None, num_particles: int = 1) -> Tensor:
    """log p(x, z_k) - log q(z_k | x) for fresh z_k ~ q: (K, B), in nats, beta and scales left out.

    Args:
        model: Pyro model of (x,) or (x, y).
        guide: Pyro guide of the same.
        x: data (B, *shape).
        y: labels (B, ...), or None.
        num_particles: K.

    Example:
        >>> from ppl_vae import likelihoods, models, networks, posteriors, priors
        >>> vae = models.VAE(
        ...     priors.Normal(2),
        ...     posteriors.Normal(networks.MLP(6, [8]), 2),
        ...     likelihoods.Bernoulli(networks.MLP(2, [8]), 6),
        ... )
        >>> log_weights(vae.model, vae.guide, torch.ones(5, 6), num_particles=3).shape
        torch.Size([3, 5])
    """
    args = (x,) if y is None else (x, y)
    traced = sites(model, guide, args, check_size("num_particles", num_particles))
    total = sum(traced.log_prob(site) for site in traced.model.values())
    total = total - sum(traced.log_prob(site) for site in traced.guide.values())
    return total.expand(num_particles, traced.size)
