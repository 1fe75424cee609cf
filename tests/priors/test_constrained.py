import math

import pytest
import torch

from ppl_vae import priors

BAD = [
    (lambda: priors.Beta(2, concentration1=0.0), "concentration1 must be positive, not 0.0"),
    (lambda: priors.Beta(2, concentration0=-1.0), "concentration0 must be positive, not -1.0"),
    (lambda: priors.Kumaraswamy(2, concentration0=-1.0), "concentration0 must be positive, not -1.0"),
    (lambda: priors.Gamma(2, rate=float("nan")), "rate must be positive, not nan"),
    (lambda: priors.LogNormal(2, scale=0.0), "scale must be positive, not 0.0"),
    (lambda: priors.Dirichlet(2, concentration=-0.1), "concentration must be"),
    (
        lambda: priors.Dirichlet(2, concentration=[1.0, 1.0, 1.0]),
        r"concentration has shape \(3,\), where Dirichlet needs",
    ),
    (lambda: priors.Dirichlet(1), "dim must be a whole number of at least 2, not 1"),
    (lambda: priors.StickBreaking(3, concentration=0), "concentration must be a positive number, not 0"),
    (lambda: priors.LogisticNormal(3, scale=-1.0), "scale must be a positive number, not -1.0"),
    (lambda: priors.Bernoulli(2, probs=1.5), "probs must be between 0 and 1, not 1.5"),
    (lambda: priors.OneHotCategorical(2, probs=[0.5, 0.6]), "probs must be in the simplex"),
    (lambda: priors.RelaxedOneHotCategorical(3, temperature=0.0), "temperature must be a positive number, not 0.0"),
    (lambda: priors.Hyperspherical(1), "dim must be a whole number of at least 2, not 1"),
    (lambda: priors.Hyperspherical(3, concentration=-1.0), "concentration must be a number of at least 0, not -1.0"),
]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_bad_values_are_one_sentence(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["LogisticNormal", "StickBreaking", "Hyperspherical", "Gamma", "Beta", "Dirichlet"])
def test_learned_priors_start_at_the_fixed_one(name):
    value = {"LogisticNormal": {"scale": 0.7}, "Hyperspherical": {"concentration": 2.0}}.get(name, {})
    fixed, learned = (getattr(priors, name)(3, learned=learned, **value) for learned in (False, True))
    z = fixed().sample((5,))
    assert torch.allclose(fixed().log_prob(z), learned().log_prob(z), atol=1e-4)
    assert not list(fixed.parameters()) and list(learned.parameters())


def test_defaults_are_uniform_where_the_space_has_a_uniform():
    cube = torch.rand(5, 3)
    for name in ("Beta", "Kumaraswamy"):
        assert torch.allclose(getattr(priors, name)(3)().log_prob(cube), torch.zeros(5), atol=1e-6)
    simplex = cube / cube.sum(-1, keepdim=True)
    assert torch.allclose(priors.Dirichlet(3)().log_prob(simplex), torch.tensor(math.log(2.0)), atol=1e-5)
    sphere = torch.nn.functional.normalize(cube, dim=-1)
    assert torch.allclose(priors.Hyperspherical(3)().log_prob(sphere), torch.tensor(-math.log(4 * math.pi)))
    assert priors.OneHotCategorical(4)().log_prob(torch.eye(4)).exp().tolist() == pytest.approx([0.25] * 4)


def test_gem_weights_have_mean_c_over_one_plus_c():
    mean = priors.StickBreaking(4, concentration=3.0)().mean
    assert mean.tolist() == pytest.approx([0.25, 0.1875, 0.140625, 0.421875])
