"""A small grammar of Pyro programs. A ``Spec`` names one value on each axis; ``Programs`` is its model and guide.

Sites: g (global latent), d and u (parents of z), z (local latent), w (latent in an inner plate), x and y (observed).
Parameters are leaf tensors in ``p``, so that a gradient is one call of ``torch.autograd.grad``.
"""

import functools
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from latents import DISCRETE, LATENTS
from pyro import poutine

from ppl_vae.handlers import scale_latents

B, N, M = 4, 6, 3  # data in a batch, data in all, columns of an inner plate
START = {"mu": 0.3, "t": 0.8, "a": 0.5, "b": -0.2, "c": -0.4, "gm": 0.2, "gs": -0.5, "wa": 0.4, "wb": 0.1, "f": 0.3}


def data(*shape, seed=3):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class Spec:
    """One value on each axis; "" is the plain one."""

    plate: str = "sized"
    latent: str = "normal"
    shared: str = ""
    inner: str = ""
    local: bool = False  # a latent w inside the inner plate
    scale: str = ""
    mask: str = ""
    extra: str = ""
    two: bool = False  # a second observed site

    def __str__(self):
        axes = {name: value for name, value in vars(self).items() if value}
        return " ".join(str(value) if isinstance(value, str) else name for name, value in axes.items())


@dataclass
class Case:
    """A program as the suite compares it.

    Attributes:
        traits: what estimators may refuse it for (``compare.REFUSES``).
        nesting: plates inside one another, for Pyro's ``max_plate_nesting``.
        rows: dim of the data plate; None where the whole program is one datum.
        size: data in the batch.
        total: N, data in all.
        weight: the scale common to all sites, N/B included, that belongs outside a logarithm; None where there is none.
        twin: model and guide with the same ELBO, where Pyro's own figure for this pair is wrong.
        make: gives (model, guide, parameters) anew.
    """

    name: str
    make: Any
    args: tuple
    traits: frozenset = frozenset()
    nesting: int = 1
    rows: int | None = -1
    size: int = B
    total: int = B
    weight: Any = 1.0
    twin: Any = None
    parts: Any = field(default=None, repr=False)

    def programs(self):
        """Model, guide and parameters, made at the first call."""
        if self.parts is None:
            self.parts = self.make()
        return self.parts


FULL = {"given": N, "internal": N, "chosen": N}  # data in all, where the plate is sub-sampled
PLATES = ("sized", "given", "internal", "chosen", "unsized", "unsized bare", "rows", "dim", "one", "particles")
INNER = {  # whether the data plate stands at -2 and the inner one at -1; share sub-sampled
    "right": (True, 1.0),
    "left": (False, 1.0),
    "right sampled": (True, 5 / M),
    "left sampled": (False, 5 / M),
    "right internal": (True, M / 2),
    "particles": (True, 1.0),
    "sequential": (False, 1.0),
    "sequential sampled": (False, M / 2),
}
number = functools.partial(torch.tensor, dtype=torch.float64)
WEIGHTS = number([0.5, 2.0, 1.5, 3.0, 0.7, 1.2])  # of every datum
SCALES = {  # "*" all sites, "z", "x", "y" one, "model z" one of the model alone
    "": {},
    "float": {"*": 2.5},
    "tensor": {"*": number(2.5)},
    "datum": {"*": WEIGHTS},
    "z float": {"z": 0.4},
    "z tensor": {"z": number(0.4)},
    "z datum": {"z": WEIGHTS},
    "x float": {"x": 3.0},
    "x tensor": {"x": number(3.0)},
    "x datum": {"x": WEIGHTS},
    "y tensor": {"y": number(3.0)},
    "x float z tensor": {"x": 3.0, "z": number(0.4)},
    "fresh": {"*": lambda: number(2.5)},  # a tensor of its own in model and guide
    "z fresh": {"z": lambda: number(0.4)},
    "model z": {"model z": number(0.4)},
    "guide z": {"guide z": 0.4},
    "beta": 0.4,
    "beta tensor": number(0.4),
    "beta zero": 0.0,
}
MASKS = {
    "": (),
    "all": ("z", "d", "u", "w", "x", "y"),
    "z": ("z",),
    "x": ("x",),
    "model z": ("model z",),
    "fresh": ("z", "d", "u", "w", "x", "y"),  # made anew in model and guide
}
UNSIZED = ("d", "u", "z", "helper")  # sites whose shape a plate without a size does not give
EXTRAS = (
    "factor",
    "factor outside",
    "guide factor",
    "guide factor unsaid",
    "guide factor outside",
    "by hand",
    "by hand discrete",
    "guide observed",
    "guide observes x",
    "auxiliary",
    "discrete auxiliary",
    "deterministic",
)


class Programs:
    """Model and guide of a spec, with parameters of their own."""

    def __init__(self, spec, x):
        self.spec, self.p = spec, SimpleNamespace(**{k: torch.tensor(v, requires_grad=True) for k, v in START.items()})
        self.right = INNER.get(spec.inner, (False, 1.0))[0] or spec.plate == "dim"
        self.rows = -2 if self.right else -1
        self.drawn = spec.plate == "internal"  # which data, the program draws itself
        scale = SCALES[spec.scale]
        # One object each for model and guide, which tells a shared mask from two.
        self.masked = self.laid_out(torch.tensor([True, False, True, True, False, True]), x)
        self.scales = {k: self.laid_out(v, x) for k, v in scale.items()} if isinstance(scale, dict) else {}
        self.programs = self.model, self.guide
        if not isinstance(scale, dict):
            self.programs = tuple(scale_latents(program, scale) for program in self.programs)

    # Contexts

    def laid_out(self, table, x):
        """A number, or a table of all data as the batch has it, along the data plate."""
        if not isinstance(table, torch.Tensor) or not table.dim():
            return table
        table = table if self.drawn else table[: x.shape[self.rows]]
        return table[:, None] if self.right else table

    def data(self, x):
        spec, size, dim = self.spec, x.shape[self.rows], self.rows if self.right else None
        full = FULL.get(spec.plate, size)
        if spec.plate.startswith("unsized"):
            return pyro.plate("data", dim=dim)
        if spec.plate == "chosen":
            return pyro.plate("data", full, subsample=torch.tensor([0, 2, 3, 5]), dim=dim)
        name = spec.plate if spec.plate in ("rows", "particles") else "data"
        return pyro.plate(name, full, subsample_size=B if spec.plate in FULL else None, dim=dim)

    @contextmanager
    def columns(self, x):
        """Inside the inner plate: x of its columns."""
        inner, dim = self.spec.inner, -1 if self.right else -2
        if not inner or inner.startswith("sequential"):
            yield x
            return
        full, some = {"sampled": (5, M), "internal": (M, 2)}.get(inner.split()[-1], (M, None))
        with pyro.plate("particles" if inner == "particles" else "inner", full, subsample_size=some, dim=dim) as i:
            yield x.index_select(dim, i) if inner.endswith("internal") else x

    def of_batch(self, table):
        table = table() if callable(table) else table
        return table[self.index] if isinstance(table, torch.Tensor) and table.dim() and self.drawn else table

    @contextmanager
    def around(self, site, side=""):
        """Scale and mask of a site ("*": of all)."""
        site = "z" if self.spec.latent == "pair" and site == "d" else site  # both stand for the bits
        keys = [key for key in (site, f"{side} {site}") if key in self.scales]
        with ExitStack() as stack:
            for key in keys:
                stack.enter_context(poutine.scale(scale=self.of_batch(self.scales[key])))
            if site in MASKS[self.spec.mask] or f"{side} {site}" in MASKS[self.spec.mask]:
                mask = self.of_batch(self.masked)
                stack.enter_context(poutine.mask(mask=mask.clone() if self.spec.mask == "fresh" else mask))
            yield

    def sampler(self, side):
        def sample(name, fn, **how):
            if self.spec.plate == "unsized" and name in UNSIZED:
                fn = fn.expand(torch.broadcast_shapes(fn.batch_shape, (B, 1) if self.right else (B,)))
            with self.around(name, side):
                return pyro.sample(name, fn, **how)

        return sample

    @contextmanager
    def whole(self, x, sample, model):
        """Inside the data plate: its x, and the global latent's value."""
        common = self.spec.scale == "datum"  # a scale of every datum's own stands inside the plate
        with nullcontext() if common else self.around("*"):
            g, p = torch.zeros(()), self.p
            if self.spec.shared == "normal":
                g = sample("g", dist.Normal(0.0, 1.0) if model else dist.Normal(p.gm, p.gs.exp()))
            if self.spec.shared == "bernoulli":
                g = sample("g", dist.Bernoulli(logits=p.mu if model else p.gm))
            self.outside(model)
            with self.data(x) as i:
                self.index = i if self.drawn else None
                x = x.index_select(self.rows, i) if self.drawn else x
                with self.around("*") if common else nullcontext():
                    yield x, g

    def summary(self, x):
        """A number of every datum, laid out along the data plate."""
        if self.spec.inner.startswith("sequential"):
            return x.mean(0)
        return x.mean(-1, keepdim=True) if self.right else x.mean(-2) if self.spec.inner else x

    # Programs

    def model(self, x):
        p, sample = self.p, self.sampler("model")
        with self.whole(x, sample, True) as (x, g):
            v = self.latents(sample, p, self.summary(x), True)
            if self.spec.extra == "factor":
                pyro.factor("f", p.f * v)
            if self.spec.extra == "deterministic":
                v = pyro.deterministic("v", 2 * v, event_dim=0)
            if self.spec.two:
                h = self.summary(x)
                sample("y", dist.Bernoulli(logits=p.t * v), obs=(h > 0).to(h.dtype))
            if self.spec.inner.startswith("sequential"):
                some = 2 if self.spec.inner.endswith("sampled") else M
                for i in pyro.plate("steps", M, subsample_size=some):
                    sample(f"x{i}", dist.Normal(p.t * v + g, 1.0), obs=x[i])
                return
            with self.columns(x) as x:
                w = self.inner_latent(sample, x, v, True)
                sample("x", dist.Normal(p.t * v + g + w, 1.0), obs=x)

    def guide(self, x):
        p, sample = self.p, self.sampler("guide")
        with self.whole(x, sample, False) as (x, _):
            h = self.summary(x)
            v = self.latents(sample, p, h, False)
            if self.spec.extra.startswith("guide factor") and not self.spec.extra.endswith("outside"):
                pyro.factor("f", p.f * v, has_rsample=None if self.spec.extra.endswith("unsaid") else True)
            if self.spec.extra == "guide observed":
                sample("o", dist.Normal(p.f * v, 1.0), obs=h, infer={"is_auxiliary": True})
            if self.spec.extra == "guide observes x":  # under the model's own name
                sample("x", dist.Normal(p.f * v, 1.0), obs=h)
            if self.spec.extra == "deterministic":
                pyro.deterministic("v", 2 * v, event_dim=0)
            if self.spec.local:
                with self.columns(x) as x:
                    self.inner_latent(sample, x, v, False)

    def latents(self, sample, p, h, model):
        family, extra = LATENTS[self.spec.latent], self.spec.extra
        if model or extra not in ("by hand", "by hand discrete", "auxiliary", "discrete auxiliary"):
            return family(sample, p, h, model)
        if extra == "by hand":  # a LogNormal
            u = pyro.sample("u", dist.Normal(p.a * h + p.b, p.c.exp()), infer={"is_auxiliary": True})
            pyro.factor("jacobian", -u, has_rsample=True)
            return pyro.sample("z", dist.Delta(u.exp()))
        if extra == "by hand discrete":
            q = dist.Bernoulli(logits=p.a * h + p.b)
            z = q.sample()
            pyro.factor("log_q", q.log_prob(z), has_rsample=False)
            return pyro.sample("z", dist.Delta(z))
        helper = dist.Normal(p.c, 0.7) if extra == "auxiliary" else dist.Bernoulli(logits=p.c)
        h = h + sample("helper", helper, infer={"is_auxiliary": True})
        return family(sample, p, h, model)

    def inner_latent(self, sample, x, v, model):
        p = self.p
        if not self.spec.local:
            return torch.zeros(())
        if self.spec.latent in DISCRETE:
            return sample("w", dist.Bernoulli(logits=v - 0.5 if model else p.wa * x + p.wb))
        return sample("w", dist.Normal(0.5 * v if model else p.wa * x + p.wb, 1.0 if model else 0.6))

    def outside(self, model):
        """What stands outside the data plate, besides the global latent."""
        if self.spec.extra == "factor outside" and model:
            pyro.factor("f", self.p.f)
        if self.spec.extra == "guide factor outside" and not model:
            pyro.factor("f", self.p.f, has_rsample=True)
