"""Whether model, guide, estimator and beta fit together: checked before the first step, also under ``python -O``.

Our own estimators check every trace themselves. Pyro's are accepted where they are right and refused where they would
be silently wrong; the message says what is wrong and what to use instead.
"""

from __future__ import annotations

from typing import Any

import torch
from pyro import infer
from torch import Tensor

from ..distributions.wrappers import is_delta, unwrapped
from ..trials import trial
from .base import Estimator, check_unit_beta
from .checking import check_factors, check_scales_agree, divergence, family, straight_through, without_gradient
from .enumerate import refuse_beta
from .site import Program
from .sites import Sites
from .tracing import sites

WRONG = {
    infer.RenyiELBO: "weighs the whole batch as one datum, N/B inside the logarithm; use estimators.Renyi, or IWAE for "
    "alpha = 0",
    infer.ReweightedWakeSleep: "weighs the whole batch as one datum; use estimators.RWS",
    infer.TraceTailAdaptive_ELBO: "uses a sorting order as ranks and has no finite loss; use estimators.TailAdaptive",
    infer.Trace_MMD: "compares the particles of one datum with the prior, not the batch; use estimators.MMD",
    infer.TraceGraph_ELBO: "has no differentiable loss; use estimators.NVIL, VIMCO or TraceELBO",
}
"""Pyro's estimators that are refused, and why."""


def check_estimator(estimator: Any, beta: Any = 1.0) -> None:
    """Refuse estimators that are wrong for every model.

    Args:
        estimator: an instance of a ``pyro.infer.ELBO`` class.
        beta: number, tensor or schedule.

    Raises:
        TypeError: not an ELBO, or one of Pyro's that would be silently wrong.
        ValueError: an estimator that is not defined at this beta.

    Example:
        >>> check_estimator(infer.Trace_ELBO(), beta=4.0)
    """
    if not isinstance(estimator, infer.ELBO):
        raise TypeError(f"estimator must be an instance of a pyro.infer.ELBO class, not {estimator!r}")
    for wrong, why in WRONG.items():
        if isinstance(estimator, wrong):
            raise TypeError(f"estimator pyro.infer.{type(estimator).__name__} {why}")
    if not hasattr(estimator, "differentiable_loss"):
        raise TypeError(f"{type(estimator).__name__} has no differentiable_loss; use one of ppl_vae.estimators")
    if isinstance(estimator, Estimator):
        check_unit_beta(estimator, beta)


def check_programs(estimator: Any, model: Program, guide: Program, batch: tuple[Tensor, ...]) -> None:
    """Refuse programs, betas and scales that one of Pyro's own estimators would get wrong.

    The random number generators are left as they were.

    Args:
        estimator: an instance of a ``pyro.infer.ELBO`` class; ours are skipped, since they check every trace.
        model: Pyro model, scaled by beta as it will be trained.
        guide: Pyro guide, likewise.
        batch: arguments of both.

    Raises:
        ValueError: in one sentence, naming site, estimator and what to use.
    """
    if isinstance(estimator, Estimator):
        return
    enumerates = isinstance(estimator, infer.TraceEnum_ELBO | infer.TraceTMC_ELBO)
    with trial(*batch):
        traced = sites(model, guide, batch, 1, kwargs={}, marginal=enumerates)
    check_factors(traced)
    for name, site in traced.drawn.items():
        known = isinstance(estimator, infer.TraceMeanField_ELBO) and name in traced.model
        if straight_through(site) and not (known and divergence(site["fn"], traced.model[name]["fn"]) is not None):
            raise without_gradient(site, type(estimator).__name__)
    if isinstance(estimator, infer.TraceMeanField_ELBO):
        _refuse_discrete(traced)
        _refuse_jacobians(traced)
        check_scales_agree(traced, "TraceMeanField_ELBO uses the guide's for both; use estimators.MeanFieldELBO")
    if enumerates:
        refuse_beta(traced)


def _refuse_discrete(traced: Sites) -> None:
    for name, site in traced.drawn.items():
        if not site["fn"].has_rsample:
            raise ValueError(
                f"site {name} of the guide is a {family(site)}, which has no reparameterised samples, and "
                "TraceMeanField_ELBO drops its gradient; use estimators.MeanFieldELBO"
            )


def _refuse_jacobians(traced: Sites) -> None:
    for name, site in traced.drawn.items():
        if is_delta(site["fn"]) and (torch.as_tensor(unwrapped(site["fn"]).log_density) != 0).any():
            raise ValueError(
                f"site {name} of the guide is a Delta with a log-density, as in Pyro's autoguides for bounded "
                "supports, and TraceMeanField_ELBO ignores that density; use estimators.MeanFieldELBO"
            )
