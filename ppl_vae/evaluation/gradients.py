"""Quality of an estimator's gradients at fixed parameters: signal-to-noise ratio, variance and bias against K.

For gradients g_1 ... g_R of the loss (mean over the batch) with mean m, and v the variance of one of them summed over
the entries of a group of parameters,

    SNR^2 = (|m|^2 - v / R) / v,      bias^2 = |m - r|^2 - v / R - v_r / R_r,

where r is a reference gradient, with noise of its own. Both are free of the noise's contribution to the squared norm,
which alone would look like an SNR of R^(-1/2). Ratios are of sums over entries, so that large entries count for more;
of a single entry the SNR is its |mean| / deviation. Standard errors are jackknifed over blocks of repeats, and never
below what noise alone would give.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro.infer import ELBO
from torch import Tensor, nn

from ..checks import check_size
from ..estimators import Estimator
from ..estimators.program_layout import prepare
from ..handlers import LocalParameters
from ..models import Pair
from ..parts import Recorded
from ..statistics.moments import Estimate, Moments, jackknife
from .doors import check_data, evaluating

GROUPS = ("encoder", "decoder")


@dataclass(frozen=True)
class Gradients:
    """Quality of gradients for every K and for the groups "encoder" and "decoder".

    Gradients are of the loss in nats per example by the parameters as they are stored (unconstrained).

    Attributes:
        num_particles: the Ks.
        repeats: R, gradients drawn for every K.
        bound: minus the loss, in nats per example.
        squared_snr: by group; negative where the signal is lost in noise, infinite for exact gradients, NaN for zeros.
        variance: by group, summed over its entries, (nats per example / unit)^2.
        squared_bias: by group, |E g - r|^2 in the same unit; may be negative; None without a reference.
        parameters: names of the parameters of each group.
    """

    num_particles: tuple[int, ...]
    repeats: int
    bound: Estimate
    squared_snr: dict[str, Estimate]
    variance: dict[str, Estimate]
    squared_bias: dict[str, Estimate] | None
    parameters: dict[str, tuple[str, ...]]

    def __repr__(self) -> str:
        said = "; of ".join(f"{group} {', '.join(f'{v:.3g}' for v in snr.value)}" for group, snr in self.snr.items())
        return f"Gradients(K={list(self.num_particles)}: signal-to-noise ratio of {said}; {self.repeats} repeats)"

    @property
    def snr(self) -> dict[str, Estimate]:
        """By group, without unit: 0 where the squared one is negative."""
        return {group: value.root() for group, value in self.squared_snr.items()}

    @property
    def bias(self) -> dict[str, Estimate] | None:
        """By group, the norm of E g - r in nats per example and unit; 0 where the squared one is negative."""
        squared = self.squared_bias
        return None if squared is None else {group: value.root() for group, value in squared.items()}

    def rows(self) -> list[dict[str, Any]]:
        """A dict for every K and group, with numbers in place of tensors: for tables, JSON and plots."""
        columns = {"snr": self.snr, "variance": self.variance, "bias": self.bias or {}}
        out = []
        for i, k in enumerate(self.num_particles):
            for group in self.squared_snr:
                given = {"bound": self.bound, **{n: by[group] for n, by in columns.items() if by}}
                row: dict[str, Any] = {"num_particles": k, "group": group}
                for name, estimate in given.items():
                    row |= {name: estimate.value[i].item(), f"{name}_stderr": estimate.stderr[i].item()}
                out.append(row)
        return out


def snr(
    model: Pair,
    estimator: ELBO,
    x: Tensor,
    y: Tensor | None = None,
    *,
    num_particles: int | Sequence[int] | None = None,
    repeats: int = 100,
    seed: int = 0,
    reference: ELBO | Tensor | None = None,
    reference_repeats: int | None = None,
    batch_size: int | None = None,
) -> Gradients:
    """Signal-to-noise ratio, variance and bias of the gradients of encoder and decoder, and the bound, for every K.

    The encoder is every parameter that the guide depends on, the decoder all others. The model is in evaluation mode,
    its parameters and their ``.grad`` stay as they are. What is found for one K depends on ``seed`` and that K alone.

    Args:
        model: a module with Pyro programs ``model`` and ``guide``.
        estimator: one of ``ppl_vae.estimators``, or any Pyro ELBO with ``differentiable_loss``.
        x: data (B, *shape): the batch whose gradient it is.
        y: labels (B, ...), or None.
        num_particles: one K or several; None for the estimator's own.
        repeats: R, independent gradients for every K; the error of an SNR^2 near 0 falls as 1/R.
        seed: of the samples; the caller's generators are left alone.
        reference: what the bias is against: an estimator, of whose gradients the mean is taken; or the exact gradient
            of the loss in nats per example, flat, in the order of ``model.parameters()``. None for no bias.
        reference_repeats: gradients drawn of a reference estimator; None for as many as ``repeats``.
        batch_size: data at a time, to save memory: only for losses that are sums over data (not for ``MMD``, nor for
            latents outside the data plate).

    Raises:
        TypeError: no estimator, or one without ``differentiable_loss``.
        ValueError: no data, fewer than 4 repeats, a K below 1, or a reference of another size.

    Source: Rainforth et al. 2018, "Tighter variational bounds are not necessarily better".

    Example:
        >>> from ppl_vae import VAE, estimators, likelihoods, networks, priors
        >>> vae = VAE(priors.Normal(2), likelihood=likelihoods.Bernoulli(networks.MLP(2, [8]), 6))
        >>> found = snr(vae, estimators.TraceELBO(), torch.ones(5, 6), num_particles=[1, 4], repeats=10)
        >>> found.snr["decoder"].value.shape
        torch.Size([2])
    """
    check_size("repeats", repeats, least=4)
    sized = [_resized(estimator, k) for k in _counts(num_particles)]
    ks = tuple(e.num_particles for e in sized)
    x, y = check_data(model, x, y)
    size = len(x) if batch_size is None else check_size("batch_size", batch_size)
    with evaluating(model, seed) as device:
        batch = [part.to(device) for part in (x, y) if part is not None]
        named = _parameters(model, batch, size)
    draw = _Draw(model, batch, size, named)
    origin = _reference(draw, reference, repeats if reference_repeats is None else reference_repeats, seed)
    bounds, found = [], []
    for k, resized in zip(ks, sized, strict=True):
        moments, values = draw(resized, repeats, seed=(seed + 1) * 2**20 + k)
        bounds.append((values.mean(), values.std() / repeats**0.5))
        found.append([_figures(moments[group], None if origin is None else origin[group]) for group in GROUPS])
    tables = {
        name: {group: _stack([row[i][name] for row in found]) for i, group in enumerate(GROUPS)} for name in found[0][0]
    }
    names = {group: tuple(name for name, _ in pairs) for group, pairs in named.items()}
    squared, variance, bias = tables["squared_snr"], tables["variance"], tables.get("squared_bias")
    return Gradients(ks, repeats, _stack(bounds), squared, variance, bias, names)


def _counts(num_particles: int | Sequence[int] | None) -> list[int | None]:
    if num_particles is None:
        return [None]
    given = [num_particles] if isinstance(num_particles, int) else list(num_particles)
    if not given:
        raise ValueError("num_particles must hold at least one K, such as [1, 10, 100], not []")
    return [check_size("num_particles", k) for k in given]


def _resized(estimator: Any, k: int | None) -> Any:
    """The estimator with K particles; a copy, so that what it learns or counts stays its own."""
    if not isinstance(estimator, ELBO):
        raise TypeError(f"estimator must be an instance of a pyro.infer.ELBO class, such as IWAE(), not {estimator!r}")
    if not hasattr(estimator, "differentiable_loss"):
        name = type(estimator).__name__
        raise TypeError(f"estimator {name} has no differentiable_loss; give one of ppl_vae.estimators, such as IWAE()")
    made: Any = copy.deepcopy(estimator)
    if k is None or k == estimator.num_particles:
        return made
    if isinstance(estimator, Recorded):
        if "num_particles" not in made.arguments:
            raise TypeError(
                f"num_particles must be None with {type(estimator).__name__}, which takes no number of samples"
            )
        resized: Any = type(estimator)(**{**made.arguments, "num_particles": k})
        if isinstance(resized, nn.Module):  # with what it has learned, such as a baseline
            resized._modules.update(made._modules)
        return resized
    if made.vectorize_particles:  # the plate of particles is one more, and Pyro counted it when it was built
        made.max_plate_nesting += (k > 1) - (made.num_particles > 1)
    made.num_particles = k
    return made


def _parameters(model: Any, batch: list[Tensor], size: int) -> dict[str, list[tuple[str, nn.Parameter]]]:
    """Names and parameters of the two groups: the encoder's are those that the guide's draws or densities depend on."""
    prepare(model, *batch)
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if not named:
        raise ValueError("model has no parameters that require a gradient; train or unfreeze some")
    with torch.enable_grad():
        nodes: Any = pyro.poutine.trace(model.guide).get_trace(*batch).nodes
        latent = [s for s in nodes.values() if s["type"] == "sample" and type(s["fn"]).__name__ != "_Subsample"]
        terms = [t for s in latent for t in (s["value"], s["fn"].log_prob(s["value"].detach()))]
        terms = [t.sum() for t in terms if t.requires_grad]
        found = torch.autograd.grad(terms, [p for _, p in named], allow_unused=True) if terms else [None] * len(named)
    outside = [s["name"] for s in latent if not s["cond_indep_stack"]]
    if size < len(batch[0]) and outside:
        raise ValueError(f"batch_size must be None here, since site {outside[0]} is outside the data plate")
    pairs = list(zip(named, found, strict=True))
    return {
        "encoder": [pair for pair, gradient in pairs if gradient is not None],
        "decoder": [pair for pair, gradient in pairs if gradient is None],
    }


class _Draw:
    """Draws gradients of an estimator's loss and gives their moments by group, and the bound's values."""

    def __init__(self, model: Any, batch: list[Tensor], size: int, named: dict[str, Any]) -> None:
        self.model, self.batch, self.size, self.named = model, batch, size, named
        self.parameters = {group: [p for _, p in pairs] for group, pairs in named.items()}

    def __call__(self, estimator: Any, repeats: int, seed: int) -> tuple[dict[str, Moments], Tensor]:
        like = next(self.model.parameters()).detach()
        moments = {g: Moments(sum(p.numel() for p in self.parameters[g]), repeats, like) for g in GROUPS}
        values = []
        with evaluating(self.model, seed):
            # Around each program too: Pyro looks for the plates behind a handler that hides those outside it.
            programs = [LocalParameters()(program) for program in (self.model.model, self.model.guide)]
            for i in range(repeats):
                value, gradients = self._once(estimator, programs)
                values.append(value)
                for group in GROUPS:
                    moments[group].add(i, gradients[group])
        return moments, torch.stack(values).double().cpu()

    def _once(self, estimator: Any, programs: list[Callable[..., Any]]) -> tuple[Tensor, dict[str, Tensor]]:
        parameters = [p for group in GROUPS for p in self.parameters[group]]
        total = [torch.zeros_like(p) for p in parameters]
        value = torch.zeros((), device=self.batch[0].device)
        for start in range(0, len(self.batch[0]), self.size):
            batch = [part[start : start + self.size] for part in self.batch]
            with torch.enable_grad():
                loss = _loss(estimator, programs, batch) / len(self.batch[0])
                found = torch.autograd.grad(loss, parameters, allow_unused=True)
            total = [t if g is None else t + g for t, g in zip(total, found, strict=True)]
            if not isinstance(estimator, Estimator):  # whose surrogate need not have the loss's value
                loss = torch.as_tensor(estimator.loss(*programs, *batch)) / len(self.batch[0])
            value = value - loss.detach()
        flat, count = [t.flatten() for t in total], len(self.parameters["encoder"])
        empty = value.new_zeros(0)
        return value, {"encoder": torch.cat([empty, *flat[:count]]), "decoder": torch.cat([empty, *flat[count:]])}


def _loss(estimator: Any, programs: list[Callable[..., Any]], batch: list[Tensor]) -> Tensor:
    """The loss summed over the batch; as in training, the N/B of a sub-sampled plate is left out of ours."""
    if not isinstance(estimator, Estimator):
        return estimator.differentiable_loss(*programs, *batch)
    terms = estimator.terms(*programs, *batch)
    return -(terms.scale * terms.surrogate).sum()


def _reference(draw: _Draw, reference: Any, repeats: int, seed: int) -> dict[str, Tensor | Moments] | None:
    """The gradient that biases are against, by group: exact, or the moments of drawn ones."""
    if reference is None:
        return None
    if not isinstance(reference, Tensor):
        check_size("reference_repeats", repeats, least=4)
        return {**draw(_resized(reference, None), repeats, seed=(seed + 1) * 2**20)[0]}
    parameters = [p for p in draw.model.parameters() if p.requires_grad]
    size = sum(p.numel() for p in parameters)
    if reference.shape != (size,):
        raise ValueError(f"reference must be flat with {size} entries, one a parameter, not {tuple(reference.shape)}")
    parts = {id(p): part for p, part in zip(parameters, reference.split([p.numel() for p in parameters]), strict=True)}
    empty = draw.batch[0].new_zeros(0)
    return {
        group: torch.cat([empty, *(parts[id(p)].to(p) for p in draw.parameters[group])]).detach() for group in GROUPS
    }


def _figures(moments: Moments, origin: Tensor | Moments | None) -> dict[str, tuple[Tensor, Tensor]]:
    """Value and standard error of everything about one group at one K."""
    square, variance = moments.squared()
    noise = moments.noise()
    out = {
        "squared_snr": jackknife(square / variance, floor=noise / variance[0]),
        "variance": jackknife(variance),
    }
    if isinstance(origin, Moments):
        value, error = jackknife(moments.squared(origin.mean())[0], floor=noise + origin.noise())
        other = jackknife(origin.squared(moments.mean())[0])[1]
        out["squared_bias"] = value - origin.squared()[1][0] / origin.repeats, error.hypot(other)
    elif origin is not None:
        out["squared_bias"] = jackknife(moments.squared(origin)[0], floor=noise)
    return out


def _stack(pairs: Sequence[tuple[Tensor, Tensor]]) -> Estimate:
    value, stderr = (torch.stack(column) for column in zip(*pairs, strict=True))
    return Estimate(value, stderr)
