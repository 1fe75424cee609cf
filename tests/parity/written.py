"""Programs outside the grammar: crossing plates, no plate, latents summed out, and broken programs."""

import itertools
from functools import partial
from types import SimpleNamespace

import pyro
import pyro.distributions as dist
import torch
from programs import B, Case, M, data
from pyro import poutine

START = {"mu": 0.3, "t": 0.8, "a": 0.5, "b": -0.2, "c": -0.4}


def written(name, model, guide, x, **fields):
    """The case of programs that take their parameters first."""

    def make():
        p = SimpleNamespace(**{key: torch.tensor(value, requires_grad=True) for key, value in START.items()})
        return partial(model, p), partial(guide, p), list(vars(p).values())

    fields["traits"] = frozenset(fields.get("traits", ()))
    return Case(name, make, (x,), **fields)


# Rows and columns that cross


def crossing(first, dims, where, drawn, discrete):
    """Rows and columns; ``first`` is outermost where they meet, ``where`` the latents are, ``drawn`` is sub-sampled."""
    sizes, dim = {"rows": B, "columns": M}, dict(zip(("rows", "columns"), dims, strict=True))
    second = "columns" if first == "rows" else "rows"

    def plate(name, size):
        return pyro.plate(name, 2 * size if drawn == name else size, subsample_size=size, dim=dim[name])

    def latent(name, p, x, model):
        if discrete:
            return pyro.sample(name, dist.Bernoulli(logits=p.mu if model else p.a * x + p.b))
        return pyro.sample(name, dist.Normal(p.mu, 1.0) if model else dist.Normal(p.a * x + p.b, p.c.exp()))

    def program(p, x, model):
        plates, total = {name: plate(name, x.shape[dim[name]]) for name in (first, second)}, torch.zeros(())
        for name in (first, second):
            if name in where:
                with plates[name]:
                    other = "columns" if name == "rows" else "rows"
                    total = total + latent(name[0], p, x.mean(dim[other], keepdim=True), model)
        with plates[first], plates[second]:
            if "cells" in where:
                total = total + latent("z", p, x, model)
            if model:
                pyro.sample("x", dist.Normal(p.t * total, 1.0), obs=x)

    found = {
        "global": second in where,
        "inner sampled": drawn == second,
        "scored": discrete,
        "finite": discrete,
        "several": len(where) > 1,
        "inner": True,
        "not Bernoulli": not discrete,
    }
    return written(
        f"{first} around {second} at {dims}, latents in {' and '.join(where)}, {drawn or 'none'} drawn, {discrete=}",
        partial(program, model=True),
        partial(program, model=False),
        data(*(sizes[name] for name in sorted(dim, key=dim.get))),
        traits=[name for name, holds in found.items() if holds],
        nesting=2,
        rows=dim[first],
        size=sizes[first],
        total=2 * sizes[first] if drawn == first else sizes[first],
    )


def crossings():
    where = [("rows",), ("columns",), ("cells",), ("rows", "columns")]
    axes = (("rows", "columns"), ((-1, -2), (-2, -1)), where, ("", "rows", "columns"), (False, True))
    return [crossing(*values) for values in itertools.product(*axes)]


# Programs without a vectorised plate, as in Pyro's tutorials


def weight(p, x):
    w = pyro.sample("weight", dist.Normal(p.mu, 1.0))
    pyro.sample("measurement", dist.Normal(p.t * w, 0.75), obs=x[0])


def weight_guide(p, x):
    pyro.sample("weight", dist.Normal(p.a, p.c.exp()))


def coin(p, x):
    fairness = pyro.sample("fairness", dist.Beta(10.0 * p.t, 10.0))
    for i in range(len(x)):
        pyro.sample(f"obs_{i}", dist.Bernoulli(fairness), obs=(x[i] > 0).to(x.dtype))


def coin_guide(p, x):
    pyro.sample("fairness", dist.Beta(15 * p.a.exp(), 15 * p.b.exp()))


def vectors(p, x):
    z = pyro.sample("z", dist.Normal(p.mu, 1.0).expand([2]).to_event(1))
    pyro.sample("x", dist.Normal(p.t * z.sum(-1, keepdim=True), 1.0).to_event(1), obs=x[:1])
    pyro.factor("f", p.t * z.sum(-1))


def vectors_guide(p, x):
    pyro.sample("z", dist.Normal(p.a, p.c.exp()).expand([2]).to_event(1))


def switch(p, x):
    z = pyro.sample("z", dist.Bernoulli(logits=p.mu))
    pyro.sample("x", dist.Normal(p.t * z[..., None], 1.0).expand((*z.shape, len(x))).to_event(1), obs=x)


def switch_guide(p, x):
    pyro.sample("z", dist.Bernoulli(logits=p.a))


def mixture(p, x):
    d = pyro.sample("d", dist.Bernoulli(logits=p.mu))
    z = pyro.sample("z", dist.Normal(d, 1.0))
    pyro.sample("x", dist.Normal(p.t * z, 1.0), obs=x[0])


def mixture_guide(p, x):
    d = pyro.sample("d", dist.Bernoulli(logits=p.a))
    pyro.sample("z", dist.Normal(p.b * d, p.c.exp()))


def scaled(program):
    def run(p, x):
        with poutine.scale(scale=2.5):
            program(p, x)

    return run


def in_turn(full):
    """The data one after another in a plate that is not vectorised, each with a latent; ``full`` sub-sampled."""

    def model(p, x):
        g = pyro.sample("g", dist.Normal(p.mu, 1.0))
        for i in pyro.plate("data", full or len(x), subsample_size=2 if full else None):
            z = pyro.sample(f"z_{i}", dist.Normal(g, 1.0))
            pyro.sample(f"x_{i}", dist.Normal(p.t * z, 1.0), obs=x[i])

    def guide(p, x):
        pyro.sample("g", dist.Normal(p.a, 0.5))
        for i in pyro.plate("data", full or len(x), subsample_size=2 if full else None):
            pyro.sample(f"z_{i}", dist.Normal(p.b * x[i], p.c.exp()))

    return model, guide


def prior_alone(p, x):
    pyro.sample("weight", dist.Normal(p.mu, 1.0))


def plateless():
    whole = {"nesting": 0, "rows": None, "size": 1, "total": 1}
    x = data(B)
    case = partial(written, x=x, **whole)
    found = []
    for around, name in ((lambda program: program, ""), (scaled, "scaled ")):
        found += [
            case(name + "weight", around(weight), around(weight_guide), traits=("not Bernoulli", "single")),
            case(name + "coin", around(coin), around(coin_guide), traits=("not Bernoulli", "single")),
            case(name + "vectors", around(vectors), around(vectors_guide), traits=("not Bernoulli", "single")),
            case(name + "switch", around(switch), around(switch_guide), traits=("scored", "finite", "single")),
            case(
                name + "mixture",
                around(mixture),
                around(mixture_guide),
                traits=("scored", "several", "not Bernoulli", "single"),
            ),
        ]
    several = ("several", "not Bernoulli", "single")
    found.append(case("in turn", *in_turn(None), traits=several))
    # Only the sites inside are scaled.
    found.append(case("in turn, sub-sampled", *in_turn(B), traits=(*several, "uncommon")))
    found.append(case("prior alone", prior_alone, weight_guide, traits=("not Bernoulli", "single", "unobserved")))
    return found


# Latents of the model alone, which only Enum sums out


def summed(discrete, follows, scale, plate):
    """d of the model alone; with ``follows`` x depends on a z of the guide besides."""

    def model(p, x):
        with poutine.scale(scale=scale), pyro.plate("data", x.shape[-1] + plate, subsample_size=x.shape[-1]):
            d = pyro.sample("d", discrete(p.mu), infer={"enumerate": "parallel"}).to(x.dtype)
            z = pyro.sample("z", dist.Normal(0.5, 1.0)) if follows else torch.zeros(())
            pyro.sample("x", dist.Normal(p.t * d + z, 1.0), obs=x)

    def guide(p, x):
        with poutine.scale(scale=scale), pyro.plate("data", x.shape[-1] + plate, subsample_size=x.shape[-1]):
            if follows:
                pyro.sample("z", dist.Normal(p.a * x + p.b, p.c.exp()))

    traits = {"summed", "not Bernoulli", "scored"} | (set() if follows else {"finite", "several"})
    name = f"summed out {discrete(torch.zeros(())).__class__.__name__} {follows=} {scale=} {plate=}"
    return written(name, model, guide, data(B), traits=traits, total=B + plate)


def summed_out():
    kinds = [
        lambda mu: dist.Bernoulli(logits=mu),
        lambda mu: dist.Categorical(logits=mu * torch.arange(3.0)),
    ]
    return [summed(*values) for values in itertools.product(kinds, (False, True), (1.0, 2.5), (0, 2))]


# Programs that have no meaning, with the reason in their name


def pair(name, latent, wanted, x=None, plates=("data",), observe=None):
    """A model and a guide whose z have shapes of their own: distributions from (p, x)."""

    def program(p, x, model):
        with pyro.plate("data", len(x)) if plates else pyro.plate("other", 1, dim=-3):
            z = pyro.sample("z", (latent if model else wanted)(p, x))
            if model and observe is None:
                v = z.reshape(*z.shape[: z.dim() - latent(p, x).event_dim], -1).sum(-1) if latent(p, x).event_dim else z
                pyro.sample("x", dist.Normal(p.t * v, 1.0), obs=x)
            elif model:
                observe(p, x, z)

    return written(
        name,
        partial(program, model=True),
        partial(program, model=False),
        data(B) if x is None else x,
        traits=("broken",),
    )


def broken():
    def of(*shape, event=0):
        return lambda p, x: dist.Normal(p.mu, 1.0).expand(shape).to_event(event) if shape else dist.Normal(p.mu, 1.0)

    def wide(p, x, z):
        pyro.sample("x", dist.Normal(z, 1.0), obs=x.expand(3, B))

    def extra(p, x, model):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(p.mu, 1.0))
            if model:
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)
            else:
                pyro.sample("u", dist.Normal(p.a, 1.0))

    def lacking(p, x, model):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(p.mu, 1.0))
            if model:
                u = pyro.sample("u", dist.Normal(p.a, 1.0))
                pyro.sample("x", dist.Normal(z + u, 1.0), obs=x)

    def bare(p, x, model):
        z = pyro.sample("z", dist.Normal(p.mu, 1.0))
        if model:
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def elsewhere(p, x, model):
        """z in the plate in the guide alone."""
        plate = pyro.plate("data", len(x))
        if model:
            z = pyro.sample("z", dist.Normal(p.mu, 1.0))
            with plate:
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        else:
            with plate:
                pyro.sample("z", dist.Normal(p.a, 1.0))

    def two(program, name, x=None):
        programs = partial(program, model=True), partial(program, model=False)
        return written(name, *programs, data(B) if x is None else x, traits=("broken",))

    def single(p, x, z):
        pyro.sample("x", dist.Normal(z.sum(), 1.0), obs=x)

    return [
        pair("z (B, 2) and (B, 1) of the guide", of(2, event=1), of(1, event=1)),
        pair("z (B, 1) and (B, 2) of the guide", of(1, event=1), of(2, event=1)),
        pair("z (3,) and (2,) of the guide", of(3, event=1), of(2, event=1)),
        pair("z a vector and a number of the guide", of(2, event=1), of()),
        pair("z a number and a vector of the guide", of(), of(2, event=1)),
        pair("z a matrix and a vector of the guide", of(2, 2, event=2), of(2, event=1)),
        pair("rows of both that no plate declares", of(3, B), of(3, B)),
        pair("rows of the guide that no plate declares", of(), of(3, B)),
        pair("rows of the model that no plate declares", of(3, B), of()),
        pair("columns that no plate declares", of(B, 2), of(B, 2), observe=single),
        pair("rows beside a plate of one", of(3, 1), of(3, 1), x=data(1), observe=single),
        pair("rows of x that no plate declares", of(), of(), observe=wide),
        two(extra, "a latent of the guide alone"),
        two(lacking, "a latent of the model alone"),
        two(bare, "data that no plate declares"),
        two(elsewhere, "a plate of the guide alone"),
    ]
