"""Sums over discrete sites, each in its own dimension, computed factor by factor.

The log-density f_s of a site s has the dimensions of its plates F_s and those of the discrete sites that it depends on.
A site d can be summed out of f_s if F_d is part of F_s: then each element of F_s belongs to one d.

Sites d of the guide: the mean of f_s, for each element of F_s, where A holds the sites that f_s depends on,

    sum_A q(A) f_s(A),    q(A) = sum over the parents of A that are not in A of prod_d q(d | parents of d)

Sites m of the model alone are summed out, from the innermost plates outwards: among the factors in the plates F_m,

    g = log sum_m prod_s exp f_s     over the factors that depend on m, for each element of F_m

replaces them. If g depends on sites m' in fewer plates, it is summed over the other plates and becomes a factor in the
plates of m'; if it depends on none, it is a term of the bound. Each factor also has its expected log-likelihood, which
a sum over m averages with softmax weights.

Source: Obermeyer et al. 2019, "Tensor variable elimination for plated factor graphs".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .base import Terms
from .site import Site, density, frames_of, particles_of, subsampling_of
from .sites import Sites

MOST = 4096  # joint values of the discrete sites in one logarithm or one mean


@dataclass(frozen=True)
class Factor:
    """A log-density, with its plates and the discrete sites that it depends on.

    Attributes:
        site: a site in the same plates, without a mask.
        log: the log-density, masked, over the plates and the dimensions of discrete sites.
        seen: the expected log-likelihood that it includes, with the same dimensions; None if it includes none.
        shown: discrete sites that it depends on.
    """

    site: Site
    log: Tensor
    seen: Tensor | None
    shown: frozenset[str]

    @property
    def plates(self) -> frozenset[Any]:
        """Names of its plates."""
        return frozenset(frames_of(self.site))


class Elimination:
    """The discrete sites of one trace, each in its own dimension.

    Args:
        traced: the sites.
        dims: the dimension of every discrete site.
        alone: the discrete sites that only the model has.
    """

    def __init__(self, traced: Sites, dims: Mapping[str, int], alone: Sequence[str]) -> None:
        self.traced, self.dims, self.alone = traced, dims, alone
        self.of = {name: traced.model[name] if name in alone else traced.guide[name] for name in dims}
        self.plates = {name: frozenset(frames_of(site)) for name, site in self.of.items()}
        self.sizes = {n: site["value"].shape[dims[n] - site["fn"].event_dim] for n, site in self.of.items()}
        self.q = {name: self.factor(site, as_drawn(site)) for name, site in self.of.items() if name not in alone}
        self._means: dict[frozenset[str], Tensor] = {}

    def terms(self) -> Terms:
        """Per-datum terms of the bound.

        Raises:
            ValueError: a dependence that does not factorise.
        """
        traced, first = self.traced, density(self.traced.observed[0])
        value = likelihood = kl = first.new_zeros(1, traced.size)
        of_model = [self.factor(s, as_drawn(s)) for s in traced.latent if s["name"] in self.alone]
        of_model += [self.factor(s, masked(s)) for s in traced.model.values() if s["name"] not in self.alone]
        of_guide = [self.factor(site, masked(site)) for site in traced.guide.values()]
        for sign, factors in ((1, self.summed_out(of_model)), (-1, of_guide)):
            for factor in factors:
                log = self.mean(factor, factor.log)
                plain = traced.per_datum(factor.site, log)
                value = value + sign * traced.scaled(factor.site, log, plain)
                if sign == 1 and factor.seen is factor.log:
                    likelihood = likelihood + plain
                    continue
                kl = kl - sign * plain
                if sign == 1 and factor.seen is not None:
                    seen = traced.per_datum(factor.site, self.mean(factor, factor.seen))
                    likelihood, kl = likelihood + seen, kl + seen
        value = scored(value, score_of_observed(traced, self.dims))
        value, likelihood, kl = (term.mean(0) for term in (value, likelihood, kl))
        return Terms(value, likelihood - kl, likelihood, kl, traced.scale, traced.subsampling)

    def factor(self, site: Site, log: Tensor) -> Factor:
        """A site's log-density as a factor."""
        for name in (depends := shown(log, self.dims)):
            check_inside(site, self.of[name], name in self.alone)
        return Factor({**site, "mask": None}, log, log if site["is_observed"] else None, depends)

    def mean(self, factor: Factor, value: Tensor) -> Tensor:
        """The mean of a factor's tensor over the guide's discrete sites, their dimensions kept at size 1."""
        if not factor.shown:
            return value
        if factor.shown not in self._means:
            self._means[factor.shown] = self._joint(factor.shown)
        weight = self._means[factor.shown]
        value = torch.where(weight > 0, value, 0.0)  # not 0 times infinity
        return (weight * value).sum([self.dims[name] for name in factor.shown], keepdim=True)

    def _joint(self, names: frozenset[str]) -> Tensor:
        """q of the named sites together."""
        every = set(names)
        while more := {parent for name in every for parent in self.q[name].shown} - every:
            every |= more
        factors = self._eliminate([self.q[name] for name in self.dims if name in every], every - names)
        return self._product(factors).log.exp()

    def summed_out(self, factors: Iterable[Factor]) -> list[Factor]:
        """The factors left after summing over the sites that only the model has."""
        found: list[Factor] = []
        pending: list[Factor] = []
        for factor in factors:
            (found if factor.shown.isdisjoint(self.alone) else pending).append(factor)
        while pending:
            level = max((factor.plates for factor in pending), key=len)
            here = [factor for factor in pending if factor.plates == level]
            pending = [factor for factor in pending if factor.plates != level]
            for factor in self._eliminate(here, {name for name in self.alone if self.plates[name] == level}):
                if factor.shown.isdisjoint(self.alone):
                    found.append(factor)
                else:
                    pending.append(self._outwards(factor))
        return found

    def _outwards(self, factor: Factor) -> Factor:
        """A factor summed over its plates that do not contain the model-only sites that it depends on."""
        outer = [name for name in self.alone if name in factor.shown]
        plates = frozenset[Any]().union(*(self.plates[name] for name in outer))
        inner = factor.plates - plates
        if not inner:
            raise ValueError(
                f"site {factor.site['name']} depends on sites {' and '.join(outer)}, whose plates cross, so the sum "
                f"over them does not factorise; use {_instead(outer[0], True)}"
            )
        for name in factor.shown.difference(self.alone):
            if self.plates[name] - plates:
                raise ValueError(
                    f"site {factor.site['name']} depends on site {outer[0]}, which is summed out of the model alone, "
                    f"and on site {name} of the guide, also in the plate {_listed(self.plates[name] - plates)}: the "
                    f"mean of the logarithm of that sum does not factorise; give the guide site {outer[0]} too"
                )
        frames = frames_of(factor.site)
        for name in inner:
            if subsampling_of([frames[name]]) != 1:
                raise ValueError(subsampled_in_a_sum(factor.site["name"], name, outer[0]))
        dims = [frames[name].dim for name in inner]
        seen = None if factor.seen is None else factor.seen.sum(dims, keepdim=True)
        stack = [frames[name] for name in plates] + [f for f in [particles_of(factor.site)] if f is not None]
        return Factor(
            {**factor.site, "cond_indep_stack": tuple(stack)}, factor.log.sum(dims, keepdim=True), seen, factor.shown
        )

    def _eliminate(self, factors: list[Factor], names: Iterable[str]) -> list[Factor]:
        """Sum over sites one by one; the next is always the one whose product of factors has the fewest values."""
        left = [name for name in self.dims if name in names and any(name in factor.shown for factor in factors)]
        while left:
            tied = {n: frozenset[str]().union(*(f.shown for f in factors if n in f.shown)) for n in left}
            name = min(left, key=lambda n: self._count(tied[n]))
            left.remove(name)
            product = self._product([factor for factor in factors if name in factor.shown])
            factors = [factor for factor in factors if name not in factor.shown]
            factors.append(_sum(product, name, self.dims[name]))
        return factors

    def _product(self, factors: list[Factor]) -> Factor:
        together = frozenset[str]().union(*(factor.shown for factor in factors))
        if self._count(together) > MOST:
            raise ValueError(too_many({name: self.sizes[name] for name in self.dims if name in together}))
        log: Any = sum(factor.log for factor in factors)
        seen: Any = sum(factor.seen for factor in factors if factor.seen is not None)
        return Factor(factors[0].site, log, seen if isinstance(seen, Tensor) else None, together)

    def _count(self, names: Iterable[str]) -> int:
        return math.prod(self.sizes[name] for name in names)


def _sum(factor: Factor, name: str, dim: int) -> Factor:
    """logsumexp over a dimension; where all summands are 0 its gradient is 0 (torch gives NaN)."""
    top = factor.log.detach().amax(dim, keepdim=True)
    weights = (factor.log - torch.where(top.isfinite(), top, 0.0)).exp()
    total = weights.sum(dim, keepdim=True)
    some = total > 0
    total = torch.where(some, total, 1.0)
    log = torch.where(some, total.log() + top, -math.inf)
    seen = factor.seen
    if seen is not None:
        seen = (weights * torch.where(weights > 0, seen, 0.0)).sum(dim, keepdim=True) / total
    return Factor(factor.site, log, seen, factor.shown - {name})


def check_inside(site: Site, discrete: Site, alone: bool) -> None:
    """ValueError unless a site is in all plates of a discrete site that it depends on.

    Args:
        site: the site.
        discrete: the discrete site.
        alone: whether only the model has the discrete site.
    """
    name, outside = discrete["name"], frames_of(discrete).keys() - frames_of(site).keys()
    if outside:
        raise ValueError(
            f"site {site['name']} is outside the plate {_listed(outside)} of site {name} and depends on it, so "
            f"the sum over {name} does not factorise; use {_instead(name, alone)}"
        )


def _instead(name: str, alone: bool) -> str:
    sampling = f"VIMCO, RWS or TraceELBO, which sample {name}"
    return f"{sampling}, with a guide that has it too" if alone else sampling


def shown(log: Tensor, dims: Mapping[str, int]) -> frozenset[str]:
    """The discrete sites that a log-density depends on."""
    return frozenset(name for name, dim in dims.items() if log.dim() >= -dim and log.shape[dim] > 1)


def masked(site: Site) -> Tensor:
    """Log-density of a site over its plates, 0 where it is masked."""
    log, mask = density(site), site["mask"]
    return log if mask is None else torch.where(torch.as_tensor(mask, device=log.device), log, log.new_zeros(()))


def as_drawn(site: Site) -> Tensor:
    """Log-density of a site over its plates, without its masks: the weight of its values."""
    return _unmasked(site["fn"]).log_prob(site["value"], *site["args"], **site["kwargs"])


def _unmasked(fn: Any) -> Any:
    kind = type(fn).__name__
    if kind == "MaskedDistribution":
        return _unmasked(fn.base_dist)
    base = _unmasked(fn.base_dist) if kind in ("Independent", "ExpandedDistribution") else None
    if base is None or base is fn.base_dist:
        return fn
    return base.to_event(fn.reinterpreted_batch_ndims) if kind == "Independent" else base.expand(fn.batch_shape)


def score_of_observed(traced: Sites, dims: Mapping[str, int]) -> Tensor | None:
    """Sum of log q over the sites that the guide observes and does not reparameterise, (K, B) or (1, B), or None.

    Its gradient is multiplied by the log-weight, as in Pyro's estimators and ``TraceELBO``.
    """
    found: Any = None
    for name, site in traced.guide.items():
        if not site["is_observed"] or site["fn"].has_rsample:
            continue
        if shown(density(site), dims) or set(frames_of(site)) - {traced.plate.name}:
            raise ValueError(
                f"site {name} is observed in the guide, in a plate other than {traced.plate.name} or after a discrete "
                "site, so Enum cannot tell which terms its score multiplies; observe it only in the model"
            )
        score = traced.per_datum(site, masked(site), shared=False)
        found = score if found is None else found + score
    return found


def scored(value: Tensor, score: Tensor | None) -> Tensor:
    """A value whose gradient includes the score term."""
    return value if score is None else value + value.detach() * (score - score.detach())


def subsampled_in_a_sum(site: str, plate: str, alone: str) -> str:
    """The message that refuses a sub-sampled plate."""
    return (
        f"site {site} is in the sub-sampled plate {plate}, whose N/B would be inside the logarithm of the sum over "
        f"site {alone}, which only the model has; use the whole plate, or give the guide site {alone} too"
    )


def too_many(sizes: Mapping[str, int | str]) -> str:
    """The message that refuses sites with too many joint values."""
    listed = " x ".join(f"{size} of {name}" for name, size in sizes.items())
    return f"the discrete sites have more than {MOST} joint values ({listed}); use VIMCO, NVIL or RWS"


def _listed(names: Iterable[Any]) -> str:
    return " and ".join(sorted(map(str, names)))
