import copy
import json

import pyro.distributions as dist
import pytest
import torch
from contracts import check_prior

from ppl_vae import parts, priors


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("name", ["Weibull", "Gumbel", "InverseGamma", "SoftLaplace", "Dirichlet", "Exponential"])
def test_contract(name, learned):
    check_prior(priors.Of(getattr(dist, name), 2, learned=learned))


def test_values_are_taken_as_given():
    prior = priors.Of(dist.Gamma, 3, concentration=torch.tensor([0.001, 1.0, 1e4]), rate=2.0)
    expected = dist.Gamma(torch.tensor([0.001, 1.0, 1e4]), 2.0)
    z = torch.tensor([0.3, 0.2, 5e3])
    assert torch.equal(prior().log_prob(z), expected.log_prob(z).sum())
    assert not list(prior.parameters()) and not prior.state_dict()


@pytest.mark.parametrize(("name", "value"), [("probs", 0.3), ("logits", -0.8)])
@pytest.mark.parametrize("learned", [False, True])
def test_either_of_two_parametrisations_is_obeyed(name, value, learned):
    prior = priors.Of(dist.Bernoulli, 2, learned=learned, **{name: value})
    expected = dist.Bernoulli(**{name: torch.tensor([value, value])}).log_prob(torch.ones(2)).sum()
    assert torch.allclose(prior().log_prob(torch.ones(2)), expected)


def test_learned_parameters_start_at_the_values_and_learn():
    prior = priors.Of(dist.Weibull, 2, learned=True, scale=3.0, concentration=0.5)
    assert torch.allclose(prior().base_dist.scale, torch.full((2,), 3.0))
    z = dist.Weibull(1.0, 2.0).sample((4000, 2))
    optimizer = torch.optim.Adam(prior.parameters(), 0.1)
    for _ in range(200):
        optimizer.zero_grad()
        (-prior().log_prob(z).mean()).backward()
        optimizer.step()
    assert (prior().base_dist.scale - 1).abs().max() < 0.05
    assert (prior().base_dist.concentration - 2).abs().max() < 0.15


def test_fixed_arguments_without_a_constraint():
    prior = priors.Of(dist.RelaxedOneHotCategorical, 3, temperature=torch.tensor(0.7))
    again = parts.build(json.loads(json.dumps(parts.describe(prior))))
    z = torch.tensor([0.2, 0.3, 0.5])
    assert torch.equal(again().log_prob(z), prior().log_prob(z))
    assert torch.allclose(copy.deepcopy(prior).double()().log_prob(z.double()).float(), prior().log_prob(z))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: priors.Of(dist.Gamma, 2, concentration=-1.0), "concentration must be positive"),
        (lambda: priors.Of(dist.Gamma, 2, shape=1.0), "Gamma has no parameter 'shape'"),
        (lambda: priors.Of(dist.Uniform, 2), "Uniform cannot be used by the general rule"),
        (lambda: priors.Of(dist.RelaxedOneHotCategorical, 2), "needs temperature= given"),
        (lambda: priors.Of(dist.Gamma, 0), "dim must be a whole number of at least 1, not 0"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()
