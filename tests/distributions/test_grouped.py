"""Several vectors in one: against all their joint values, one by one, in float64."""

import math

import pyro.distributions as dist
import pytest
import torch
from torch.distributions import biject_to, constraints, kl_divergence, transform_to

from ppl_vae import distributions, supports
from ppl_vae.distributions import Grouped, GumbelSoftmax
from ppl_vae.distributions.grouped import check_groups


def logits(*shape, seed=3):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def one_hot(raw):
    return Grouped(dist.OneHotCategorical(logits=raw))


def everything(groups, classes):
    """All codes (C^G, G C), made class by class."""
    index = torch.cartesian_prod(*[torch.arange(classes)] * groups).reshape(-1, groups)
    return torch.nn.functional.one_hot(index, classes).double().flatten(1)


@pytest.mark.parametrize(("groups", "classes"), [(1, 4), (2, 3), (3, 2)])
def test_log_prob_sums_to_one_and_moments_are_those_of_all_values(groups, classes):
    raw = logits(groups, classes)
    p, z = one_hot(raw), everything(groups, classes)
    log_p = p.log_prob(z)
    assert torch.allclose(log_p, (z.unflatten(1, (groups, classes)) * raw.log_softmax(-1)).sum((1, 2)))
    assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-12)
    assert torch.equal(p.enumerate_support(), z)
    mean = log_p.exp() @ z
    assert torch.allclose(p.mean, mean) and torch.allclose(p.variance, log_p.exp() @ (z - mean).square())
    assert torch.allclose(p.entropy(), -(log_p.exp() * log_p).sum())
    assert p.log_prob(p.mode) == log_p.max()


def test_the_closed_kl_and_its_gradient_are_the_sums_over_all_values():
    raw, other = logits(5, 3, 4).requires_grad_(), logits(3, 4, seed=4)
    q, p, z = one_hot(raw), one_hot(other).expand((5,)), everything(3, 4)[:, None]
    exact = (q.log_prob(z).exp() * (q.log_prob(z) - p.log_prob(z))).sum(0)
    closed = kl_divergence(q, p)
    assert closed.shape == (5,) and torch.allclose(closed, exact)
    assert torch.allclose(*(torch.autograd.grad(kl.sum(), raw, retain_graph=True)[0] for kl in (closed, exact)))
    straight = Grouped(GumbelSoftmax(torch.tensor(0.5), raw))
    assert torch.equal(kl_divergence(straight, p), closed)
    with pytest.raises(NotImplementedError):
        kl_divergence(one_hot(logits(2, 6)), one_hot(logits(3, 4)))


def test_samples_are_of_every_group_and_batches_expand():
    torch.manual_seed(1)
    p = one_hot(logits(2, 3))
    z = p.sample((20_000,))
    errors = (p.variance / len(z)).sqrt()
    assert p.support.check(z).all() and ((z.mean(0) - p.mean).abs() < 4 * errors).all()
    both = z[:, :3].T @ z[:, 3:] / len(z)  # the groups are independent
    expected = p.mean[:3, None] * p.mean[None, 3:]
    assert ((both - expected).abs() < 4 * (expected / len(z)).sqrt()).all()
    wide = p.expand((4, 5))
    assert wide.sample((2,)).shape == (2, 4, 5, 6) and wide.batch_shape == (4, 5)
    assert torch.equal(wide.enumerate_support(expand=False)[:, 0, 0], p.enumerate_support())
    assert wide.enumerate_support().shape == (9, 4, 5, 6)


def test_a_relaxed_group_is_the_relaxed_distribution():
    raw = logits(2, 3)
    alone = [distributions.RelaxedOneHotCategorical(torch.tensor(0.7).double(), logits=row) for row in raw]
    both = Grouped(distributions.RelaxedOneHotCategorical(torch.tensor(0.7).double(), logits=raw))
    z = both.rsample((4,))
    assert both.has_rsample and not both.has_enumerate_support and both.support.check(z).all()
    assert torch.allclose(both.log_prob(z), alone[0].log_prob(z[:, :3]) + alone[1].log_prob(z[:, 3:]))
    with pytest.raises(NotImplementedError):
        _ = both.mean


def test_the_bijection_onto_groups_of_simplices():
    support = supports.grouped(constraints.simplex, 2)
    f, u = biject_to(support), logits(4, seed=5)
    z = f(u)
    assert z.shape == (6,) and support.check(z) and not constraints.simplex.check(z)
    assert torch.allclose(f.inv(z), u)
    jacobian = torch.autograd.functional.jacobian(f, u)[[0, 1, 3, 4]]  # of the entries that are free
    assert f.log_abs_det_jacobian(u, z).item() == pytest.approx(jacobian.det().abs().log().item())
    assert support.check(transform_to(support)(logits(6)))


def test_supports_name_themselves():
    eight, four = (supports.grouped(constraints.one_hot, n) for n in (8, 4))
    assert supports.name(eight) == "8 one-hot vectors side by side" and eight.is_discrete
    relaxed = supports.grouped(constraints.simplex, 8)
    assert supports.name(relaxed) == "8 points of the simplex side by side" and not relaxed.is_discrete
    spaces = [supports.of(s) for s in (eight, four, relaxed, constraints.one_hot, constraints.simplex)]
    assert len(set(spaces)) == 5 and supports.same(eight, supports.grouped(constraints.one_hot, 8))
    z = torch.tensor([[0.2, 0.8, 0.4, 0.3]])
    assert supports.onto(supports.grouped(constraints.one_hot, 2), z).tolist() == [[0.0, 1.0, 1.0, 0.0]]
    assert supports.onto(supports.grouped(constraints.simplex, 2), z).tolist() == z.tolist()


@pytest.mark.parametrize(
    ("dim", "groups", "message"),
    [
        (
            16,
            3,
            r"groups is 3, but the 16 entries .* equal size of at least 2 classes; use groups=2, or a code of 6, 9",
        ),
        (8, 8, r"groups is 8, but the 8 entries .* use groups=4, or a code of 16"),
        (8, 0, "groups must be a whole number of at least 1, not 0"),
        (1, 1, "dim must be a whole number of at least 2, not 1"),
    ],
)
def test_bad_groups_are_one_sentence(dim, groups, message):
    with pytest.raises(ValueError, match=message) as caught:
        check_groups(dim, groups)
    assert "\n" not in str(caught.value)


def test_bad_bases():
    with pytest.raises(ValueError, match=r"base_dist must have batch shape \(..., groups\) and event shape"):
        Grouped(dist.Normal(torch.zeros(3), 1.0))
    with pytest.raises(ValueError, match="8 groups of 4 values have more than 4096 joint values"):
        one_hot(logits(8, 4)).enumerate_support()
    with pytest.raises(ValueError, match="Normal takes no groups, since it is not over vectors"):
        distributions.Family(dist.Normal, (4,), groups=2)


# Straight-through


def straight(temperature=0.7, raw=None):
    raw = logits(3, 4) if raw is None else raw
    return GumbelSoftmax(torch.tensor(temperature, dtype=torch.float64), raw)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("temperature", [0.01, 0.5, 5.0])
def test_samples_are_exactly_one_hot(temperature, dtype):
    torch.manual_seed(0)
    z = GumbelSoftmax(torch.tensor(temperature), 3 * logits(3, 4).to(dtype)).rsample((500,))
    assert z.dtype == dtype and ((z == 0) | (z == 1)).all() and (z.sum(-1) == 1).all()


def test_gradients_are_those_of_the_relaxed_sample_with_the_same_noise():
    raw, weights = logits(3, 4).requires_grad_(), logits(3, 4, seed=9)
    temperature = torch.tensor(0.7).double()

    def relaxed(at):
        torch.manual_seed(2)
        return (distributions.RelaxedOneHotCategorical(temperature, logits=at).rsample((5,)) * weights).sum()

    torch.manual_seed(2)
    z = GumbelSoftmax(temperature, raw).rsample((5,))
    (found,) = torch.autograd.grad((z * weights).sum(), raw)
    # To rounding: the one normalises the logits once more than the other.
    assert torch.allclose(found, torch.autograd.grad(relaxed(raw), raw)[0], rtol=1e-10) and found.abs().min() > 0.01
    step = 1e-6
    moves = step * torch.eye(12, dtype=torch.float64).reshape(12, 3, 4)
    differences = [(relaxed(raw.detach() + m) - relaxed(raw.detach() - m)) / (2 * step) for m in moves]
    # Central differences: an error of order step^2 and of rounding 1e-16 / step.
    assert torch.allclose(found, torch.stack(differences).reshape(3, 4), atol=1e-7)


@pytest.mark.parametrize("temperature", [0.1, 3.0])
def test_classes_have_the_categorical_probabilities_at_any_temperature(temperature):
    torch.manual_seed(4)
    p, n = straight(temperature), 20_000
    for z in (p.rsample((n,)), p.sample((n,))):
        errors = (p.probs * (1 - p.probs) / n).sqrt()
        assert ((z.mean(0) - p.probs).abs() < 4 * errors).all()
    assert not p.sample().requires_grad and p.expand((2, 3)).rsample().shape == (2, 3, 4)
    assert math.isclose(p.log_prob(torch.eye(4).double()[:, None]).exp().sum().item(), 3, rel_tol=1e-12)
