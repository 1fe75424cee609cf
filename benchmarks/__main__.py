"""Other libraries and ppl_vae on the same workloads, taking turns in one process.

    python -m benchmarks --quick --json OUT          the main workload in under three minutes
    python -m benchmarks --json OUT --plot OUT.png   every workload at one and two threads, memory, and time to quality

``{"rows": [{"work", "system", "seconds_per_100_steps", "ratio_to_floor", ...}]}``, the main workload first. A
ratio compares two rounds of the same turn; the median and the quartiles over the turns are given.
"""

import argparse
import json
import time
from pathlib import Path

import torch

from . import extra, measure, works

QUICK = ("floor", "floor-onednn", "ppl_vae", "ppl_vae-bf16", "hand-written", "hand-written-compiled", *measure.MLP_ONLY)
BUILDING, MEASURING = 90.0, 130.0  # seconds after the start; later, no system is built and no turn begun


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--quick", action="store_true", help="only the main workload, in under three minutes")
    parser.add_argument("--json", help="file to write")
    parser.add_argument("--plot", help=".png to write")
    parser.add_argument("--data-root", default="../shared/data")
    parser.add_argument("--threads", type=int, nargs="*", help="1 2, or 2 when quick")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--only", nargs="*", help="names of workloads")
    parser.add_argument("--systems", nargs="*", choices=measure.SYSTEMS)
    parser.add_argument("--child-memory", help=argparse.SUPPRESS)
    args = parser.parse_args()
    root = works.mnist_root(args.data_root)
    chosen = [w for w in works.WORKS if w.name in args.only] if args.only else works.WORKS
    if args.child_memory:
        torch.set_num_threads((args.threads or [2])[0])
        return measure.child_memory(chosen[0], args.child_memory)
    result = quick(args, root) if args.quick else full(args, chosen, root)
    if args.json:
        Path(args.json).write_text(json.dumps(result, indent=1) + "\n")
    if args.plot:
        from . import plot

        plot.bars(result["rows"], args.plot)


def quick(args, root):
    """The main workload with every system that is installed."""
    began = time.monotonic()
    threads = (args.threads or [2])[0]
    torch.set_num_threads(threads)
    work = works.MAIN
    print(f"{work.name}, {threads} threads, {'MNIST' if root else 'noise of its shape'}")
    rounds, skipped = measure.build(work, args.systems or QUICK, root, print, BUILDING)
    seconds = {name: [] for name in rounds}
    for _ in range(args.repeats):
        for name, times in measure.interleave(rounds, 1).items():
            seconds[name] += times
        if time.monotonic() - began > MEASURING:
            break
    rows = measure.table(work, seconds, threads)
    show(rows)
    return {"rows": rows, "skipped": skipped, "torch": torch.__version__}


def full(args, chosen, root):
    """Every workload at every number of threads, then memory, likelihood, streaming and time to quality."""
    rows, skipped = [], {}
    for threads in args.threads or (2, 1):
        torch.set_num_threads(threads)
        for work in chosen:
            print(f"{work.name}, {threads} threads, {'MNIST' if root and not work.image else 'made-up data'}")
            names = [n for n in measure.offered(work) if not args.systems or n in (*args.systems, "floor")]
            rounds, missing = measure.build(work, names, root, print)
            skipped |= missing
            new = measure.table(work, measure.interleave(rounds, args.repeats), threads)
            if threads == max(args.threads or (2, 1)):
                for row in new:
                    row["peak_mib"] = measure.peak_memory(work, row["system"], threads)
            show(new)
            rows += new
    result = {"rows": rows, "skipped": skipped, "torch": torch.__version__}
    if not args.only:
        result |= extra.everything(root)
    return result


def show(rows):
    """Print a table."""
    print(f"  {'system':<24}{'s/100 steps':>12}{'x floor':>9}   quartiles     peak MiB")
    for row in rows:
        low, high = row["ratio_spread"]
        memory = f"{row['peak_mib']:.0f}" if row.get("peak_mib") else ""
        print(
            f"  {row['system']:<24}{row['seconds_per_100_steps']:>12.3f}{row['ratio_to_floor']:>9.2f}   "
            f"{low:.2f} to {high:.2f}  {memory:>8}"
        )


if __name__ == "__main__":
    main()
