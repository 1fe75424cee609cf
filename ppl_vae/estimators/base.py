"""What every estimator does: trace the guide, replay the model, and turn the sites' log-densities into a bound.

The class attributes say what an estimator needs of a program. A program that lacks it is refused with a ValueError,
also under ``python -O``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from pyro.infer import ELBO
from torch import Tensor, nn

from ..checks import check_size
from ..parts import Recorded
from .checking import (
    check_factors,
    check_weighable,
    family,
    reparameterised_in_part,
    straight_through,
    uncommon_scale,
    without_gradient,
)
from .particles import find_nesting
from .site import Program, frames_of
from .sites import Sites, Weights
from .tracing import sites


@dataclass(frozen=True)
class Terms:
    """Per-datum results of an estimator, each of shape (B,), in nats, at beta = 1 except for ``surrogate``.

    Attributes:
        surrogate: the quantity to maximise; its value includes beta, its gradient is the estimator's.
        elbo: reconstruction - kl.
        reconstruction: E_q log p(x | z).
        kl: E_q [log q(z | x) - log p(z)].
        scale: the scale that all sites share, without the N/B of sub-sampling.
        subsampling: N/B of the data plate.
    """

    surrogate: Tensor
    elbo: Tensor
    reconstruction: Tensor
    kl: Tensor
    scale: float | Tensor
    subsampling: float = 1.0


class Estimator(Recorded, ELBO):
    """Base of the estimators; subclasses compute ``Terms`` from the log-weights.

    Args:
        num_particles: K, samples of z for every datum.
        max_plate_nesting: number of nested plates, without the particle plate; None: one run counts them.

    Attributes:
        pathwise_only: every latent site of the guide must be reparameterised.
        partly_pathwise: sites may be partly reparameterised, like Pyro's ``Rejector``.
        closed_form: the KL of a site is taken in closed form where it is known, as straight-through sites need it.
        own_scales: the loss is linear in the log-densities, so each site may have its own scale; otherwise all sites
            must share one scale, which multiplies the logarithm from outside.
        per_datum: every site must be inside the data plate.
        batchwise: the loss has a term over the whole batch, so all data must have the same scale.
        unit_beta: why beta must be the number 1; None if any beta is allowed.
        least_particles: smallest K allowed.
    """

    pathwise_only: ClassVar[bool] = False
    partly_pathwise: ClassVar[bool] = False
    closed_form: ClassVar[bool] = False
    own_scales: ClassVar[bool] = False
    per_datum: ClassVar[bool] = False
    batchwise: ClassVar[bool] = False
    unit_beta: ClassVar[str | None] = None
    least_particles: ClassVar[int] = 1

    def __init__(self, num_particles: int = 1, max_plate_nesting: int | None = None) -> None:
        if max_plate_nesting is not None:
            check_size("max_plate_nesting", max_plate_nesting)
        super().__init__(num_particles=check_size("num_particles", num_particles), vectorize_particles=True)
        if num_particles < self.least_particles:
            raise ValueError(
                f"num_particles is {num_particles}, but {type(self).__name__} compares samples with one another and "
                f"needs at least {self.least_particles}"
            )
        self.max_plate_nesting: Any = max_plate_nesting  # without the particle plate, which Pyro counts
        self._found_nesting: int | None = None

    def prepare(self, *batch: Any) -> None:
        """Create the estimator's own parameters, if it has any, from a first batch."""

    @abstractmethod
    def terms(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Terms:
        """Per-datum terms of one batch, differentiable."""

    def differentiable_loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Tensor:
        """Scalar loss summed over the data, in nats, whose gradient is the estimator's."""
        terms = self.terms(model, guide, *args, **kwargs)
        return -(terms.subsampling * terms.scale * terms.surrogate).sum()

    def loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> float:
        """Loss summed over the data, in nats."""
        return self.differentiable_loss(model, guide, *args, **kwargs).item()

    def loss_and_grads(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> float:
        """Loss summed over the data, in nats; adds its gradients to the parameters."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward()
        return loss.item()

    def __call__(self, model: Program, guide: Program) -> nn.Module:
        """The loss as a module called on the batch; it owns the modules whose methods ``model`` and ``guide`` are."""
        module: Any = super().__call__(model, guide)  # type: ignore[arg-type]
        for name, program in (("model_owner", model), ("guide_owner", guide)):
            owner = getattr(program, "__self__", None)
            if isinstance(owner, nn.Module):
                module.add_module(name, owner)
        return module

    def _get_trace(self, model: Program, guide: Program, args: Any, kwargs: Any) -> Any:
        raise AssertionError("estimators trace through sites()")

    def _trace(
        self,
        model: Program,
        guide: Program,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        num_particles: int | None = None,
        through: Callable[[Tensor], Tensor] | None = None,
        draw: Callable[[Program], Program] | None = None,
        marginal: bool = False,
    ) -> Sites:
        """The sites of one batch, checked against what this estimator needs."""
        count = self.num_particles if num_particles is None else num_particles
        how: Any = {"kwargs": kwargs, "marginal": marginal}
        needed = count > 1 or draw is not None
        for last in (False, True):
            if self.max_plate_nesting is None and self._found_nesting is None and needed:
                self._found_nesting = find_nesting(model, guide, args, count if draw is None else 1, **how)
            nesting = self._found_nesting if self.max_plate_nesting is None else self.max_plate_nesting
            nesting = 1 if nesting is None else nesting
            try:
                traced = sites(model, guide, args, count, nesting, through=through, draw=draw, **how)
                every = (*traced.model.values(), *traced.guide.values()) if needed else ()
                if last or all(frame.dim >= -nesting for site in every for frame in frames_of(site).values()):
                    break
            except ValueError as error:
                if last or "collide" not in str(error):
                    raise
                if self.max_plate_nesting is not None:
                    raise ValueError(
                        f"max_plate_nesting is {nesting}, but a site of the programs is in more plates than that; "
                        f"leave it out, and {type(self).__name__} counts them"
                    ) from None
            except RuntimeError as error:
                if "does not require grad" not in str(error):
                    raise
                raise ValueError(
                    f"a program computes a gradient inside, but {type(self).__name__} detaches the latents; use "
                    "TraceELBO, or compute the gradient at z.detach().requires_grad_() under torch.enable_grad()"
                ) from error
            self._found_nesting = None  # it was counted in other programs
        self._check(traced)
        return replace(traced, own_scales=True) if self.own_scales and uncommon_scale(traced) else traced

    def _check(self, traced: Sites) -> None:
        name = type(self).__name__
        check_factors(traced)
        for key, site in traced.guide.items():
            if self.pathwise_only and not site["fn"].has_rsample:
                raise ValueError(
                    f"site {key} of the guide is a {family(site)}, which has no reparameterised samples, and {name} "
                    "needs them; use VIMCO, NVIL, RWS or TraceELBO"
                )
            if not self.partly_pathwise and reparameterised_in_part(site["fn"]):
                raise ValueError(
                    f"site {key} of the guide is a {family(site)}, which is partly reparameterised, but {name} "
                    "needs sites that are fully reparameterised or not at all; use TraceELBO or MeanFieldELBO"
                )
            if straight_through(site) and not self.closed_form:
                raise without_gradient(site, name)
            beta = site["infer"].get("beta", 1.0)
            if self.unit_beta and (isinstance(beta, Tensor) or beta != 1):
                raise ValueError(_beta_message(self, beta))
            if site["infer"].get("num_samples") is not None:
                raise ValueError(
                    f"site {key} sets infer={{'num_samples': {site['infer']['num_samples']}}}, but {name} draws the "
                    f"same number at every site; write {name}(num_particles={site['infer']['num_samples']})"
                )
        for key, site in {**traced.guide, **traced.model}.items():
            if self.per_datum and not traced.is_local(site):
                raise ValueError(
                    f"site {key} is outside the plate {traced.plate.name}, and {name} weights the samples of each "
                    "datum separately; use TraceELBO, MeanFieldELBO or STL"
                )
        if not self.own_scales:
            check_weighable(traced, name)
        if self.batchwise and isinstance(traced.scale, Tensor) and traced.scale.dim():
            raise ValueError(
                f"the scale of shape {tuple(traced.scale.shape)} differs between data, but {name} has a term over the "
                "whole batch; give all data the same scale, or use TraceELBO, MeanFieldELBO or STL"
            )


def check_unit_beta(estimator: Estimator, beta: Any) -> None:
    """ValueError if the estimator is not defined at this beta."""
    if estimator.unit_beta and (callable(beta) or isinstance(beta, Tensor) or beta != 1):
        raise ValueError(_beta_message(estimator, beta))


def _beta_message(estimator: Estimator, beta: Any) -> str:
    said = "a schedule" if callable(beta) or isinstance(beta, Tensor) else f"{beta:g}"
    return (
        f"beta is {said}, but {type(estimator).__name__} is defined only at beta = 1: {estimator.unit_beta}; "
        "TraceELBO, MeanFieldELBO, IWAE and DReG take any beta"
    )


def summed_up(traced: Sites, weights: Weights, surrogate: Tensor) -> Terms:
    """Terms whose ELBO is the mean over particles of log p(x, z) - log q(z | x).

    Args:
        traced: sites of the batch.
        weights: their log-densities.
        surrogate: (B,).
    """
    reconstruction = weights.log_likelihood.mean(0)
    kl = (weights.log_q - weights.log_prior).mean(0)
    return Terms(surrogate, reconstruction - kl, reconstruction, kl, traced.scale, traced.subsampling)


def with_gradient_of(value: Tensor, surrogate: Tensor) -> Tensor:
    """The value of one tensor with the gradient of another."""
    if value is surrogate:
        return value
    return value.detach() + (surrogate - surrogate.detach())
