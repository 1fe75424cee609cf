import pytest
import torch
from contracts import within
from instances import SHAPE, plain
from torch import nn

import ppl_vae
from ppl_vae import Reconstruction, fit, models, networks
from ppl_vae.models.density import Density

X = torch.rand(300, *SHAPE, generator=torch.Generator().manual_seed(1))


def rae(**options):
    return models.RegularizedAutoencoder(*plain(), **options)


def test_gradient_penalty_estimates_the_decoders_squared_jacobian():
    ae = rae(weight=1.0)
    x = X[:5]
    exact = torch.stack(
        [torch.autograd.functional.jacobian(lambda z: ae.decode(z[None]), z).square().sum() for z in ae.encode(x)]
    )
    draws = torch.stack([ae.penalised(x)[1]["gradient"].detach() for _ in range(800)])
    within(draws, exact)


def test_l2_penalty_is_that_of_the_decoders_parameters():
    ae = rae(regularizer="l2", weight=0.3, code_weight=0.5)
    costs = ae.penalised(X)[1]
    expected = sum(p.square().sum() for part in (ae.decoder, ae.to_data) for p in part.parameters())
    assert torch.allclose(costs["l2"], 0.3 * expected)
    assert torch.allclose(costs["code"], 0.25 * ae.encode(X).square().sum(1))


def test_spectral_norm_of_every_decoder_layer_is_1():
    ae = rae(regularizer="spectral")
    fit(Reconstruction(ae), X, epochs=3, progress=False)
    for layer in (ae.decoder.layers[1], ae.to_data.layer):
        assert torch.linalg.matrix_norm(layer.weight, 2).item() == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize("regularizer", ["gradient", "l2", "spectral"])
def test_the_density_is_fitted_to_the_codes_and_kept(tmp_path, regularizer):
    ae = rae(regularizer=regularizer, components=2)
    fit(Reconstruction(ae), X, epochs=2, out=tmp_path / "run", progress=False)
    z = ae.encode(X).detach()
    loaded = ppl_vae.load(tmp_path / "run")
    draws = loaded.prior().sample((20_000,))
    within(draws, z.mean(0), errors=5)
    assert torch.allclose(torch.cov(draws.T), torch.cov(z.T), rtol=0.1, atol=1e-3)
    assert torch.equal(draws.mean(0).isfinite(), torch.ones(2, dtype=torch.bool))


def test_one_component_is_the_normal_of_the_codes_moments():
    z = torch.randn(500, 2) @ torch.tensor([[2.0, 1.0], [0.0, 0.1]]) + 5
    density = Density(2, 1).fit(z)
    assert torch.allclose(density.means[0], z.mean(0), atol=1e-4)
    covariance = density.scale_tril[0] @ density.scale_tril[0].T
    assert torch.allclose(covariance, torch.cov(z.T, correction=0), rtol=1e-2)


def test_a_mixture_finds_the_clusters_and_spare_components_stay_empty():
    z = torch.cat([0.1 * torch.randn(100, 2) + centre for centre in (-4.0, 4.0)])
    density = Density(2, 2).fit(z)
    assert torch.allclose(density.means.mean(1).sort().values, torch.tensor([-4.0, 4.0]), atol=0.1)
    few = Density(2, 5).fit(z[:3])
    assert few().sample((100,)).isfinite().all() and (few.weights > 0).sum() <= 3


def test_bad_arguments():
    with pytest.raises(ValueError, match="regularizer 'spectrel' is unknown; choose from .*did you mean spectral"):
        rae(regularizer="spectrel")
    for name in ("weight", "code_weight"):
        with pytest.raises(ValueError, match=f"{name} must be a finite number of at least 0, not -1"):
            rae(**{name: -1})
    with pytest.raises(ValueError, match="components must be a whole number of at least 1, not 0"):
        rae(components=0)


def test_convolutional_decoders_too():
    encoder, decoder = networks.Conv(SHAPE, [3]), networks.Conv.decoder(2, [3], SHAPE)
    for regularizer in ("gradient", "spectral"):
        ae = models.RegularizedAutoencoder(encoder, decoder, 2, SHAPE, regularizer=regularizer)
        Reconstruction(ae)(X[:4]).value.backward()
    assert nn.utils.parametrize.is_parametrized(decoder.layers[0])
