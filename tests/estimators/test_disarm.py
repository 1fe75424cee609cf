import pyro
import pyro.distributions as dist
import pytest
import torch
from contracts import within
from finite import Finite, elbo, unbiased

from ppl_vae.estimators import VIMCO, DisARM, TraceELBO
from ppl_vae.estimators.tracing import sites

KINDS = pytest.mark.parametrize("kind", ["bit", "bits"])


@KINDS
@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_unbiased_against_the_sum_over_all_codes(kind, k, beta):
    unbiased(DisARM(k), lambda n: Finite(kind, n), lambda pair: pair.exact(1, elbo, beta), beta=beta)


@KINDS
def test_a_bernoulli_of_probabilities(kind):
    unbiased(DisARM(), lambda n: Finite(kind, n, probs=True), lambda pair: pair.exact(1, elbo))


def both_halves(k=2, kind="bits", n=20000):
    pair, seen = Finite(kind, n), []

    class Kept(DisARM):
        def _site(self, traced):
            seen.append(super()._site(traced)["value"])
            return super()._site(traced)

    Kept(k).terms(pair.model, pair.guide, pair.x)
    p = (pair.phi[0] * pair.x[0] + pair.phi[0]).sigmoid().detach()
    return seen[0], p


@pytest.mark.parametrize("k", [2, 4])
def test_either_half_has_the_guides_distribution_and_the_pair_is_antithetic(k):
    z, p = both_halves(k)
    first, second = z.chunk(2)
    for half in (first, second):
        for particle in half:
            within(particle, p)
            within(particle[:, 0] * particle[:, 1], p[0] * p[1])  # entries are independent
    both = (2 * p - 1).clamp(min=0)  # P(u < p, 1 - u < p)
    for one, other in zip(first, second, strict=True):
        within(one * other, both)
    if k == 4:
        within(first[0] * first[1], p.square())


class Many(Finite):
    """Ten bits, twenty Gaussian entries of x."""

    def __init__(self, n, bits=10, entries=20):
        super().__init__("bits", n)
        draw = torch.Generator().manual_seed(3)
        self.theta, self.phi = (
            torch.randn(bits, generator=draw).double().repeat(n, 1).requires_grad_() for _ in range(2)
        )
        self.w = torch.randn(bits, entries, generator=draw).double()
        self.y = torch.randn(entries, generator=draw).double()

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior())
            pyro.sample("x", dist.Normal(z @ self.w, 1.0).to_event(1), obs=self.y.expand(len(x), -1))


def noise(pair, surrogate):
    """Variance of the guide's gradient, summed over its parameters."""
    return pair.gradient(surrogate.sum()).var(0)[-pair.phi.shape[1] :].sum().item()


def variance(estimator, pair):
    return noise(pair, estimator.terms(pair.model, pair.guide, pair.x).surrogate)


def leave_one_out(pair):
    """REINFORCE with two independent samples, each the other's baseline."""
    traced = sites(pair.model, pair.guide, (pair.x,), 2)
    log_w = traced.weights().log_w.detach()
    return noise(pair, ((log_w - log_w.flip(0)) * traced.score()).mean(0))


def test_quieter_than_score_functions_with_as_many_samples():
    pair = Many(5000)
    ours = variance(DisARM(), pair)
    assert ours < 0.2 * variance(TraceELBO(2), pair) and ours < 0.7 * variance(VIMCO(2), pair)
    pair = Finite("bits", 40000)
    ours = variance(DisARM(), pair)
    assert ours < 0.6 * variance(TraceELBO(2), pair) and ours < 0.85 * leave_one_out(pair)
    assert variance(DisARM(4), pair) / ours == pytest.approx(0.5, rel=0.1)


def test_other_guides_are_refused_in_a_sentence():
    pair = Finite("categorical", 4)
    with pytest.raises(ValueError, match=r"this one has z \(Categorical\); use VIMCO"):
        DisARM().terms(pair.model, pair.guide, pair.x)

    def guide(x):
        with pyro.plate("data", len(x)):
            for name in "ab":
                pyro.sample(name, dist.Bernoulli(0.5))

    def model(x):
        with pyro.plate("data", len(x)):
            mean = sum(pyro.sample(name, dist.Bernoulli(0.5)) for name in "ab")
            pyro.sample("x", dist.Normal(mean, 1.0), obs=x)

    with pytest.raises(ValueError, match=r"this one has a \(Bernoulli\) and b \(Bernoulli\)"):
        DisARM().terms(model, guide, pair.x.float())


@pytest.mark.parametrize("k", [1, 3])
def test_samples_come_in_pairs(k):
    with pytest.raises(ValueError, match="num_particles (is 1|must be even, since samples come in pairs, not 3)"):
        DisARM(k)
