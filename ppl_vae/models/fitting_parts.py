"""Whether a prior, a posterior and a likelihood fit together, which a ``VAE`` asks when it is built."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor
from torch.distributions import kl_divergence

from .. import supports
from ..likelihoods import Completed
from ..networks import Conditioned, stated
from ..parts import Part
from ..posteriors import GumbelSoftmax, Posterior
from ..posteriors.natural import BY_SUPPORT, OF_GROUPS

if TYPE_CHECKING:
    from .vae import VAE


def check_parts(model: VAE) -> None:
    """Refuse parts of a VAE that do not fit together.

    Raises:
        TypeError: a part that is none, or gives no distribution.
        ValueError: as of ``VAE``.
    """
    for name, needs in (("prior", "dim"), ("posterior", "dim"), ("likelihood", "shape")):
        part = getattr(model, name)
        if isinstance(part, Part):
            supports.check_stated(name, part)
        if not (isinstance(part, torch.nn.Module) and hasattr(part, needs) and hasattr(part, "support")):
            plural = "likelihoods" if name == "likelihood" else f"{name}s"
            raise TypeError(f"{name} must be one of ppl_vae.{plural}, such as {plural}.Normal(...), not {part!r}")
        _check_takes_y(name, part, {"posterior": ["x"], "likelihood": ["z"]}.get(name, []))
    if model.prior.dim != model.posterior.dim:
        raise ValueError(
            f"posterior has dim {model.posterior.dim}, but the prior has dim {model.prior.dim}; give both the same"
        )
    _check_network(model, "likelihood", (model.dim,), f"the codes have shape ({model.dim},)")
    _check_network(model, "posterior", tuple(model.shape), f"the likelihood's data is {tuple(model.shape)}")
    (one, groups), (same, own) = (supports.ungrouped(p.support) for p in (model.prior, model.posterior))
    if supports.same(one, same) and groups != own:
        fits = type(model.posterior).__name__ if own > 1 else OF_GROUPS.get(supports.of(one), "Of")
        raise ValueError(
            f"posterior has groups={own}, but the prior has groups={groups}; use one with as many, such as "
            f"posteriors.{fits}(..., groups={groups})"
        )
    if not supports.same(model.prior.support, model.posterior.support):
        q, p = (
            f"{type(part).__name__} lives on {supports.name(part.support)}" for part in (model.posterior, model.prior)
        )
        fits = (BY_SUPPORT if groups == 1 else OF_GROUPS).get(supports.of(one), "Of")
        raise ValueError(f"posterior {q}, but prior {p}; use one on its support, such as posteriors.{fits}")
    if model.condition is not None and model.condition.observes and not isinstance(model.likelihood, Completed):
        raise ValueError(
            f"y is a part of x, {model.condition!r}, so the likelihood must know that part: use "
            f"likelihoods.Completed(likelihood, condition), not {type(model.likelihood).__name__}"
        )
    _try_parts(model)


def _check_network(model: VAE, part: str, shape: tuple[int, ...], why: str) -> None:
    network = getattr(getattr(model, part), "network", None)
    takes = stated(network, "in_shape")
    if takes not in (None, shape) and isinstance(network, Conditioned):
        raise ValueError(f"the {part}'s {network.refusal(shape)}")
    if takes not in (None, shape):
        raise ValueError(f"the {part}'s network takes {takes}, but {why}")


@torch.no_grad()
def _try_parts(model: VAE) -> None:
    """Run every part once on two examples; this also sizes lazy layers."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    with torch.random.fork_rng(devices=[]):
        like = next(model.parameters(), torch.zeros(()))
        like = like if not torch.nn.parameter.is_lazy(like) else torch.zeros(())
        x = torch.zeros(2, *model.shape, dtype=like.dtype, device=like.device)
        y = None if model.condition is None else model.condition.example(2, x)
        q, fills = model.posterior(x, y), _fills_missing(model, x, y)
        p = model.likelihood(torch.zeros(2, model.dim, dtype=like.dtype, device=like.device), y)
        if isinstance(model.posterior, GumbelSoftmax):
            _check_closed_kl(model, q, y)
        tried = [("posterior", q, (model.dim,)), ("likelihood", p, model.shape)]
        if y is not None:
            prior = model.prior(y)
            tried.append(("prior", prior if prior.batch_shape else prior.expand((2,)), (model.dim,)))
    for module, mode in modes:
        module.training = mode
    for name, part, expected in tried:
        if not isinstance(part, TorchDistributionMixin):
            raise TypeError(
                f"{name} {type(getattr(model, name)).__name__} gave a {_class(part)}; its forward must return a "
                "distribution of pyro.distributions"
            )
        if part.batch_shape != (2,) or part.event_shape != tuple(expected):
            raise ValueError(
                f"{name} gave batch shape {tuple(part.batch_shape)} and event shape {tuple(part.event_shape)} for "
                f"2 examples, where (2,) and {tuple(expected)} are needed"
            )
    if not fills:
        raise ValueError(
            "the posterior's network gives NaN where entries of x are missing; wrap it, as in "
            f"networks.FillMissing(network, {model.shape})"
        )


def _check_closed_kl(model: VAE, q: Any, y: Tensor | None) -> None:
    """ValueError unless the KL to the prior has a closed form, which straight-through gradients need."""
    try:
        kl_divergence(q, model.prior(y))
    except NotImplementedError:
        raise ValueError(
            f"posterior GumbelSoftmax needs a prior to which its KL has a closed form, such as "
            f"priors.OneHotCategorical, not {type(model.prior).__name__}; or use posteriors.OneHotCategorical"
        ) from None


def _fills_missing(model: VAE, x: Tensor, y: Tensor | None) -> bool:
    """Whether the encoder of a model of missing entries turns NaN into finite features."""
    if not supports.allows_missing(model.likelihood.support) or not isinstance(model.posterior, Posterior):
        return True
    return bool(model.posterior.features(torch.full_like(x, torch.nan), y).isfinite().all())


def _check_takes_y(name: str, part: torch.nn.Module, first: list[str]) -> None:
    """TypeError unless the part can be called as the programs call it, with y behind its other arguments."""
    try:
        inspect.signature(part.forward).bind(*first, "y")
    except TypeError:
        needed = ", ".join(["self", *first, "y=None"])
        raise TypeError(f"{name} {type(part).__name__} must take y, used or not: def forward({needed})") from None


def _class(value: object) -> str:
    return ".".join([*type(value).__module__.split(".")[:2], type(value).__qualname__])
