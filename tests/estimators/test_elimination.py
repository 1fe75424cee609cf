"""Discrete sites in plates inside the data plate, against sums over all values of all sites, and against Pyro's."""

import itertools
import math
from contextlib import nullcontext

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import infer, poutine
from torch import nn

from ppl_vae import SVI, models
from ppl_vae.estimators import Enum, TraceELBO
from ppl_vae.handlers import scale_latents
from ppl_vae.training.capture import Captured

X = torch.tensor([[0.7, -1.2], [2.0, 0.3]], dtype=torch.float64)  # (words, data)


def parameters(seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(24, dtype=torch.float64, generator=draw).requires_grad_()


def bit(logits, name, **how):
    return pyro.sample(name, dist.Bernoulli(logits=logits), **how)


def observe(loc, x, name="x"):
    pyro.sample(name, dist.Normal(loc, 1.0), obs=x)


def data(x):
    return pyro.plate("data", x.shape[-1], dim=-1)


def words(x, **how):
    return pyro.plate("words", x.shape[-2], dim=-2, **how)


class Family:
    """Programs over x (words, data) whose discrete sites are bits: those in ``guided`` are the guide's too."""

    def __init__(self, guided=()):
        self.a, self.guided = parameters(), guided

    def guide(self, x):
        names = iter(range(12, 24))

        def sample(name, parent=0.0, value=0.0):
            """A site after what it depends on in the guide, if the guide has it."""
            i = next(names)
            if name not in self.guided:
                return 0.0
            return bit(self.a[i] + self.a[i - 3] * parent + 0.5 * value, name)

        self.sampled(x, sample)


class Topics(Family):
    """A topic of each word."""

    def model(self, x):
        with data(x), words(x):
            z = bit(self.a[0], "z")
            observe(self.a[1] + self.a[2] * z, x)

    def sampled(self, x, sample):
        with data(x), words(x):
            sample("z", value=x)


class Parent(Family):
    """A topic of each word after one of the text, which a site of the text shows too."""

    def model(self, x):
        with data(x):
            u = bit(self.a[0], "u")
            observe(self.a[1] * u, x.mean(0), "y")
            with words(x):
                z = bit(self.a[2] + self.a[3] * u, "z")
                observe(self.a[4] * z + self.a[5] * u, x)

    def sampled(self, x, sample):
        with data(x):
            u = sample("u", value=x.mean(0))
            with words(x):
                sample("z", u, x)


class Chain(Family):
    """Three sites of each word, one after another, and the first one's own observation."""

    def model(self, x):
        with data(x), words(x):
            u = bit(self.a[0], "u")
            v = bit(self.a[1] + self.a[2] * u, "v")
            w = bit(self.a[3] + self.a[4] * v, "w")
            observe(self.a[5] * u, x, "y")
            observe(self.a[6] * w, x)

    def sampled(self, x, sample):
        with data(x), words(x):
            sample("w", sample("v", sample("u", value=x)), x)


class Siblings(Family):
    """Two plates beside one another in the datum, each with sites of its own, after one of the datum."""

    tags = -3

    def model(self, x):
        with data(x):
            u = bit(self.a[0], "u")
            with words(x):
                z = bit(self.a[1] + self.a[2] * u, "z")
                observe(self.a[3] * z, x)
            with pyro.plate("tags", 3, dim=self.tags):
                t = bit(self.a[4] + self.a[5] * u, "t")
                observe(self.a[6] * t + u, x.sum(0).expand(3, *(1,) * (-2 - self.tags), -1), "y")

    def sampled(self, x, sample):
        with data(x):
            u = sample("u", value=x.mean(0))
            with words(x):
                sample("z", u, x)
            with pyro.plate("tags", 3, dim=self.tags):
                sample("t", u)


class Beside(Siblings):
    """The same in one dimension."""

    tags = -2


class Nested(Family):
    """Words of two letters: a site of the text, of each word after it, of each letter after both."""

    def model(self, x):
        with data(x):
            u = bit(self.a[0], "u")
            with words(x):
                z = bit(self.a[1] + self.a[2] * u, "z")
                observe(self.a[3] * z, x)
                with pyro.plate("letters", 2, dim=-3):
                    letter = bit(self.a[4] + self.a[5] * z * u, "l")
                    observe(self.a[6] * letter + self.a[7] * z, torch.stack([x, -x]), "y")

    def sampled(self, x, sample):
        with data(x):
            u = sample("u", value=x.mean(0))
            with words(x):
                z = sample("z", u, x)
                with pyro.plate("letters", 2, dim=-3):
                    sample("l", z * u, torch.stack([x, -x]))


def sites(program, x, values):
    """Sample sites of a program at values of some, which count as observed."""
    trace = poutine.trace(poutine.condition(program, data=values)).get_trace(x)
    trace.compute_log_prob(lambda name, site: type(site["fn"]).__name__ != "_Subsample")
    return {name: site for name, site in trace.nodes.items() if "log_prob_sum" in site}


def assignments(program, x, without=()):
    """All values of a program's latent sites, which are bits."""
    latent = {name: site for name, site in sites(program, x, {}).items() if not site["is_observed"]}
    shapes = {name: site["value"].shape for name, site in latent.items() if name not in without}
    for bits in itertools.product((0.0, 1.0), repeat=sum(map(math.prod, shapes.values()))):
        left = torch.tensor(bits, dtype=torch.float64).split([math.prod(shape) for shape in shapes.values()])
        yield {name: part.reshape(shapes[name]) for name, part in zip(shapes, left, strict=True)}


def exact(model, guide, x):
    """ELBO and mean log-likelihood of a batch: every value of every site in turn, one run of the programs each.

    Values are weighed by their densities whatever their masks; sums of log-densities leave out what is masked.
    """
    elbo = likelihood = 0.0
    for values in assignments(guide, x):
        of_guide = sites(guide, x, values)
        log_q = sum((site["fn"].log_prob(site["value"]).sum() for site in of_guide.values()), torch.zeros(()))
        joint, seen = [], []
        for others in assignments(model, x, without=values):
            of_model = sites(model, x, values | others)
            terms = {name: site["log_prob_sum"] for name, site in of_model.items()}
            for name in others:
                terms[name] = of_model[name]["fn"].log_prob(of_model[name]["value"]).sum()
            joint.append(sum(terms.values()))
            seen.append(sum(terms[name] for name in ("x", "y") if name in terms))
        joint, seen = torch.stack(joint), torch.stack(seen)
        costs = sum((site["log_prob_sum"] for site in of_guide.values()), torch.zeros(()))
        elbo = elbo + log_q.exp() * (joint.logsumexp(0) - costs)
        likelihood = likelihood + log_q.exp() * (joint.softmax(0) * seen).sum()
    return elbo, likelihood


def check(pair, elbo, estimator=None, x=X, model=None, guide=None):
    """Value and gradient of the estimator are those of ``elbo``."""
    terms = (estimator or Enum()).terms(model or pair.model, guide or pair.guide, x)
    assert terms.surrogate.shape == (x.shape[-1],)
    value = terms.surrogate.sum()
    assert torch.allclose(value, elbo)
    (found,), (expected,) = (torch.autograd.grad(v, [pair.a], retain_graph=True) for v in (value, elbo))
    assert expected.abs().max() > 0.01
    assert torch.allclose(found, expected)
    return terms


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


def pyros(pair, x=X, nesting=3, model=None, guide=None, **how):
    model, guide = model or pair.model, guide or pair.guide
    model, guide = (infer.config_enumerate(program, "parallel") for program in (model, guide))
    return infer.TraceEnum_ELBO(max_plate_nesting=nesting, strict_enumeration_warning=False, **how).differentiable_loss(
        model, guide, x
    )


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
    with pytest.raises(ValueError, match="site [xyzu] has scale .* and site z is summed out of the model alone"):
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
    match = "site [zx] is in the sub-sampled plate words, whose N/B would stand inside the logarithm .* over site u"
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


class Markov(Family):
    """A hidden Markov model of eight steps and five states: 390625 paths, of which none is walked alone."""

    steps, states = 8, 5

    def __init__(self, guided=()):
        super().__init__(guided)
        draw = torch.Generator().manual_seed(1)
        self.a = torch.randn(3, 5, 5, dtype=torch.float64, generator=draw).requires_grad_()

    def model(self, x):
        state = torch.tensor(0)
        with data(x):
            for t in range(self.steps):
                state = pyro.sample(f"s{t}", dist.Categorical(logits=self.a[0][state]))
                observe(self.a[1, 0][state], x[t % 2] + t, f"x{t}")

    def guide(self, x):
        state = torch.tensor(0)
        with data(x):
            for t in range(self.steps if self.guided else 0):
                logits = self.a[2][state] + x[t % 2][:, None]
                state = pyro.sample(f"s{t}", dist.Categorical(logits=logits))

    def exact(self, x):
        """Forward algorithm; of the guide too, step by step."""
        p, emission = self.a[0].log_softmax(-1), dist.Normal(self.a[1, 0], 1.0)
        if not self.guided:
            alpha = p[0] + emission.log_prob(x[0, :, None])
            for t in range(1, self.steps):
                alpha = (alpha[..., None] + p).logsumexp(-2) + emission.log_prob(x[t % 2, :, None] + t)
            return alpha.logsumexp(-1).sum()
        before, total = torch.eye(5, dtype=x.dtype)[:1].expand(2, -1), 0.0
        for t in range(self.steps):
            q = (self.a[2] + x[t % 2][:, None, None]).softmax(-1)
            pair = before[..., None] * q
            before = pair.sum(-2)
            total = total + (pair * (p - q.log())).sum() + (before * emission.log_prob(x[t % 2, :, None] + t)).sum()
        return total


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


def refused(match, model, guide, x=X, k=1):
    with pytest.raises(ValueError, match=match) as caught:
        Enum(k).terms(model, guide, x)
    assert "\n" not in str(caught.value)


def nothing(x):
    pass


def test_a_site_of_the_model_alone_outside_one_of_the_guide_is_refused():
    pair = Parent(("z",))
    match = "site [xz] depends on site u, which is summed out of the model alone, and on site z of the guide, in the "
    refused(
        match + "plate words besides: a mean of the logarithm .*; give the guide site u too", pair.model, pair.guide
    )


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

    refused("site x depends on sites r and c of plates that cross.*; use VIMCO, RWS or TraceELBO", model, nothing)
    assert Enum().terms(model, guide, X).surrogate.isfinite().all()  # the guide's may cross


REDUCTIONS = {
    "sum(-2)": lambda z: z.sum(-2),
    "sum of a flat one": lambda z: z.mT.reshape(-1, 2).sum(-1),
    **{f"{name}(0)": lambda z, name=name: getattr(z, name)(0) for name in ("sum", "mean", "amax", "amin", "prod")},
}


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("reduced", REDUCTIONS)
def test_a_dimension_that_is_taken_for_a_plate_is_refused(reduced, k):
    """The program reduces over what it believes to be its plate; with particles the particles are refused before."""

    def model(x, observed=True):
        with data(x):
            with pyro.plate("entries", 2, dim=-2):
                z = bit(torch.zeros(2, len(x)), "z")
            if observed:
                observe(REDUCTIONS[reduced](z), x)

    what = "the values of site z are in a dimension of their own, dim -4, .*, fail with it" if k == 1 else "particles|x"
    refused(what, model, lambda x: model(x, False), X[0], k)
    refused(what, model, nothing, X[0], k)


@pytest.mark.parametrize("moved", ["unsqueeze", "squeeze"])
def test_programs_with_noise_are_held_to_their_shapes(moved):
    """A dimension that moves has another place, or a size that no plate has, though densities cannot be compared."""

    def model(x):
        with data(x), words(x):
            z = bit(0.3 * x, "z") + 0.1 * torch.randn(())
            if moved == "squeeze":  # for a plate of as many data as z has values
                observe(z.squeeze(), x)
            else:
                with pyro.plate("again", 2, dim=-3):
                    observe(z.unsqueeze(1), x.expand(2, -1, -1))

    said = {"squeeze": r"ValueError: Shape mismatch .* 2 vs 3", "unsqueeze": r"site x has it at dim -6"}[moved]
    refused(rf"the values of site z are in .* fail with it \({said}\)", model, nothing)


@pytest.mark.parametrize("reduced", ["sum(0)", "mean(0)"])
def test_a_dimension_that_came_through_a_continuous_site_is_refused_too(reduced):
    """The program sums draws that follow z over the words; with all values of z it would sum them over these."""

    def guide(x):
        with data(x), words(x):
            z = bit(x, "z")
            pyro.sample("c", dist.Normal(3.0 * z, 0.1))

    def model(x):
        with data(x), words(x):
            bit(0.3 * x, "z")
            c = pyro.sample("c", dist.Normal(0.0 * x, 1.0))
            observe(REDUCTIONS[reduced](c), x)

    match = "the values of site z are .*fail with it .at a value of z, site x changes with the others"
    refused(match, model, guide, torch.cat([X, X[:1]]))
    assert TraceELBO().terms(model, guide, X).surrogate.isfinite().all()


def test_a_site_outside_the_plate_is_refused_by_name():
    def model(x):
        with data(x):
            with words(x):
                z = bit(0.3 * x, "z")
            observe(z.sum(-2, keepdim=True), x[:1])

    def guide(x):
        with data(x), words(x):
            bit(x, "z")

    match = (
        "site x is outside the plate words of site z and depends on it.*; use VIMCO, RWS or TraceELBO, which sample z"
    )
    refused(match + "$", model, guide)
    refused(match + ", with a guide that has it too$", model, nothing)
    assert TraceELBO(3).terms(model, guide, X).surrogate.isfinite().all()


class Program(nn.Module):
    """Networks over the values of a site, with or without room for leading dimensions, or dropout."""

    def __init__(self, kind="linear"):
        super().__init__()
        torch.manual_seed(0)
        extra = {"norm": nn.BatchNorm1d(2), "dropout": nn.Dropout(0.5), "linear": nn.Identity()}[kind]
        self.q, self.p = nn.Linear(1, 3), nn.Sequential(nn.Linear(3, 3), extra, nn.Linear(3, 1))

    def model(self, x):
        with data(x), words(x):
            z = pyro.sample("z", dist.OneHotCategorical(torch.ones(3)))
            pyro.sample("x", dist.Normal(self.p(z).squeeze(-1), 1.0), obs=x)

    def guide(self, x):
        with data(x), words(x):
            pyro.sample("z", dist.OneHotCategorical(logits=self.q(x[..., None])))


def test_programs_that_take_no_further_dimension_are_refused():
    program = Program("norm").eval()
    match = (
        "the values of site z are in a dimension of their own, dim -4, and .* fail with it .*expected 2D or 3D input"
    )
    refused(match, program.model, program.guide, X.float())


def test_dropout_is_no_reason_to_refuse():
    program = Program("dropout")
    assert Enum().terms(program.model, program.guide, X.float()).surrogate.isfinite().all()


@pytest.mark.parametrize("guided", [True, False])
def test_the_graph_of_a_step_is_the_step(guided):
    class Pair(Program):
        def model(self, texts):
            return super().model(texts.T)

        def guide(self, texts):
            return super().guide(texts.T) if guided else None

    pair = Pair()
    objective = SVI(models.Program(pair.model, pair.guide), Enum())
    batch = (X.float().T.contiguous(),)
    objective.prepare(*batch)
    objective.train()
    captured = Captured(objective, batch, compiled=False)
    expected = objective(*batch)
    expected.value.backward()
    parameters = [p for p in objective.parameters() if p.grad is not None]
    gradients = [p.grad.clone() for p in parameters]
    objective.zero_grad()
    loss = captured(batch)
    assert torch.equal(loss.value, expected.value)
    assert len(parameters) > 2 and all(torch.equal(p.grad, g) for p, g in zip(parameters, gradients, strict=True))


def test_the_layout_follows_the_programs():
    """One estimator for programs that turn into others: sites, their values, and plates that come and go."""
    estimator, a = Enum(), parameters()

    def of(names, size, plates):
        def program(x, observed=True):
            with data(x), words(x) if plates else poutine.scale(scale=1.0):
                total = 0
                for name in names:
                    total = total + pyro.sample(name, dist.Categorical(logits=a[:size]))
                if observed:
                    observe(a[7] * total, x if plates else x[0])

        return program, lambda x: program(x, False)

    for names, size, plates in (("u", 2, True), ("u", 3, True), ("uv", 3, True), ("uv", 3, False), ("u", 3, True)):
        for guide in (of(names, size, plates)[1], nothing):
            model = of(names, size, plates)[0]
            expected = Enum().terms(model, guide, X).surrogate
            assert torch.equal(estimator.terms(model, guide, X).surrogate, expected), (names, size, plates)


def test_sites_that_change_from_run_to_run_are_refused():
    runs = []

    def model(x):
        runs.append(1)
        with data(x), words(x):
            z = bit(0.3 * x, f"z{len(runs)}")
            observe(z, x)

    refused("the discrete sites of the programs were z[0-9]+, and change from run to run", model, nothing)


def test_programs_may_differentiate():
    """Slopes as features, which no run without gradients could give."""

    def model(x):
        z = x.clone().requires_grad_()
        slope = torch.autograd.grad(z.square().sum(), z)[0]
        with data(x), words(x):
            observe(slope * bit(0.3 * x, "z"), x)

    assert Enum().terms(model, nothing, X).surrogate.isfinite().all()


def test_finding_the_layout_leaves_no_trace():
    program = Program("dropout")
    before, states = torch.get_rng_state(), []

    def guide(x):
        states.append(torch.get_rng_state())
        program.guide(x)

    estimator = Enum()
    estimator.terms(program.model, guide, X.float())
    assert len(states) > 2 and torch.equal(states[-1], before)
    found = len(states)
    estimator.terms(program.model, guide, X.float())
    assert len(states) == found + 1


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
        match = "site w is observed in the guide, in a plate besides data or after a discrete site"
        refused(match, model, lambda x: guide(x, True))


def test_a_program_without_plates_is_one_datum():
    pair = Markov()

    def model(x):
        state = torch.tensor(0)
        for t in range(pair.steps):
            state = pyro.sample(f"s{t}", dist.Categorical(logits=pair.a[0][state]))
            observe(pair.a[1, 0][state], x[t % 2, 0] + t, f"x{t}")

    check(pair, pair.exact(X[:, :1]), x=X[:, :1], model=model)


def test_too_many_values_in_one_term_are_refused():
    largest = []

    def model(x, count=2, size=70):
        with data(x), words(x):
            total = sum(pyro.sample(f"s{i}", dist.Categorical(torch.ones(size))) for i in range(count))
            largest.append(total.numel())
            observe(total, x)

    refused(r"more than 4096 joint values \(70 of s0 x 70 of s1\); use VIMCO, NVIL or RWS", model, nothing)
    assert max(largest) < 4096  # refused before it is built

    def clique(x):
        with data(x), words(x):
            a, b, c = (pyro.sample(name, dist.Categorical(torch.ones(30))) for name in "abc")
            for i, pair in enumerate((a + b, b + c, c + a)):
                observe(pair, x, f"x{i}")

    refused(r"more than 4096 joint values \(30 of a x 30 of b x 30 of c\)", clique, nothing)
    refused("50 discrete sites, s0, s1, s2 and so on, .* 48 is the most", lambda x: model(x, 50, 2), nothing)

    def tied(x):
        with data(x), words(x):
            first = pyro.sample("s", dist.Categorical(torch.ones(20)))
            for i in range(3):
                pyro.sample(f"s{i}", dist.Categorical(torch.eye(20)[first] + 1))
            observe(first, x)
            for i in range(3):
                observe(first, x, f"x{i}")

    assert Enum().terms(tied, nothing, X).surrogate.isfinite().all()  # 160000 joint values, 400 in any one sum


def test_networks_that_take_no_particles_are_refused_where_values_are_listed():
    program = Program("norm").eval()

    def model(x):
        with data(x):
            z = pyro.sample("z", dist.OneHotCategorical(torch.ones(3)))
            loc = program.p[1](z[..., :2])
            pyro.sample("x", dist.Normal(loc[..., 0], 1.0), obs=x)

    match = "3 particles come in front of the batch, and BatchNorm1d takes the batch .*; use TraceELBO, with every"
    refused(match, model, nothing, torch.randn(2))
