"""Discrete sites in plates inside the data plate, against sums over all values of all sites, and against Pyro's."""

import math
from contextlib import nullcontext

import pyro
import pyro.distributions as dist
import pytest
import torch
from discrete import (
    Beside,
    Chain,
    Family,
    Markov,
    Nested,
    Parent,
    Siblings,
    Topics,
    X,
    bit,
    check,
    data,
    exact,
    nothing,
    observe,
    parameters,
    pyros,
    refused,
    words,
)
from pyro import infer, poutine
from pyro_programs import topics
from pyro_programs.harness import check_same

from ppl_vae.estimators import Enum
from ppl_vae.handlers import scale_latents

CASES = [
    pytest.param(family, tuple(guided), id=f"{family.__name__}-{guided or 'none'}")
    for family, every in (
        (Topics, ("", "z")),
        (Parent, ("", "uz", "u")),
        (Chain, ("", "uvw", "u", "v", "uw")),
        (Siblings, ("", "uzt", "u", "ut")),
        (Beside, ("", "uzt", "u", "ut")),
        (Nested, ("", "uzl", "u", "uz")),
    )
    for guided in every
]


@pytest.mark.parametrize(("family", "guided"), CASES)
def test_value_and_gradient_are_the_sum_over_all_values(family, guided):
    pair = family(guided)
    x = X[:, :1]
    elbo, likelihood = exact(pair.model, pair.guide, x)
    terms = check(pair, elbo, x=x)
    assert torch.allclose(terms.elbo.sum(), elbo)
    assert torch.allclose(terms.reconstruction.sum(), likelihood)
    assert torch.allclose(terms.elbo, terms.reconstruction - terms.kl)


@pytest.mark.parametrize(("family", "guided"), CASES)
@pytest.mark.parametrize("k", [1, 3])
def test_pyros_own_enumeration_gives_the_same(family, guided, k):
    pair = family(guided)
    if guided == ("u", "t"):
        pytest.skip("refused by Pyro: a model's own site in fewer plates than one of the guide beside it")
    check(pair, -pyros(pair), Enum(k))


class Mixtures(Family):
    """z of each datum and s of each word, continuous; a component c of each word, on which s depends in the guide."""

    def model(self, x):
        with data(x):
            z = pyro.sample("z", dist.Normal(self.a[0], 1.0))
            with words(x):
                c = bit(self.a[1] + 0.3 * z, "c")
                s = pyro.sample("s", dist.Normal(self.a[2] * (c if "c" in self.guided else 1.0), 1.0))
                observe(self.a[3] * c + z + s, x)

    def sampled(self, x, sample):
        with data(x):
            z = pyro.sample("z", dist.Normal(self.a[4] * x.mean(0), self.a[5].exp()))
            with words(x):
                c = sample("c", z, x)
                pyro.sample("s", dist.Normal(self.a[6] * x + self.a[7] * c + 0.2 * z, 0.7))


@pytest.mark.parametrize("guided", [("c",), ()])
@pytest.mark.parametrize("k", [1, 3])
def test_continuous_sites_are_drawn_as_pyro_draws_them(guided, k):
    pair = Mixtures(guided)
    Enum(k).terms(pair.model, pair.guide, X)
    torch.manual_seed(1)
    theirs = pyros(pair, nesting=2, num_particles=k, vectorize_particles=k > 1)
    estimator = Enum(k)
    torch.manual_seed(1)
    check(pair, -theirs, estimator)  # the run that finds the layout draws nothing from the generator
    torch.manual_seed(1)
    check(pair, -theirs, estimator)


def masked(program, mask, *names):
    """A program with a mask on the named sites."""

    class Mask(poutine.messenger.Messenger):
        def _pyro_sample(self, msg):
            if msg["name"] in names:
                msg["mask"] = mask if msg["mask"] is None else msg["mask"] & mask

    return Mask()(program)


WORD, TEXT = torch.tensor([[True, False], [False, True]]), torch.tensor([True, False])


@pytest.mark.parametrize("guided", [(), ("u",), ("u", "z")])
@pytest.mark.parametrize(("mask", "names"), [(WORD, "zx"), (WORD, "z"), (WORD, "x"), (TEXT, "uzxy"), (TEXT, "u")])
def test_masks_leave_out_terms_and_no_weights(guided, mask, names):
    pair = Parent(guided)
    model, guide = (masked(program, mask, *names) for program in (pair.model, pair.guide))
    check(pair, exact(model, guide, X)[0], model=model, guide=guide)


@pytest.mark.parametrize("guided", [(), ("u",)])
@pytest.mark.parametrize("kind", ["distribution", "handler"])
def test_masked_sites_in_the_data_plate_alone_are_weighed_too(guided, kind):
    """Values listed in the particle plate: a mask of the distribution, or of a handler, is no part of the weights."""
    pair = Topics(guided)

    def of(kind):
        def model(x):
            with data(x):
                u = dist.Bernoulli(logits=pair.a[0].expand(2))
                u = pyro.sample("u", u.mask(TEXT) if kind == "distribution" else u)
                observe(pair.a[1] * u, x[0])

        def guide(x):
            with data(x):
                u = dist.Bernoulli(logits=pair.a[2] * x[0])
                pyro.sample("u", u.mask(TEXT) if kind == "distribution" else u) if guided else None

        return [masked(p, TEXT, "u") if kind == "handler" else p for p in (model, guide)]

    elbo = exact(*of("handler"), X)[0]
    model, guide = of(kind)
    check(pair, elbo, model=model, guide=guide)


@pytest.mark.parametrize("beta", [0.0, 0.5, 3.0])
@pytest.mark.parametrize(("family", "guided"), [(Parent, ("u", "z")), (Nested, ("u", "z", "l"))])
def test_beta_and_scales_of_single_sites_multiply_their_terms(family, guided, beta):
    pair = family(guided)
    programs = [scale_latents(program, beta) for program in (pair.model, pair.guide)]
    check(pair, -pyros(pair, model=programs[0], guide=programs[1]), model=programs[0], guide=programs[1])

    terms = Enum().terms(*programs, X)
    assert torch.allclose(terms.surrogate, terms.reconstruction - beta * terms.kl)


class Scaled(Parent):
    """Observations of words weigh more, those of each text as they are told."""

    def model(self, x):
        with data(x):
            u = bit(self.a[0], "u")
            with poutine.scale(scale=torch.tensor([0.5, 2.0], dtype=torch.float64)):
                observe(self.a[1] * u, x.mean(0), "y")
            with words(x):
                z = bit(self.a[2] + self.a[3] * u, "z")
                with poutine.scale(scale=3.0):
                    observe(self.a[4] * z + self.a[5] * u, x)


def test_every_site_has_its_own_scale():
    pair = Scaled(("u", "z"))
    check(pair, -pyros(pair))
    pair = Scaled(("u",))
    with pytest.raises(ValueError, match="site [xyzu] has scale .*, but site z of the model alone is summed out"):
        Enum().terms(pair.model, pair.guide, X)


def test_a_scale_of_all_sites_is_outside_the_sum():
    pair = Parent()
    programs = [poutine.scale(program, scale=0.25) for program in (pair.model, pair.guide)]
    theirs = pyros(pair, model=programs[0], guide=programs[1])
    found = Enum().differentiable_loss(*programs, X)
    assert torch.allclose(found, theirs) and torch.allclose(found, 0.25 * pyros(pair))


class Subsampled(Parent):
    """Two of five words."""

    def words(self, x):
        return words(x[:5]) if x.shape[-2] < 5 else pyro.plate("words", 5, dim=-2, subsample=torch.tensor([1, 3]))

    def model(self, x):
        with data(x):
            u = bit(self.a[0], "u") if self.guided != () else 0.0
            with self.words(x) as chosen:
                z = bit(self.a[2] + self.a[3] * u, "z")
                observe(self.a[4] * z + self.a[5] * u, x[chosen])

    def sampled(self, x, sample):
        with data(x):
            u = sample("u", value=x.mean(0))
            with self.words(x) as chosen:
                sample("z", u, x[chosen])


FIVE = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("guided", [(), ("u",), ("u", "z")])
def test_words_drawn_from_all_stand_for_all(guided):
    pair = Subsampled(guided)
    check(pair, -pyros(pair, FIVE), x=FIVE)


def test_words_drawn_from_all_inside_a_logarithm_are_refused():
    pair = Subsampled(("none",))
    match = "site [zx] is in the sub-sampled plate words, whose N/B would be inside the logarithm .* over site u"
    with pytest.raises(ValueError, match=match):
        Enum().terms(pair.model, pair.guide, FIVE)


def test_a_plate_inside_the_datum_that_is_sub_sampled_is_no_part_of_a_listed_sum():
    a = parameters()

    def model(x):
        with data(x):
            u = bit(a[0], "u")
            with pyro.plate("words", 5, dim=-2, subsample=torch.tensor([1, 3])) as chosen:
                observe(a[1] * u, x[chosen])

    with pytest.raises(ValueError, match="site x is in the sub-sampled plate words.* over site u"):
        Enum().terms(model, lambda x: None, FIVE)


def test_vectors_are_sites_of_their_entries():
    """Two bits of each word as a vector, against two sites; one-hot values against Pyro's."""
    pair = Topics(("z",))
    a = pair.a

    def of(vector):
        def model(x):
            with data(x), words(x):
                if vector:
                    z = pyro.sample("z", dist.Bernoulli(logits=a[:2]).to_event(1))
                else:
                    z = torch.stack(torch.broadcast_tensors(bit(a[0], "z0"), bit(a[1], "z1")), -1)
                observe((z * a[2:4]).sum(-1), x)

        def guide(x):
            with data(x), words(x):
                logits = x[..., None] * a[4:6]
                if vector:
                    pyro.sample("z", dist.Bernoulli(logits=logits).to_event(1))
                else:
                    bit(logits[..., 0], "z0"), bit(logits[..., 1], "z1")

        return model, guide

    for empty in (False, True):
        (model, guide), scalars = of(True), of(False)
        if empty:
            guide, scalars = lambda x: None, (scalars[0], lambda x: None)
        elbo = exact(*scalars, X[:, :1])[0]
        check(pair, elbo, x=X[:, :1], model=model, guide=guide)

    def one_hot(x):
        with data(x), words(x):
            z = pyro.sample("z", dist.OneHotCategorical(logits=a[:3]))
            observe((z * a[3:6]).sum(-1), x)

    def guide(x):
        with data(x), words(x):
            pyro.sample("z", dist.OneHotCategorical(logits=x[..., None] * a[6:9]))

    for q in (guide, lambda x: None):
        check(pair, -pyros(pair, model=one_hot, guide=q), model=one_hot, guide=q)


@pytest.mark.parametrize("guided", [(), ("s",)])
def test_more_joint_values_than_can_be_listed_where_they_factorise(guided):
    pair = Markov(guided)
    check(pair, pair.exact(X))


def test_values_that_the_guide_never_takes():
    """They add 0, where 0 times infinity is NaN."""
    a = parameters()

    def model(x):
        with data(x), words(x):
            z = pyro.sample("z", dist.Categorical(logits=a[:3]))
            observe(a[3:6][z], x)

    def guide(x):
        with data(x), words(x):
            logits = [a[6] * x, a[7] * x, torch.full_like(x, -math.inf)]
            pyro.sample("z", dist.Categorical(logits=torch.stack(logits, -1)))

    q = (X[..., None] * a[6:8]).log_softmax(-1)
    log_p = a[:3].log_softmax(0)[:2] + dist.Normal(a[3:5], 1.0).log_prob(X[..., None])
    expected = (q.exp() * (log_p - q)).sum()
    found = Enum().terms(model, guide, X).surrogate.sum()
    assert torch.allclose(found, expected)
    assert torch.allclose(*(torch.autograd.grad(v, a)[0] for v in (found, expected)))


def test_values_that_the_model_never_takes():
    """Sums of nothing but zeros are -inf with a gradient of 0, where torch's logsumexp has NaN."""
    a = parameters()

    def model(x):
        with data(x), words(x):
            u = bit(a[0], "u")
            v = bit(a[1] + a[2] * u, "v")
            pyro.factor("impossible", torch.where(v == 0, -math.inf, 0.0) + 0 * u)
            observe(a[3] * u, x)

    joint = [
        dist.Bernoulli(logits=a[0]).log_prob(a.new_tensor(u))
        + dist.Bernoulli(logits=a[1] + a[2] * u).log_prob(a.new_tensor(1.0))
        + dist.Normal(a[3] * u, 1.0).log_prob(X)
        for u in (0.0, 1.0)
    ]
    expected = torch.logaddexp(*joint).sum()
    terms = Enum().terms(model, lambda x: None, X)
    found = terms.surrogate.sum()
    assert torch.allclose(found, expected) and terms.reconstruction.isfinite().all()
    assert torch.allclose(*(torch.autograd.grad(v, a)[0] for v in (found, expected)))


def test_a_site_of_the_model_alone_outside_one_of_the_guide_is_refused():
    pair = Parent(("z",))
    match = (
        "site [xz] depends on site u, which is summed out of the model alone, and on site z of the guide, also in the "
    )
    refused(match + "plate words: the mean of the logarithm .*; give the guide site u too", pair.model, pair.guide)


def test_sites_of_crossing_plates_are_refused():
    def model(x):
        rows, columns = words(x), pyro.plate("columns", 3, dim=-3)
        with data(x):
            with rows:
                r = bit(0.3, "r")
            with columns:
                c = bit(0.1, "c")
            with rows, columns:
                observe(r + c, x.expand(3, -1, -1))

    def guide(x):
        with data(x):
            with words(x):
                bit(0.3 * x, "r")
            with pyro.plate("columns", 3, dim=-3):
                bit(torch.zeros(3, 1, 1), "c")

    refused("site x depends on sites r and c, whose plates cross, .*; use VIMCO, RWS or TraceELBO", model, nothing)
    assert Enum().terms(model, guide, X).surrogate.isfinite().all()  # the guide's may cross


@pytest.mark.parametrize("inner", [True, False])
def test_sites_that_the_guide_observes_have_their_score(inner):
    """In both ways to have all values, as in Pyro's estimator."""
    pair = Topics()
    a, y = pair.a, torch.tensor([1.0, 0.0], dtype=torch.float64)

    def model(x):
        with data(x):
            bit(a[3], "y", obs=y)
            with words(x) if inner else nullcontext():
                z = bit(a[0], "z")
                observe(a[1] + a[2] * z, x if inner else x[0])

    def guide(x, deeper=False):
        with data(x):
            bit(a[4] * x[0], "y", obs=y, infer={"is_auxiliary": True})
            with words(x) if inner else nullcontext():
                z = bit(a[5] * (x if inner else x[0]), "z")
                bit(a[6] + z, "w", obs=torch.ones(())) if deeper else None

    check(pair, -pyros(pair, model=model, guide=guide), model=model, guide=guide)
    if inner:
        match = "site w is observed in the guide, in a plate other than data or after a discrete site"
        refused(match, model, lambda x: guide(x, True))


def test_a_program_without_plates_is_one_datum():
    pair = Markov()

    def model(x):
        state = torch.tensor(0)
        for t in range(pair.steps):
            state = pyro.sample(f"s{t}", dist.Categorical(logits=pair.a[0][state]))
            observe(pair.a[1, 0][state], x[t % 2, 0] + t, f"x{t}")

    check(pair, pair.exact(X[:, :1]), x=X[:, :1], model=model)


@pytest.mark.parametrize("name", ["lda", "lda-batches", "lda-own-batches", "topics-dirichlet-summed", "pixels-summed"])
def test_published_programs_on_the_same_noise(name):
    """Latent Dirichlet allocation and others: losses per example and gradients are Pyro's, seed for seed."""
    check_same(topics.CASES[name], Enum(), infer.TraceEnum_ELBO())
