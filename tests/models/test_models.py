import pytest
import torch
from contracts import check_model
from instances import SHAPE, every, instance

from ppl_vae import models, networks


@pytest.mark.parametrize("case", every("models"), ids=str)
def test_contract(case):
    check_model(instance("models", case))


def test_autoencoder_output_range():
    encoder, decoder = networks.MLP(3, []), networks.MLP(2, [])
    x = 50 * torch.randn(40, 3)
    squashed = models.Autoencoder(encoder, decoder, 2, 3)(x)
    assert squashed.min() >= 0 and squashed.max() <= 1
    assert models.Autoencoder(encoder, decoder, 2, 3, output="identity")(x).max() > 1


def test_autoencoder_of_plain_modules():
    ae = models.Autoencoder(torch.nn.Flatten(), torch.nn.Linear(2, 6), 2, SHAPE)
    assert ae(torch.rand(3, *SHAPE)).shape == (3, *SHAPE)
    assert ae.decode(torch.rand(4, 3, 2)).shape == (4, 3, *SHAPE)


def test_bad_autoencoders():
    with pytest.raises(ValueError, match="output must be 'sigmoid' or 'identity', not 'tanh'"):
        models.Autoencoder(networks.MLP(3, []), networks.MLP(2, []), 2, 3, output="tanh")
    with pytest.raises(ValueError, match="dim must be a whole number of at least 1, not 0"):
        models.Autoencoder(networks.MLP(3, []), networks.MLP(2, []), 0, 3)
    with pytest.raises(TypeError, match="encoder must be a torch.nn.Module"):
        models.Autoencoder([3], networks.MLP(2, []), 2, 3)
    with pytest.raises(ValueError, match=r"the decoder takes \(5,\)"):
        models.Autoencoder(networks.MLP(3, []), networks.MLP(5, []), 2, 3)
    with pytest.raises(ValueError, match=r"the encoder takes \(4,\)"):
        models.Autoencoder(networks.MLP(4, []), networks.MLP(2, []), 2, 3)
