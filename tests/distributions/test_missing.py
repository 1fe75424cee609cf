import pyro.distributions as dist
import pytest
import torch
from torch.distributions import constraints

from ppl_vae import supports
from ppl_vae.distributions.missing import MissingEntries, entry_log_prob

NAN = float("nan")


def test_entries_that_are_seen_are_all_that_counts():
    base = dist.Gamma(torch.tensor([1.0, 2.0, 3.0]), 1.0).to_event(1)
    p = MissingEntries(base)
    x = torch.tensor([[0.5, 1.0, 2.0], [0.5, NAN, 2.0], [NAN, NAN, NAN]])
    each = dist.Gamma(torch.tensor([1.0, 2.0, 3.0]), 1.0).log_prob(torch.tensor([0.5, 1.0, 2.0]))
    expected = torch.stack([each.sum(), each[0] + each[2], torch.tensor(0.0)])
    assert torch.allclose(p.log_prob(x), expected)
    assert torch.allclose(p.expand((3,)).log_prob(x), expected)
    assert p.support.check(x).all() and not p.support.check(torch.tensor([-1.0, 1.0, 1.0]))


def test_gradients_do_not_see_what_is_missing():
    loc = torch.zeros(3, requires_grad=True)
    scale = torch.ones(3, requires_grad=True)
    MissingEntries(dist.Normal(loc, scale).to_event(1)).log_prob(torch.tensor([1.0, NAN, 2.0])).backward()
    assert torch.equal(loc.grad, torch.tensor([1.0, 0.0, 2.0])) and torch.equal(
        scale.grad, torch.tensor([0.0, 0.0, 3.0])
    )


@pytest.mark.parametrize(
    "constraint",
    [constraints.real, constraints.positive, constraints.boolean, constraints.nonnegative_integer,
     constraints.unit_interval, supports.open_unit_interval, supports.grid(256), supports.grid(2)],
)  # fmt: skip
def test_the_fill_is_in_the_support(constraint):
    assert constraint.check(torch.tensor(supports.inside(constraint)))
    wrapped = supports.or_missing(constraint)
    assert wrapped.check(torch.tensor(NAN)) and supports.same(wrapped, constraint)
    assert wrapped.is_discrete == constraint.is_discrete and supports.allows_missing(wrapped)


def test_whole_events_are_refused():
    with pytest.raises(ValueError, match="the entries of MultivariateNormal depend on each other"):
        entry_log_prob(dist.MultivariateNormal(torch.zeros(2), torch.eye(2)), torch.zeros(2))


def test_open_unit_interval():
    x = torch.tensor([0.0, 1e-30, 0.5, 1.0])
    assert supports.open_unit_interval.check(x).tolist() == [False, True, True, False]
    assert supports.same(supports.open_unit_interval, constraints.unit_interval)
    assert torch.distributions.biject_to(supports.open_unit_interval)(torch.tensor(0.0)) == 0.5
