"""Programs with discrete sites in plates inside the data plate, small enough to try every value of every site."""

import itertools
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import infer, poutine

from ppl_vae.estimators import Enum

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


def pyros(pair, x=X, nesting=3, model=None, guide=None, **how):
    model, guide = model or pair.model, guide or pair.guide
    model, guide = (infer.config_enumerate(program, "parallel") for program in (model, guide))
    return infer.TraceEnum_ELBO(max_plate_nesting=nesting, strict_enumeration_warning=False, **how).differentiable_loss(
        model, guide, x
    )


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


def refused(match, model, guide, x=X, k=1):
    with pytest.raises(ValueError, match=match) as caught:
        Enum(k).terms(model, guide, x)
    assert "\n" not in str(caught.value)


def nothing(x):
    pass
