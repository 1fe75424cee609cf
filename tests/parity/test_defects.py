"""Defects put back one at a time: the suite must see each of them as a third thing."""

import importlib
import pkgutil

import compare
import families
import pytest
import torch
from compare import KINDS, outcome
from programs import Spec

from ppl_vae import estimators
from ppl_vae.estimators import sites

MODULES = [importlib.import_module(f"ppl_vae.estimators.{m.name}") for m in pkgutil.iter_modules(estimators.__path__)]


def scaled_scores(per_datum):
    """The score multiplied by N/B of plates inside the datum."""

    def bad(self, site, value, shared=True):
        inner = [frame for name, frame in sites.frames_of(site).items() if name != self.plate.name]
        return per_datum(self, site, value, shared) * (1 if shared else sites.subsampling_of(inner))

    return bad


def shared_out_scores(per_datum):
    """The score of a site outside the data plate shared out among the data."""
    return lambda self, site, value, shared=True: per_datum(self, site, value)


def rightmost(data_plate):
    """The data plate found by the rightmost dim."""

    def bad(model):
        observed = next(site for site in model.values() if site["is_observed"])
        frame = max(sites.frames_of(observed).values(), key=lambda frame: frame.dim)
        return sites.Plate(frame.name, frame.dim, frame.size, frame.full_size or frame.size)

    return bad


def unread_tensors(factor):
    """A tensor that scales a site is not looked at."""

    def bad(self, site):
        found = factor(self, site)
        return 1.0 if isinstance(found, torch.Tensor) else found

    return bad


def any_particles(particles_of):
    """A plate is ours by its name, whoever wrote it."""
    return lambda site: next((f for f in site["cond_indep_stack"] if "particles" in f.name), None)


def no_particles(frames_of):
    return lambda site: {name: f for name, f in frames_of(site).items() if "particles" not in name}


def nothing(check):
    """A check that looks at nothing."""
    return lambda *args, **kwargs: None


def no_sizes(found):
    return lambda sites: {}


# What is patched, the family that must tell, and which of its programs.
DEFECTS = {
    "score times N/B inside": ({"Sites.per_datum": scaled_scores}, "inner plates", "bernoulli right sampled"),
    "score of a global shared out": ({"Sites.per_datum": shared_out_scores}, "latents", "normal bernoulli"),
    "rightmost plate": ({"data_plate": rightmost}, "crossing plates", "latents in rows, none"),
    "tensors unread": ({"Sites.factor": unread_tensors}, "scales", "x tensor"),
    "scales may differ": ({"uncommon_scale": nothing}, "scales", "x float"),
    "particles by name": ({"particles_of": any_particles, "frames_of": no_particles}, "inner plates", "particles"),
    "shapes not compared": ({"_check_same_shape": nothing}, "broken", "z (B,"),
    "dimensions not declared": ({"_check_declared": nothing}, "broken", "rows of"),
    "plates without a size": ({"_sizes": no_sizes}, "data plates", "unsized "),
    "a messenger's data": ({"_drop_observed_by_messenger": nothing}, "messengers", "AutoNormalMessenger"),
    "factor that does not say": ({"check_factors": nothing}, "factors and helpers", "unsaid"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_the_suite_sees(defect, monkeypatch):
    """No third thing without the defect, at least one with it."""
    patches, family, among = DEFECTS[defect]
    cases = [case for case in families.FAMILIES[family]() if among in case.name][:10]
    pairs = [(case, kind) for case in cases for kind in ("TraceELBO", "RWS", "IWAE")]

    def third():
        return [said for case, name in pairs for kind, said in [outcome(case, name, 3)] if kind == KINDS[3]]

    assert not third()
    for name, make in patches.items():
        name, owners = name.split(".")[-1], [sites.Sites] if "." in name else MODULES
        found = [owner for owner in owners if hasattr(owner, name)]
        assert found, f"{name} is gone from ppl_vae.estimators; patch what does its work now"
        bad = make(getattr(found[0], name))
        for owner in found:
            monkeypatch.setattr(owner, name, bad)
    assert third()


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("site z"),
        KeyError("site z"),
        ValueError("site z\nin the plate"),
        ValueError("shapes differ"),
        ValueError("site z is refused, though nothing is wrong with it"),
    ],
)
def test_no_refusal(error, monkeypatch):
    """Another kind of error, several lines, nothing named, no need."""

    def refuse(*args):
        raise error

    monkeypatch.setattr(compare, "ours", refuse)
    assert outcome(families.build(Spec()), "TraceELBO", 1)[0] == KINDS[3]


@pytest.mark.parametrize("latent", ["normal", "bernoulli"])
@pytest.mark.parametrize("entry", [0, 2])
def test_other_numbers(latent, entry, monkeypatch):
    """A loss, or one entry of its gradient, that is off by a tenth in every run."""
    right = compare.ours

    def off(*args):
        figures = right(*args)
        return torch.where(torch.arange(len(figures)) == entry, figures + 0.1 * figures.norm(), figures)

    monkeypatch.setattr(compare, "ours", off)
    assert outcome(families.build(Spec(latent=latent)), "TraceELBO", 3)[0] == KINDS[3]
