"""The families of programs that the suite runs: grids over the grammar, autoguides, and programs written by hand."""

import functools
import itertools
import random
import re
from dataclasses import replace

import automatic
import written
from latents import DISCRETE, LATENTS, SCORED
from programs import EXTRAS, FULL, INNER, MASKS, PLATES, SCALES, B, Case, M, Programs, Spec, data


def grid(**axes):
    return [Spec(**dict(zip(axes, values, strict=True))) for values in itertools.product(*axes.values())]


def traits(spec):
    """What estimators may refuse a spec for."""
    extra, scale = spec.extra, spec.scale
    drawn = "internal" in spec.plate + spec.inner or spec.inner == "sequential sampled"
    several = spec.latent in ("chain", "turned", "mixed", "pair") or spec.shared or spec.local or "auxiliary" in extra
    scored = spec.latent in SCORED or spec.shared == "bernoulli" or extra == "discrete auxiliary"
    found = {
        "global": spec.shared or extra.endswith("outside"),
        "scored": scored,
        "rejection": spec.latent == "rejection",
        "several": several or extra.startswith("by hand"),
        "not Bernoulli": spec.latent not in ("bernoulli", "bits"),
        "uncommon": scale[:1] in ("x", "y", "z"),
        "one-sided": scale in ("model z", "guide z"),
        # TraceMeanField_ELBO takes the guide's mask for both, and leaves an x that the guide observes out.
        "kl of Pyro's own": spec.mask in ("model z", "fresh") or extra == "guide observes x",
        "fresh": scale.endswith("fresh") or (scale.endswith("datum") and drawn),
        "by datum": scale.endswith("datum"),
        "beta": scale.startswith("beta"),
        "inner": spec.inner,
        "inner sampled": INNER.get(spec.inner, (0, 1.0))[1] != 1,
        "guide factor": extra.startswith(("guide factor", "by hand")),
        "broken": extra == "guide factor unsaid",
        "guide observed": extra.startswith("guide observe"),
        "by hand": extra.startswith("by hand"),
        "drawn by hand": extra == "by hand discrete",  # one draw for all particles
        "sampled kl": spec.latent in ("lognormal", "turned", "rejection") or "auxiliary" in extra or extra[:2] == "by",
        "finite": spec.latent in DISCRETE and spec.shared != "normal" and extra != "auxiliary" and not drawn,
        "single": spec.plate == "one",
        "bare": spec.plate == "unsized bare",  # shapes of model and guide differ, which Pyro's validation refuses
        # Pyro's score terms leave these out.
        "exact": (scored and (extra.startswith("guide") or "auxiliary" in extra)) or extra == "by hand discrete",
    }
    return frozenset(name for name, holds in found.items() if holds)


def build(spec):
    """The case of a spec."""
    n = 1 if spec.plate == "one" else FULL["internal"] if spec.plate == "internal" else B
    right = INNER.get(spec.inner, (False,))[0]
    columns = 4 if spec.inner.endswith("internal") else M
    columns = M if spec.inner == "right internal" else columns
    shape = (n, columns) if right else (columns, n) if spec.inner else (n, 1) if spec.plate == "dim" else (n,)
    x = data(*shape)

    def make():
        programs = Programs(spec, x)
        return *programs.programs, list(vars(programs.p).values())

    extra = "" if spec.extra == "by hand discrete" else spec.extra
    twin = replace(spec, extra=extra, latent="pair" if spec.latent == "bits" else spec.latent)
    twin = build(twin) if twin != spec else None
    size = 1 if spec.plate == "one" else B
    deep = spec.inner and not spec.inner.startswith("sequential") or spec.plate == "dim"
    return Case(
        str(spec),
        make,
        (x,),
        traits(spec),
        nesting=2 if deep else 1,
        rows=-2 if right or spec.plate == "dim" else -1,
        size=size,
        total=FULL.get(spec.plate, size),
        twin=twin,
    )


def fits(spec):
    """Whether the axes of a spec go together."""
    plain_x = not spec.inner or spec.latent not in ("vector", "bits", "categorical")
    hand = not spec.extra.startswith("by hand") or spec.latent == ("bernoulli" if "disc" in spec.extra else "lognormal")
    hand = hand and not (spec.extra.startswith("by hand") and (spec.scale or spec.mask))
    names = not (spec.plate == spec.inner == "particles")
    shapes = not (spec.plate == "dim" and spec.inner) and not (spec.inner == "left" and spec.plate == "internal")
    inner = not spec.local or (spec.inner and not spec.inner.startswith("sequential"))
    seen = not (spec.scale.startswith("y") and not spec.two) and not (
        spec.inner.startswith("seq") and "x" in spec.scale
    )
    outside = not (spec.scale == "datum" and (spec.shared or spec.extra.endswith("outside")))
    factors = not (spec.extra and ("factor" in spec.extra or "observe" in spec.extra) and spec.scale.startswith("beta"))
    same = spec.extra != "guide observes x" or not spec.inner  # TraceEnum_ELBO wants x in the same plates
    mean_field = spec.latent != "rejection" or not spec.inner
    return all((plain_x, hand, names, shapes, inner, seen, outside, factors, same, mean_field))


def drawn(count, seed=0):
    """Specs drawn at random from the whole grammar, without repetition."""
    pick, found = random.Random(seed), []
    inner = ["", "", "", *INNER]
    while len(found) < count:
        spec = Spec(
            plate=pick.choice(PLATES),
            latent=pick.choice(list(LATENTS)),
            shared=pick.choice(["", "", "normal", "bernoulli"]),
            inner=pick.choice(inner),
            local=pick.random() < 0.5,
            scale=pick.choice(["", pick.choice(list(SCALES))]),
            mask=pick.choice(["", "", *MASKS]),
            extra=pick.choice(["", "", pick.choice(EXTRAS)]),
            two=pick.random() < 0.3,
        )
        if fits(spec) and spec not in found:
            found.append(spec)
    return found


def specs():
    """Families over the grammar."""
    few = ("normal", "bernoulli", "mixed")
    found = {
        "data plates": grid(plate=PLATES, latent=("normal", "vector", "bernoulli", "mixed"), shared=("", "normal")),
        "latents": grid(latent=LATENTS, shared=("", "normal", "bernoulli"), two=(False, True)),
        "inner plates": grid(inner=INNER, latent=few, plate=("sized", "given", "unsized"), local=(False, True)),
        "scales": grid(scale=SCALES, latent=few, plate=("sized", "given"))
        + grid(scale=("float", "datum", "y tensor", "x tensor", "beta"), latent=few, plate=("given",), two=(True,)),
        "masks": grid(mask=list(MASKS)[1:], latent=few, plate=("sized", "given"), shared=("", "normal")),
        "factors and helpers": grid(
            extra=EXTRAS, latent=("normal", "lognormal", "bernoulli", "mixed"), plate=("sized", "given")
        ),
        "drawn": drawn(100),
    }
    return {name: [spec for spec in each if fits(spec)] for name, each in found.items()}


FAMILIES = {
    **{name: functools.partial(lambda name: [build(spec) for spec in specs()[name]], name) for name in specs()},
    "crossing plates": written.crossings,
    "no plate": written.plateless,
    "summed out": written.summed_out,
    "autoguides": automatic.autoguides,
    "messengers": automatic.messengers,
    "broken": written.broken,
}


def reason(message):
    """A refusal without what is particular to one program: names, numbers and families of distributions."""
    message = re.sub(r"\b(sites?|plates?) [\w.]+(( and|,) \w+)*", r"\1 ...", message)
    return re.sub(r"\b[\d.]+\b", "#", message)[:110]
