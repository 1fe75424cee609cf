"""Time systems that take turns, so that a machine that slows down slows all of them, and compute ratios."""

import json
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import torch

from . import hand, ours, peers, works

SYSTEMS = {
    "floor": hand.floor,
    "floor-onednn": hand.onednn_floor,
    "ppl_vae": ours.loop,
    "ppl_vae-bf16": partial(ours.loop, precision="bf16"),
    "hand-written": hand.loop,
    "hand-written-compiled": partial(hand.loop, compiled=True),
    "ppl_vae-eager": partial(ours.loop, compiled=False),
    "pythae": peers.pythae,
    "pyroved": peers.pyroved,
    "pyro-tutorial": peers.tutorial,
    "torchvision-loader": hand.torchvision_loop,
}
"""Systems by name: ``make(work, x)`` returns a function that trains on the rows x once."""

MLP_ONLY = ("pythae", "pyroved", "pyro-tutorial", "torchvision-loader")


def offered(work):
    """Systems that can run a workload: other libraries run only the plain VAE over vectors."""
    plain = work.prior == "normal" and work.particles == 1 and not work.image
    left_out = (() if plain else MLP_ONLY) + (("floor-onednn",) if work.image else ())
    return [name for name in SYSTEMS if name not in left_out]


def build(work, names, root, say, seconds=None):
    """Rounds by system, each warmed up once; and the reasons why others were skipped.

    After ``seconds`` no further system is built.
    """
    started = time.perf_counter()
    x = works.rows(work, root)
    rounds, skipped = {}, {}
    for name in names:
        began = time.perf_counter()
        if seconds is not None and began - started > seconds:
            skipped[name] = "no time was left"
            say(f"  {name}: skipped, {skipped[name]}")
            continue
        try:
            round_ = SYSTEMS[name](work, x)
            round_()
        except ImportError as error:
            skipped[name] = f"not installed ({error})"
        except Exception as error:  # a library that fails with these versions must not end the run
            skipped[name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        else:
            rounds[name] = round_
        reason = f", skipped: {skipped[name]}" if name in skipped else ""
        say(f"  {name}: ready after {time.perf_counter() - began:.1f} s{reason}")
    return rounds, skipped


def interleave(rounds, repeats):
    """Seconds of each round by system: one round of every system per turn, starting with another one each time."""
    names = list(rounds)
    seconds = {name: [] for name in names}
    for repeat in range(repeats):
        shift = repeat % len(names)
        for name in names[shift:] + names[:shift]:
            began = time.perf_counter()
            rounds[name]()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def table(work, seconds, threads):
    """A row for each system: its time, and its ratio to the floor in the same turn, with quartiles."""
    out = []
    for name, times in seconds.items():
        ratios = sorted(t / f for t, f in zip(times, seconds["floor"], strict=True))
        quarter = len(ratios) // 4
        out.append(
            {
                "work": work.name,
                "system": name,
                "threads": threads,
                "seconds_per_100_steps": statistics.median(times) * 100 / work.steps,
                "ratio_to_floor": statistics.median(ratios),
                "ratio_spread": [ratios[quarter], ratios[-1 - quarter]],
                "rounds": len(times),
            }
        )
    return out


def peak_memory(work, name, threads):
    """Peak resident MiB of a separate process that trains ten rounds on random rows."""
    command = [sys.executable, "-m", "benchmarks", "--child-memory", name, "--only", work.name, "--threads", threads]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])["mib"] if done.returncode == 0 else None


def child_memory(work, name):
    """The process that ``peak_memory`` starts."""
    round_ = SYSTEMS[name](work, works.rows(work, None))
    for _ in range(10):
        round_()
    print(json.dumps({"mib": peak_mib()}))


def peak_mib():
    """Peak resident memory of this process (VmHWM); getrusage would start at the parent's peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def seconds_to_quality(make, x, test, goal, limit=40):
    """Seconds of training until the test NLL is below ``goal`` nats, evaluation not counted; None if it never is."""
    torch.manual_seed(0)
    round_ = make(x)
    spent = 0.0
    for _ in range(limit):
        began = time.perf_counter()
        round_()
        spent += time.perf_counter() - began
        if nll(round_.model, test) < goal:
            return spent
    return None


def nll(model, test, particles=100):
    """Importance-sampled negative log-likelihood of a hand-written model or of one of ours, in nats an example."""
    from ppl_vae import evaluation

    if isinstance(model, hand.ByHand):
        work = model.work
        model.work = works.Work("evaluation", particles=particles)
        with torch.no_grad():
            mean, raw = model.encoder(test).chunk(2, -1)
            value = -model.bound(mean, torch.nn.functional.softplus(raw) + 1e-6, test).mean().item()
        model.work = work
        return value
    return -evaluation.log_likelihood(model, test, num_particles=particles).mean
