"""A training step of our VQ-VAE and of the same network written by hand around ``vector_quantize_pytorch``.

    python -m benchmarks.vqvae [--data-root data] [--threads 1] [--repeats 20] [--steps 20] [--json out.json]

MNIST (noise of its shape where it is not under --data-root), batches of 128, two convolutions to a grid of 7 x 7
vectors of 16 numbers, 128 codes moved by running means (decay 0.99), commitment 0.25, straight-through gradients,
revival of dead codes, a Bernoulli likelihood, fused Adam. No codebook starts at k-means. Systems take turns; a ratio
compares two rounds of one turn. Memory is measured in a process for each system: the tensors that one step holds at
its peak beyond those that stay, and the peak resident memory of the whole process.
"""

import argparse
import json
import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from ppl_vae import Reconstruction, likelihoods, models, networks, quantizers

from . import measure, ours, works

BATCH, SHAPE, HIDDEN, DIM, CODES, DECAY, COMMITMENT, REVIVE = 128, (1, 28, 28), (32, 64), 16, 128, 0.99, 0.25, 0.1
GRID = (7, 7)
PEER = "vector-quantize-pytorch"
ABSENT = f"{PEER} is not installed, so there is nothing to compare with; pip install {PEER}"


class ByHand(nn.Module):
    """The network around ``VectorQuantize``; its cost is -log p(x | c) + commitment, in nats per example.

    Args:
        revive: a code is dead below this part of an equal share of use; 0 revives none.
        channels_last: whether the pictures are in the memory format that is faster on a CPU.
    """

    def __init__(self, revive=REVIVE, channels_last=False):
        super().__init__()
        from vector_quantize_pytorch import VectorQuantize

        self.channels_last = channels_last
        a, b = HIDDEN
        self.encoder = nn.Sequential(
            *(nn.Conv2d(1, a, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.Conv2d(a, b, 3, stride=2, padding=1), nn.ReLU()),
            nn.Conv2d(b, DIM, 1),
        )
        self.quantizer = VectorQuantize(
            dim=DIM,
            codebook_size=CODES,
            decay=DECAY,
            commitment_weight=COMMITMENT,
            rotation_trick=False,
            accept_image_fmap=True,
            # Theirs is a running count of vectors a batch.
            threshold_ema_dead_code=revive * BATCH * GRID[0] * GRID[1] / CODES,
        )
        self.decoder = nn.Sequential(
            *(nn.Conv2d(DIM, b, 3, padding=1), nn.ReLU()),
            *(nn.ConvTranspose2d(b, a, 3, stride=2, padding=1, output_padding=1), nn.ReLU()),
            *(nn.ConvTranspose2d(a, a, 3, stride=2, padding=1, output_padding=1), nn.ReLU()),
            nn.Conv2d(a, 1, 1),
        )

    def forward(self, x):
        x = x.to(memory_format=torch.channels_last) if self.channels_last else x
        values, _, cost = self.quantizer(self.encoder(x))
        logits = self.decoder(values)
        error = F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1).mean()
        return error + GRID[0] * GRID[1] * DIM * cost  # theirs is a mean over all numbers, ours a sum over an example's


def vqvae(revive=REVIVE):
    """Our model."""
    side = networks.Conv(SHAPE, HIDDEN, flatten=False)
    decoder = networks.ConvTranspose((DIM, *GRID), HIDDEN[::-1], SHAPE)
    quantizer = quantizers.VectorQuantizer(CODES, DIM, COMMITMENT, quantizers.EMA(DECAY), revive=revive, start="normal")
    return models.VQVAE(side, quantizer, likelihoods.Bernoulli(decoder, SHAPE))


def by_hand(x, compiled=False, channels_last=False):
    """A round of the hand-written loop."""
    torch.manual_seed(0)
    model = ByHand(channels_last=channels_last)
    if channels_last:
        model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    if compiled:  # all of it cannot be: their quantizer fails to compile (torch 2.15, vector-quantize-pytorch 1.32)
        model.encoder.compile()
        model.decoder.compile()

    def round_():
        for index in torch.randperm(len(x)).split(BATCH):
            loss = model(x[index])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    return round_


def with_fit(x, compiled=True):
    """A round of ``fit``: an epoch with shuffling, steps, totals and figures of the codes."""
    torch.manual_seed(0)
    return ours.epochs(Reconstruction(vqvae()), x, BATCH, compiled=compiled)


SYSTEMS = {
    PEER: by_hand,
    f"{PEER}, channels last": partial(by_hand, channels_last=True),
    f"{PEER}, networks compiled": partial(by_hand, compiled=True),
    "ppl_vae": with_fit,
    "ppl_vae-eager": partial(with_fit, compiled=False),
}
"""Systems by name: ``make(x)`` returns a function that trains on the rows x once. Ratios are to the first."""


def rows(root, steps):
    """Binary pictures for a round of so many steps."""
    return works.rows(works.Work("vqvae", batch=BATCH, steps=steps), root).view(-1, *SHAPE)


def memory(name, threads):
    """MiB of a system, measured in a process of its own: {"step_mib", "peak_mib"}."""
    command = [sys.executable, "-m", "benchmarks.vqvae", "--child-memory", name, "--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the memory of {name} could not be measured: {done.stderr[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def child_memory(name):
    """The process that ``memory`` starts; it trains ten steps, and then a round of one step is looked at."""
    x = rows(None, 1)
    round_ = SYSTEMS[name](x)
    for _ in range(10):
        round_()
    resident = measure.peak_mib()  # before the profiler, which needs memory of its own
    print(json.dumps({"step_mib": step_mib(round_), "peak_mib": resident}))


def step_mib(round_):
    """Most MiB of tensors that were allocated at one time while a round ran, beyond those that were there before."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        round_()
    sizes = [e.nbytes() for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = most = 0
    for size in sizes:
        held += size
        most = max(most, held)
    return most / 2**20


def table(seconds, steps):
    """A row for each system: milliseconds a step, and the ratio to the first system in the same turn."""
    first = next(iter(seconds.values()))
    out = []
    for name, times in seconds.items():
        ratios = sorted(own / other for own, other in zip(times, first, strict=True))
        quarter = len(ratios) // 4
        spread = [ratios[quarter], ratios[-1 - quarter]]
        median = statistics.median(times) * 1000 / steps
        out.append({"system": name, "ms_a_step": median, "ratio": statistics.median(ratios), "quartiles": spread})
    return out


def show(found):
    """Print a table."""
    print(f"  {'system':<40}{'ms a step':>10}{'ratio':>7}   quartiles      MiB of a step, ratio   peak MiB, ratio")
    for row in found:
        low, high = row["quartiles"]
        line = f"  {row['system']:<40}{row['ms_a_step']:>10.2f}{row['ratio']:>7.2f}   {low:.2f} to {high:.2f}"
        if "step_mib" in row:
            step, peak = (row[key] / found[0][key] for key in ("step_mib", "peak_mib"))
            line += f"  {row['step_mib']:>14.1f} {step:>7.2f}  {row['peak_mib']:>8.0f} {peak:>7.2f}"
        print(line)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", default="data")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--steps", type=int, default=20, help="steps of a round")
    parser.add_argument("--systems", nargs="*", choices=SYSTEMS, default=[*SYSTEMS])
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child-memory", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.child_memory:
        return child_memory(args.child_memory)
    try:
        import vector_quantize_pytorch  # noqa: F401
    except ImportError:
        return print(ABSENT)
    names = [name for name in SYSTEMS if name in {PEER, *args.systems}]
    root = works.mnist_root(args.data_root)
    x = rows(root, args.steps)
    print(f"VQ-VAE, {args.threads} threads, {'MNIST' if root else 'noise of its shape'}", flush=True)
    rounds = {name: SYSTEMS[name](x) for name in names}
    for round_ in rounds.values():
        round_()  # compiles, and codes that nothing used are revived
    found = table(measure.interleave(rounds, args.repeats), args.steps)
    for row in found:
        row |= {} if args.no_memory else memory(row["system"], args.threads)
    show(found)
    if args.json:
        args.json.write_text(json.dumps({"rows": found, "threads": args.threads, "torch": torch.__version__}, indent=1))


if __name__ == "__main__":
    main()
