import pytest
import torch
from contracts import check_prior
from instances import every, instance

from ppl_vae import priors


@pytest.mark.parametrize("case", every("priors"), ids=str)
def test_contract(case):
    check_prior(instance("priors", case))


def test_learned_normal_starts_at_the_standard_normal():
    z = torch.randn(5, 3)
    learned, standard = priors.Normal(3, learned=True)(), priors.Normal(3)()
    assert torch.allclose(learned.log_prob(z), standard.log_prob(z), atol=1e-6)
    assert torch.allclose(standard.log_prob(z), torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1))
    assert not list(priors.Normal(3).state_dict())


@pytest.mark.parametrize("dim", [0, -1, 1.5, True, "2"])
def test_bad_dim(dim):
    with pytest.raises(ValueError, match="dim must be a whole number of at least 1"):
        priors.Normal(dim)


@pytest.mark.parametrize(
    "name", ["Normal", "Dirichlet", "Flow", "Hierarchical", "Hyperspherical", "MixtureOfGaussians"]
)
def test_codes_of_another_size(name):
    prior, z = getattr(priors, name)(4), torch.full((2, 3), 3**-0.5)
    with pytest.raises(ValueError, match="shape"):
        prior().log_prob(z)
    if name == "MixtureOfGaussians":
        with pytest.raises(ValueError, match=r"z must have shape \(\.\.\., 4\), not \(2, 3\)"):
            prior.responsibilities(z)


def test_infinite_parameter():
    with pytest.raises(ValueError, match="rate must be finite, not inf"):
        priors.Gamma(2, rate=float("inf"))
