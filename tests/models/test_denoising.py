import pytest
import torch
from instances import SHAPE, plain
from torch import nn

from ppl_vae import Reconstruction, corruptions, fit, models

X = torch.rand(40, *SHAPE, generator=torch.Generator().manual_seed(1))


class Shift(nn.Module):
    """A corruption of the user's own, which can be recognised."""

    def forward(self, x):
        return x + 100


def test_the_encoder_never_sees_the_clean_input_in_training():
    ae = models.DenoisingAutoencoder(*plain(), Shift())
    seen = {True: [], False: []}
    ae.encoder.register_forward_pre_hook(lambda module, inputs: seen[ae.training].append(inputs[0].detach()))
    fit(Reconstruction(ae), X, X[:10], epochs=2, batch_size=10, progress=False)
    assert len(seen[True]) == 8 and all((x >= 100).all() for x in seen[True])
    assert len(seen[False]) == 3  # the trial of the first batch, and two validations
    assert all((x <= 1).all() for x in seen[False][1:])
    assert torch.equal(ae.train()(X), ae.eval().decode(ae.encode(X + 100)))


def test_the_loss_is_against_the_clean_input():
    ae = models.DenoisingAutoencoder(*plain(), Shift())
    expected = (X - ae.decode(ae.encode(X + 100))).square().flatten(1).sum(1)
    assert torch.allclose(Reconstruction(ae)(X).terms["squared_error"], expected)


def test_every_step_draws_anew():
    ae = models.DenoisingAutoencoder(*plain(), corruptions.Masking(0.5))
    assert not torch.equal(ae(X), ae(X))
    ae.eval()
    assert torch.equal(ae(X), ae(X))


@pytest.mark.parametrize("corruption", ["masking", None])
def test_bad_corruption(corruption):
    with pytest.raises(TypeError, match="corruption must be a torch.nn.Module, such as corruptions.Masking"):
        models.DenoisingAutoencoder(*plain(), corruption)
