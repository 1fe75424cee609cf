"""The deep belief net: restricted Boltzmann machines on top of each other, unrolled into a deep autoencoder.

    h_0 = x,   machine l models the mean codes h_{l-1} of the one below,   h_l = E[h | h_{l-1}]

Unrolled, the machines' weights W_l are those of the encoder going up and, transposed, of the decoder coming down. Then
all weights are trained, no longer tied, to reconstruct the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .. import randomness
from ..checks import check_size
from ..networks import MLP
from .autoencoder import Autoencoder
from .hooks import Layered, Machine
from .rbm import RBM


class DeepBeliefNet(Autoencoder, Layered):
    """A deep autoencoder of sigmoid layers that ``fit(Reconstruction(net))`` pre-trains as a stack of RBMs.

    Layer by layer, contrastive divergence trains the encoder's weights and both biases; the decoder gets the
    transposed weights; then the whole is fine-tuned. The machines are made of the autoencoder's own parameters, so
    that fine-tuning changes them too: draw samples before it, or fine-tune ``unroll()`` in place of the net.

    Args:
        dim: size of the code, whose units are gaussian with means that are linear in the layer below.
        shape: event shape of the data.
        hidden: sizes of the layers before the code, whose units are binary.
        output: "sigmoid" for data in [0, 1], "identity" for real data, taken to be Normal with standard deviation 1.
        pretrain: epochs of pre-training for each layer; 0 for none.
        k: steps of Gibbs sampling in contrastive divergence.

    Raises:
        ValueError: sizes below 1, or real data without a hidden layer.

    Source: Hinton, Osindero and Teh 2006; Hinton and Salakhutdinov 2006, "Reducing the dimensionality of data with
    neural networks".

    Example:
        >>> net = DeepBeliefNet(2, (1, 4, 4), hidden=[8, 5])
        >>> [(rbm.dim, rbm.code) for rbm in net.layers]
        [(8, 'bernoulli'), (5, 'bernoulli'), (2, 'gaussian')]
        >>> net.unroll()(torch.zeros(3, 1, 4, 4)).shape, net.sample(3, steps=10).shape
        (torch.Size([3, 1, 4, 4]), torch.Size([3, 1, 4, 4]))
    """

    def __init__(
        self,
        dim: int,
        shape: int | Sequence[int],
        hidden: Sequence[int] = (200, 100),
        output: Literal["sigmoid", "identity"] = "sigmoid",
        pretrain: int = 10,
        k: int = 1,
    ) -> None:
        encoder, decoder = MLP(shape, hidden, "sigmoid"), MLP(dim, [*reversed(hidden)], "sigmoid")
        super().__init__(encoder, decoder, dim, shape, output)
        self.hidden = tuple(hidden)
        if not self.hidden and output == "identity":
            raise ValueError(
                "hidden must hold at least one size for real data, whose machine needs binary codes, not []"
            )
        self.pretrain, self.k = check_size("pretrain", pretrain, least=0), check_size("k", k)

    @property
    def layers(self) -> list[RBM]:
        """The machines from the data up, which share their parameters with the autoencoder."""
        made = []
        for index, (up, down) in enumerate(_linear(self)):
            top = index == len(self.hidden)
            visible = "bernoulli" if index or self.output == "sigmoid" else "gaussian"
            shape = up.in_features if index else self.shape
            with torch.random.fork_rng(devices=[]):  # the initial weights are not used
                rbm = RBM(up.out_features, shape, visible, "gaussian" if top else "bernoulli")
            rbm.weight, rbm.code_bias, rbm.data_bias = up.weight, up.bias, down.bias
            made.append(rbm)
        return made

    def stages(self) -> list[tuple[Machine, int]]:
        """The machines in the order in which they are trained, from the data up, and for how many epochs each."""
        machines = self.layers if self.pretrain else []
        downs = [down for _, down in _linear(self)]
        return [
            (Machine(rbm, _through(machines[:i]), self.k, downs[i]), self.pretrain) for i, rbm in enumerate(machines)
        ]

    def unroll(self) -> Autoencoder:
        """An autoencoder with parameters of its own that start as the machines': W_l going up, W_l' coming down."""
        encoder, decoder = MLP(self.shape, self.hidden, "sigmoid"), MLP(self.dim, self.hidden[::-1], "sigmoid")
        made = Autoencoder(
            encoder, decoder, self.dim, self.shape, "sigmoid" if self.output == "sigmoid" else "identity"
        ).to(self.to_code.layer.weight)
        made.load_state_dict(self.state_dict())
        _tie(made)
        return made

    @torch.no_grad()
    def sample(self, n: int, steps: int = 1000, seed: int = 0) -> Tensor:
        """Means (n, *shape) of the data given binary units that are drawn from the net, from the top down.

        Args:
            n: how many.
            steps: of Gibbs sampling in the topmost machine.
            seed: of the draws.
        """
        layers = self.layers
        top = layers[-1]
        with randomness.isolated(randomness.apart(seed), top.weight.device):
            start = top.draw_data(top.code_bias.new_zeros(check_size("n", n), top.dim))
            h = top.draw_code(top.gibbs(start, check_size("steps", steps, least=0)))
            for rbm in layers[:0:-1]:
                h = rbm.draw_data(h)
        return layers[0].decode(h)


def _linear(model: Autoencoder) -> list[tuple[Any, Any]]:
    """Layers of the encoder from the data up, each with its mirror image in the decoder."""
    up, down = (
        [*(part for part in network.modules() if isinstance(part, nn.Linear)), head.layer]
        for network, head in ((model.encoder, model.to_code), (model.decoder, model.to_data))
    )
    return [*zip(up, reversed(down), strict=True)]


@torch.no_grad()
def _tie(model: Autoencoder) -> None:
    """Give the decoder the encoder's weights, transposed."""
    for up, down in _linear(model):
        down.weight.copy_(up.weight.mT)


def _through(machines: Sequence[RBM]) -> Callable[[Tensor], Tensor]:
    """The function from data to the mean codes of the last of some machines."""

    def codes(x: Tensor) -> Tensor:
        for rbm in machines:
            x = rbm.encode(x)
        return x

    return codes
