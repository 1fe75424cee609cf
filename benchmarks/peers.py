"""Other libraries on the main workload, each with its own trainer and the settings of its documentation.

All get the same binary rows, network, batch size, Adam at 1e-3, and no validation, checkpoints or output during a
round. A library that is not installed raises ImportError and is skipped.
"""

import contextlib
import logging
import tempfile
import warnings

import torch
from torch import nn

from . import hand


def tutorial(work, x):
    """Pyro's VAE tutorial: DataLoader, ``SVI.step``, ``Trace_ELBO``, Pyro's Adam, validation on as it is by default."""
    import pyro
    import pyro.distributions as dist
    from pyro.infer import SVI, Trace_ELBO

    class VAE(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = hand.networks(work)

        def model(self, x):
            pyro.module("decoder", self.decoder)
            with pyro.plate("data", x.shape[0]):
                zero = torch.zeros(x.shape[0], work.dim, dtype=x.dtype, device=x.device)
                z = pyro.sample("latent", dist.Normal(zero, torch.ones_like(zero)).to_event(1))
                probs = torch.sigmoid(self.decoder(z))
                pyro.sample("obs", dist.Bernoulli(probs, validate_args=False).to_event(1), obs=x.reshape(-1, 784))

        def guide(self, x):
            pyro.module("encoder", self.encoder)
            with pyro.plate("data", x.shape[0]):
                loc, raw = self.encoder(x.reshape(-1, 784)).chunk(2, -1)
                pyro.sample("latent", dist.Normal(loc, torch.exp(raw)).to_event(1))

    torch.manual_seed(0)
    pyro.clear_param_store()
    model = VAE()
    svi = SVI(model.model, model.guide, pyro.optim.Adam({"lr": 1e-3}), loss=Trace_ELBO())
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), batch_size=work.batch, shuffle=True)
    store = pyro.get_param_store()
    kept = {}

    def round_():
        with store.scope(kept.get("state")) as state, pyro.validation_enabled(True):
            for (batch,) in loader:
                svi.step(batch)
        kept["state"] = state

    return round_


def pyroved(work, x):
    """pyroVED: ``iVAE`` without invariances, its loader and ``SVItrainer``; a round is ``trainer.train(loader)``."""
    import pyro
    import pyroved as pv

    model = pv.models.iVAE(
        (28, 28),
        latent_dim=work.dim,
        invariances=None,
        hidden_dim_e=[*work.hidden],
        hidden_dim_d=[*work.hidden],
        activation="softplus",
        device="cpu",
    )
    loader = pv.utils.init_dataloader(x.view(-1, 28, 28), batch_size=work.batch)
    trainer = pv.trainers.SVItrainer(model, lr=1e-3, device="cpu")
    store = pyro.get_param_store()
    kept = {}

    def round_():
        with store.scope(kept.get("state")) as state, pyro.validation_enabled(True):
            trainer.train(loader)
        kept["state"] = state

    return round_


def pythae(work, x):
    """Pythae: ``VAE`` with its own base classes for the networks; a round is ``BaseTrainer.train_step``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pythae.data.datasets import BaseDataset
        from pythae.models import VAE, VAEConfig
        from pythae.models.base.base_utils import ModelOutput
        from pythae.models.nn import BaseDecoder, BaseEncoder
        from pythae.trainers import BaseTrainer, BaseTrainerConfig

    class Encoder(BaseEncoder):
        def __init__(self, layers):
            super().__init__()
            self.layers = layers

        def forward(self, x):
            mean, log_variance = self.layers(x.flatten(1)).chunk(2, -1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self, layers):
            super().__init__()
            self.layers = layers

        def forward(self, z):
            return ModelOutput(reconstruction=torch.sigmoid(self.layers(z)).view(-1, 1, 28, 28))

    torch.manual_seed(0)
    encoder, decoder = hand.networks(work)
    config = VAEConfig(input_dim=(1, 28, 28), latent_dim=work.dim, reconstruction_loss="bce")
    model = VAE(config, encoder=Encoder(encoder), decoder=Decoder(decoder))
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(None):
        training = BaseTrainerConfig(
            output_dir=folder,
            per_device_train_batch_size=work.batch,
            learning_rate=1e-3,
            num_epochs=1,
            no_cuda=True,
        )
        logging.disable(logging.INFO)
        rows = BaseDataset(data=x.view(-1, 1, 28, 28), labels=torch.zeros(len(x)))
        trainer = BaseTrainer(model=model, train_dataset=rows, training_config=training)
        trainer.prepare_training()
        logging.disable(logging.NOTSET)
    trainer.callback_handler.callbacks = []  # removes the progress bar, which updates at every batch
    return lambda: trainer.train_step(1)
