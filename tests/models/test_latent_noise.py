import pytest
import torch
from contracts import within
from instances import DIM, plain

from ppl_vae import models


@pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0])
def test_the_noise_is_relative_to_the_spread_of_the_codes(scale):
    ae = models.LatentNoiseAutoencoder(*plain())
    z = scale * torch.randn(4000, DIM) + 7 * scale
    spread = (z - z.mean(0)).square().sum(1).mean()
    noise = (ae.code_corruption(z) - z) / spread.sqrt()
    within(noise.square().sum(1), 0.05, errors=5)
    within(noise, torch.zeros(DIM))


def test_the_gradient_passes_through_the_spread():
    ae = models.LatentNoiseAutoencoder(*plain())
    z = torch.randn(50, DIM, requires_grad=True)
    torch.manual_seed(1)
    noisy = ae.code_corruption(z)
    (noisy.square().sum()).backward()
    assert torch.allclose((z.grad * z).sum(), 2 * noisy.square().sum(), rtol=1e-4)  # noisy scales with z


def test_it_is_there_in_training_only_and_harmless_for_one_example():
    ae = models.LatentNoiseAutoencoder(*plain())
    x = torch.rand(1, 1, 4, 4)
    ae(x).sum().backward()
    assert all(p.grad.isfinite().all() for p in ae.parameters())
    x = torch.rand(9, 1, 4, 4)
    assert not torch.equal(ae(x), ae(x))
    ae.eval()
    assert torch.equal(ae(x), ae.decode(ae.encode(x)))


def test_bad_noise():
    with pytest.raises(ValueError, match="noise must be a finite number of at least 0, not -0.1"):
        models.LatentNoiseAutoencoder(*plain(), noise=-0.1)
