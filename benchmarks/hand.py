"""The VAE hand-written in PyTorch, and the floor: the matrix products alone.

The loop keeps the data in memory, draws one index permutation per epoch, computes the loss from logits, and uses fused
Adam with gradients set to None. In the compiled version the loss function goes through ``torch.compile``.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn


def networks(work):
    """Encoder to 2 * dim numbers, decoder to logits."""
    if work.image:
        return _convolutional(work)
    sizes = [784, *work.hidden]
    encoder = [m for a, b in zip(sizes, sizes[1:], strict=False) for m in (nn.Linear(a, b), nn.Softplus())]
    back = [work.dim, *work.hidden[::-1]]
    decoder = [m for a, b in zip(back, back[1:], strict=False) for m in (nn.Linear(a, b), nn.Softplus())]
    outputs = work.dim if work.prior == "dirichlet" else 2 * work.dim
    return (
        nn.Sequential(*encoder, nn.Linear(sizes[-1], outputs)),
        nn.Sequential(*decoder, nn.Linear(back[-1], 784)),
    )


def _convolutional(work):
    channels = [1, *work.hidden]
    side = 64 // 2 ** len(work.hidden)
    encoder = []
    for a, b in zip(channels, channels[1:], strict=False):
        encoder += [nn.Conv2d(a, b, 3, stride=2, padding=1), nn.Softplus()]
    features = channels[-1] * side * side
    decoder = [nn.Linear(work.dim, features), nn.Softplus(), nn.Unflatten(1, (channels[-1], side, side))]
    back = [*work.hidden[::-1], work.hidden[0]]
    for a, b in zip(back, back[1:], strict=False):
        decoder += [nn.ConvTranspose2d(a, b, 3, stride=2, padding=1, output_padding=1), nn.Softplus()]
    return (
        nn.Sequential(*encoder, nn.Flatten(), nn.Linear(features, 2 * work.dim)),
        nn.Sequential(*decoder, nn.Conv2d(back[-1], 1, 1)),
    )


class ByHand(nn.Module):
    """Encoder, decoder and loss of the workload, with no library but torch."""

    def __init__(self, work):
        super().__init__()
        self.work = work
        self.encoder, self.decoder = networks(work)
        if work.prior == "mixture":
            self.logits = nn.Parameter(torch.zeros(10))
            self.means = nn.Parameter(torch.randn(10, work.dim))
            self.scales = nn.Parameter(torch.zeros(10, work.dim))

    def reconstruction(self, z, x):
        logits = self.decoder(z)
        return -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").flatten(1).sum(1)

    def forward(self, x):
        if self.work.prior == "dirichlet":
            q = torch.distributions.Dirichlet(F.softplus(self.encoder(x)) + 0.01, validate_args=False)
            p = torch.distributions.Dirichlet(x.new_ones(self.work.dim), validate_args=False)
            kl = torch.distributions.kl_divergence(q, p)
            return (kl - self.reconstruction(q.rsample(), x)).mean()
        mean, raw = self.encoder(x).chunk(2, -1)
        scale = F.softplus(raw) + 1e-6
        if self.work.particles > 1:
            return -self.bound(mean, scale, x).mean()
        z = mean + scale * torch.randn_like(mean)
        if self.work.prior == "mixture":
            kl = _normal(z, mean, scale).sum(-1) - self.mixture(z)
        else:
            kl = (0.5 * (mean**2 + scale**2 - 1) - scale.log()).sum(1)
        return (kl - self.reconstruction(z, x)).mean()

    def bound(self, mean, scale, x):
        """The importance-weighted bound of each example."""
        k = self.work.particles
        z = mean + scale * torch.randn(k, *mean.shape)
        log_w = (_normal(z, 0.0, torch.ones(())) - _normal(z, mean, scale)).sum(-1)
        logits = self.decoder(z.flatten(0, 1)).view(k, *x.shape)
        log_w = log_w - F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(-1)
        return log_w.logsumexp(0) - math.log(k)

    def mixture(self, z):
        each = _normal(z[:, None], self.means, F.softplus(self.scales) + 1e-6).sum(-1)
        return (each + self.logits.log_softmax(0)).logsumexp(-1)


def _normal(z, mean, scale):
    return -0.5 * ((z - mean) / scale) ** 2 - scale.log() - 0.5 * math.log(2 * math.pi)


def loop(work, x, compiled=False):
    """A round of the hand-written loop."""
    torch.manual_seed(0)
    model = ByHand(work)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    loss_of = torch.compile(model) if compiled else model

    def round_():
        for index in torch.randperm(len(x)).split(work.batch):
            loss = loss_of(x[index])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    round_.model = model
    return round_


def torchvision_loop(work, x):
    """The shape of PyTorch's own VAE example: a Dataset whose transform makes a tensor of every picture."""
    from torchvision.transforms import ToTensor

    class Pictures(torch.utils.data.Dataset):
        def __init__(self):
            self.pictures, self.transform = (x.view(-1, 28, 28, 1) * 255).byte().numpy(), ToTensor()

        def __len__(self):
            return len(self.pictures)

        def __getitem__(self, index):
            return self.transform(self.pictures[index])

    torch.manual_seed(0)
    model = ByHand(work)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = torch.utils.data.DataLoader(Pictures(), batch_size=work.batch, shuffle=True)

    def round_():
        total = 0.0
        for batch in loader:
            optimizer.zero_grad()
            loss = model(batch.view(-1, 784))
            loss.backward()
            total += loss.item()
            optimizer.step()

    return round_


def floor(work, x, product=torch.mm):
    """The step's matrix products (or convolutions) alone, forward and backward, on arbitrary numbers."""
    if work.image:
        return _convolutions(work, x)
    many = work.batch * work.particles
    outputs = work.dim if work.prior == "dirichlet" else 2 * work.dim
    layers = [(work.batch, a, b) for a, b in zip([784, *work.hidden], [*work.hidden, outputs], strict=True)]
    layers += [(many, a, b) for a, b in zip([work.dim, *work.hidden[::-1]], [*work.hidden[::-1], 784], strict=True)]
    made = [(torch.randn(n, a), torch.randn(b, a), torch.randn(n, b), i > 0) for i, (n, a, b) in enumerate(layers)]

    def round_():
        for _ in range(work.steps):
            for inputs, weight, gradient, has_inner in made:
                product(inputs, weight.T)
                product(gradient.T, inputs)
                if has_inner:
                    product(gradient, weight)

    return round_


def onednn_floor(work, x):
    """The floor by oneDNN, which captured steps use on AMD processors and PyTorch's float32 products never use."""
    from ppl_vae.training.products import onednn_is_faster

    if not onednn_is_faster():
        raise ImportError("captured steps do not use oneDNN's products on this processor")
    return floor(work, x, lambda a, b: torch.ops.ppl_vae.addmm.default(None, a, b))


def _convolutions(work, x):
    layers = [
        m for network in networks(work) for m in network if isinstance(m, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)
    ]
    made, shape = [], (work.batch, 1, 64, 64)
    for layer in layers:
        if isinstance(layer, nn.Linear):
            shape = (work.batch, layer.in_features)
        elif len(shape) == 2:
            side = math.isqrt(shape[1] // layer.in_channels)
            shape = (work.batch, layer.in_channels, side, side)
        inputs = torch.randn(shape, requires_grad=bool(made))
        with torch.no_grad():
            output = layer(inputs)
        made.append((layer, inputs, torch.randn_like(output)))
        shape = tuple(output.shape)

    def round_():
        for _ in range(work.steps):
            for layer, inputs, gradient in made:
                wanted = [layer.weight, *([inputs] if inputs.requires_grad else [])]
                torch.autograd.grad(layer(inputs), wanted, gradient)

    return round_
