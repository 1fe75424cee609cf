import pyro.distributions as dist
import pytest
import torch
from torch.distributions import constraints

from ppl_vae import VAE, evaluation, likelihoods, networks, posteriors, priors, supports


@pytest.mark.parametrize(
    ("constraint", "words"),
    [
        (constraints.real, "the reals"),
        (constraints.real_vector, "the reals"),
        (constraints.positive, "the positive numbers"),
        (constraints.nonnegative, "the positive numbers"),
        (dist.constraints.softplus_positive, "the positive numbers"),
        (constraints.greater_than(2.0), "the numbers above 2"),
        (constraints.unit_interval, "the unit interval"),
        (constraints.interval(-1.0, 2.5), "the interval [-1, 2.5]"),
        (constraints.simplex, "the simplex"),
        (dist.constraints.sphere, "the sphere"),
        (constraints.boolean, "{0, 1}"),
        (constraints.one_hot, "one-hot vectors"),
        (constraints.nonnegative_integer, "the counts"),
    ],
    ids=str,
)
def test_names_with_and_without_wrappers(constraint, words):
    assert supports.name(constraint) == supports.name(constraints.independent(constraint, 1)) == words


def test_names_tell_all_sets_apart():
    sets = [
        constraints.real,
        constraints.positive,
        constraints.unit_interval,
        constraints.interval(0.0, 2.0),
        constraints.simplex,
        dist.constraints.sphere,
        constraints.boolean,
        constraints.one_hot,
        constraints.nonnegative_integer,
    ]
    same = [[supports.same(a, b) for b in sets] for a in sets]
    assert same == torch.eye(len(sets)).bool().tolist()


def test_equal_sets_are_equal_objects_that_can_be_keys():
    known = {supports.UNIT_INTERVAL: 1, supports.COUNTS: 2, supports.of(constraints.interval(-1.0, 1.0)): 3}
    for constraint, value in (
        (constraints.interval(0.0, 1.0), 1),
        (supports.open_unit_interval, 1),
        (supports.or_missing(constraints.independent(constraints.nonnegative_integer, 1)), 2),
        (constraints.independent(constraints.interval(torch.tensor(-1.0), torch.tensor(1.0)), 2), 3),
    ):
        assert known[supports.of(constraint)] == value
    assert supports.of(constraints.interval(-1.0, 2.0)) not in known


def test_a_mixture_lives_where_its_components_do():
    mixture = dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), dist.Gamma(torch.ones(2), 1.0))
    assert supports.name(mixture.support) == "the positive numbers"


def test_pairs_of_one_space_share_a_support():
    spaces = {
        "the unit interval": (("Beta", "Kumaraswamy"), ("Beta", "Kumaraswamy", "LogitNormal")),
        "the simplex": (
            ("Dirichlet", "LogisticNormal", "StickBreaking", "RelaxedOneHotCategorical"),
            ("Dirichlet", "LogisticNormal", "StickBreaking", "RelaxedOneHotCategorical"),
        ),
        "the positive numbers": (("Gamma", "LogNormal"), ("Gamma", "LogNormal")),
        "the sphere": (("Hyperspherical",), ("Hyperspherical",)),
        "{0, 1}": (("Bernoulli",), ("Bernoulli",)),
        "one-hot vectors": (("OneHotCategorical",), ("OneHotCategorical",)),
    }
    for words, (of_priors, of_posteriors) in spaces.items():
        for name in of_priors:
            assert supports.name(getattr(priors, name)(3).support) == words
        for name in of_posteriors:
            assert supports.name(getattr(posteriors, name)(torch.nn.Identity(), 3).support) == words


def test_averages_are_brought_onto_the_support():
    z = torch.tensor([[0.3, 0.4], [0.9, 0.2]])
    assert torch.allclose(supports.onto(priors.Hyperspherical(2).support, z).norm(dim=-1), torch.ones(2))
    assert supports.onto(priors.OneHotCategorical(2).support, z).tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert supports.onto(priors.Bernoulli(2).support, z).tolist() == [[0.0, 0.0], [1.0, 0.0]]
    assert supports.onto(priors.Normal(2).support, z) is z


def test_pictures_and_errors_decode_codes_on_the_support():
    torch.manual_seed(0)
    for prior in (priors.Hyperspherical(3), priors.OneHotCategorical(3), priors.Bernoulli(3)):
        vae = VAE(prior, likelihood=likelihoods.Normal(networks.MLP(3, [4]), 5))
        seen = []
        vae.likelihood.network.register_forward_pre_hook(lambda _, given, seen=seen: seen.append(given[0]))
        x = torch.rand(4, 5)
        evaluation.reconstruct(vae, x)
        evaluation.interpolate(vae, x[:1], x[1:2], steps=4)
        evaluation.reconstruction_error(vae, x)
        assert len(seen) >= 3 and all(prior.support.check(z).all() for z in seen)
