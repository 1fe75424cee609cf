"""The workloads of the benchmark: network, data set and objective of each.

Every network is 784-400-20 or a 64x64 convolutional one with softplus between the layers, a Normal posterior, a
Bernoulli likelihood and Adam at 1e-3. Data are binarized beforehand, outside the timed steps.
"""

from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Work:
    """One workload.

    Attributes:
        name: name in the results.
        batch: examples per step.
        prior: "normal", "mixture" (10 components) or "dirichlet" (with a Dirichlet posterior).
        particles: K of the importance-weighted bound; 1 is the ELBO with the KL in closed form where there is one.
        image: whether x is a (1, 64, 64) picture for convolutions, else 784 numbers.
        steps: steps of one round; to the systems a round is an epoch.
    """

    name: str
    batch: int = 128
    prior: str = "normal"
    particles: int = 1
    image: bool = False
    steps: int = 100
    dim: int = 20
    hidden: tuple[int, ...] = (400,)

    @property
    def shape(self):
        return (1, 64, 64) if self.image else (784,)


MAIN = Work("mnist-mlp-784-400-20-batch-128")
WORKS = (
    MAIN,
    Work("mnist-mlp-784-400-20-batch-1024", batch=1024, steps=10),
    Work("conv-64x64", batch=64, image=True, hidden=(16, 32, 64), steps=10),
    Work("mixture-prior", prior="mixture"),
    Work("dirichlet-latent", prior="dirichlet"),
    Work("iwae-50", particles=50, steps=4),
)


def rows(work, root, steps=None):
    """Binary rows for one round of the workload: MNIST if it is under ``root``, else noise of the same shape."""
    count = work.batch * (steps or work.steps)
    generator = torch.Generator().manual_seed(0)
    if work.image:
        grid = torch.linspace(-1, 1, 64)
        centre = torch.rand(count, 2, 1, 1, generator=generator) - 0.5
        inside = (grid[None, :, None] - centre[:, 0]) ** 2 + (grid[None, None, :] - centre[:, 1]) ** 2 < 0.1
        return inside[:, None].float()
    if root is None:
        return torch.rand(count, 784, generator=generator).lt(0.13).float()
    grey = pictures(root).flatten(1)
    index = torch.randint(len(grey), (count,), generator=generator)
    return torch.rand(count, 784, generator=generator).lt(grey[index]).float()


def pictures(root, part="train"):
    """MNIST's grey pictures in [0, 1], (N, 1, 28, 28)."""
    from ppl_vae import data

    return getattr(data.load("mnist", root=root, binarize="none"), part).x


def mnist_root(root):
    """The folder with MNIST, or None."""
    return root if (Path(root) / "MNIST").is_dir() else None
