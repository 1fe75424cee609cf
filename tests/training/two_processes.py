"""Run by test_processes.py, alone and under torchrun: trains models, captured if asked, and keeps their weights."""

import sys
from pathlib import Path

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from ppl_vae import (
    SVI,
    VAE,
    Reconstruction,
    data,
    estimators,
    fit,
    likelihoods,
    models,
    networks,
    posteriors,
    priors,
    quantizers,
    training,
)

sys.path.insert(0, str(Path(__file__).parent))
from fixtures import Adversarial  # noqa: E402


class Fed(dist.Normal):
    """Normal whose sample is loc + scale * eps with the eps it is given."""

    def expand(self, batch_shape, _instance=None):
        new = super().expand(batch_shape, _instance)
        new.eps = self.eps
        return new

    def rsample(self, sample_shape=()):
        return self.loc + self.scale * self.eps


class StopAtTwo(training.Callback):
    """Ends the training after two epochs; counts its calls in this process."""

    calls = 0

    def epoch(self, row, model):
        self.calls += 1
        if row["epoch"] == 2:
            raise training.Stop("enough")


class Fails(training.Callback):
    def epoch(self, row, model):
        raise LookupError("no such thing")


def check_callbacks(rank, x, settings):
    """What one process decides reaches all; so does an error."""
    made = lambda: Reconstruction(models.Autoencoder(networks.MLP((1, 8, 8), [4]), networks.MLP(2, [4]), 2, (1, 8, 8)))  # noqa: E731
    stop = StopAtTwo()
    history = fit(made(), (x,), **settings, callbacks=[stop])
    assert (len(history.rows), history.stopped) == (2, "StopAtTwo: enough")
    assert stop.calls == (2 if rank == 0 else 0)
    try:
        fit(made(), (x,), **settings, callbacks=[Fails()])
    except (LookupError, RuntimeError) as error:
        assert isinstance(error, LookupError if rank == 0 else RuntimeError)
        assert rank == 0 or "raised by the callback Fails after epoch 1 in the main process" in str(error)
    else:
        raise AssertionError("no error")


class FedPosterior(posteriors.Normal):
    """Posterior whose noise comes with the data, as y."""

    def forward(self, x, y=None):
        mean, raw_scale = self.head(self.network(x))
        q = Fed(mean, F.softplus(raw_scale))
        q.eps = y
        return q.to_event(1)


def main(out, captured=False):
    # 101 examples in batches of 50: the last batch has one example, so one of two processes has none.
    x = data.load("digits", binarize="none").train.x[:101]
    eps = torch.randn(101, 4, generator=torch.Generator().manual_seed(3))
    settings = {"epochs": 3, "batch_size": 50, "lr": 0.01, "progress": False, "clip": 10.0}
    settings["compile"] = captured
    settings["device"] = "cpu"  # on a GPU, too; what it is where it is left out is of test_acceptance.py
    torch.manual_seed(0)
    ae = models.Autoencoder(networks.MLP((1, 8, 8), [32]), networks.MLP(4, [32]), 4, (1, 8, 8))
    ae_history = fit(
        Reconstruction(ae), data.Split(x, binarize="dynamic"), valid=(x[:31],), **settings, out=f"{out}/ae"
    )
    vae = VAE(
        priors.Normal(4),
        FedPosterior(networks.MLP((1, 8, 8), [32]), 4),
        likelihoods.Normal(networks.MLP(4, [32]), (1, 8, 8)),
    )
    history = fit(SVI(vae, estimators.TraceELBO()), (x, eps), accumulate=2, **settings)
    torch.manual_seed(0)
    game = Adversarial(64, alternate=True, dropout=0.0)  # each process would drop other units
    game_history = fit(game, (x, eps[:, :3]), **settings)
    torch.manual_seed(0)
    net = models.DeepBeliefNet(3, (1, 8, 8), [16], pretrain=0)
    stack = models.StackedAutoencoder(net.encoder, net.decoder, 3, (1, 8, 8), pretrain=1)
    stack_history = fit(Reconstruction(stack), (x,), **settings)
    torch.manual_seed(0)
    encoder, decoder = networks.Conv((1, 8, 8), [4], flatten=False), networks.ConvTranspose((3, 4, 4), [4], (1, 8, 8))
    vq = models.VQVAE(  # revival draws other vectors in each process, and takes those of the first
        encoder, quantizers.VectorQuantizer(5, 3, revive=0.0), likelihoods.Normal(decoder, (1, 8, 8))
    )
    vq_history = fit(Reconstruction(vq), (x,), valid=(x[:31],), **settings)
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
    check_callbacks(rank, x, settings | {"compile": False})
    histories = {"ae": ae_history, "vae": history, "game": game_history, "stack": stack_history, "vq": vq_history}
    assert {h.steps for h in histories.values()} == {"captured" if captured else "eager"}
    state = {
        f"{name}.{key}": value
        for name, m in zip(histories, (ae, vae, game, stack, vq), strict=True)
        for key, value in m.state_dict().items()
    }
    state["losses"] = torch.tensor([r["train"]["loss"] for h in histories.values() for r in h.rows])
    state["valid"] = torch.tensor([r["valid"]["loss"] for r in ae_history.rows])
    for name in ("usage", "dead_codes", "commitment"):
        state[name] = torch.tensor([r["valid"][name] for r in vq_history.rows])
    state["critic"] = torch.tensor([r["train"]["critic"] for r in game_history.rows])
    if torch.distributed.is_initialized():
        assert torch.distributed.get_world_size() == 2
        state["world"] = torch.tensor(2)
    if rank == 0:
        save_file({name: value.contiguous() for name, value in state.items()}, f"{out}/state.safetensors")


if __name__ == "__main__":
    main(sys.argv[1], "captured" in sys.argv)
