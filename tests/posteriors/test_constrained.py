import json

import pytest
import torch
from instances import vae

from ppl_vae import SVI, handlers, networks, parts, posteriors, priors


@pytest.mark.parametrize("name", ["Dirichlet", "LogisticNormal", "StickBreaking", "RelaxedOneHotCategorical"])
@pytest.mark.parametrize("dim", [2, 300])
def test_simplex_codes_pass_validation_at_any_size(name, dim):
    q = getattr(posteriors, name)(networks.MLP(3, [4]), dim)(5 * torch.randn(50, 3))
    z = q.sample((4,))
    assert q.support.check(z).all() and q.log_prob(z).isfinite().all() and (z > 0).all()


@pytest.mark.parametrize("name", ["Dirichlet", "StickBreaking"])
def test_simplex_posteriors_start_near_the_middle(name):
    q = getattr(posteriors, name)(networks.MLP(3, []), 4)(torch.zeros(1, 3))
    assert (q.mean - 0.25).abs().max() < 0.12


@pytest.mark.parametrize("dim", [2, 20, 200])
def test_hyperspherical_starts_informative_at_any_size(dim):
    q = posteriors.Hyperspherical(networks.MLP(3, [4]), dim)(torch.randn(50, 3))
    assert 0.9 < q.mean.norm(dim=-1).mean() < 1.0
    assert torch.allclose(q.sample().norm(dim=-1), torch.ones(50), atol=1e-5)


def relaxed(temperature):
    return posteriors.RelaxedOneHotCategorical(networks.MLP((1, 4, 4), [4]), 3, temperature)


def test_the_temperature_follows_its_schedule():
    schedule = handlers.Linear(steps=10, start=1.0, end=0.5)
    model = vae(3, prior=priors.RelaxedOneHotCategorical(3), posterior=relaxed(schedule))
    objective = SVI(model)
    x = torch.rand(4, 1, 4, 4).bernoulli()
    for step, temperature in ((0, 1.0), (5, 0.75), (50, 0.5)):
        objective.at_step(step)
        assert model.posterior(x).temperature.item() == temperature
        objective(x).value.backward()
    again = parts.build(json.loads(json.dumps(parts.describe(model))))
    again.load_state_dict(model.state_dict())
    assert again.posterior(x).temperature.item() == 0.5
    assert "temperature" not in "".join(relaxed(0.5).state_dict())


@pytest.mark.parametrize("temperature", [0.0, -1.0, True, "cold", float("nan"), handlers.Linear(10, 0.0, 1.0)])
def test_bad_temperatures(temperature):
    with pytest.raises(ValueError, match="temperature must be a positive number, or a schedule of such, not"):
        relaxed(temperature)


@pytest.mark.parametrize(
    "name", ["Dirichlet", "OneHotCategorical", "Hyperspherical", "StickBreaking", "LogisticNormal"]
)
def test_one_entry_is_no_simplex_or_sphere(name):
    with pytest.raises(ValueError, match="dim must be a whole number of at least 2, not 1"):
        getattr(posteriors, name)(networks.MLP(3, [4]), 1)
