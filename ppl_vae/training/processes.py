"""The processes of a run, through Hugging Face Accelerate: which device, how many, and what they add up.

Gradients are reduced by one flat all-reduce; every process has already weighted its own by its share of the joint
batch, so the sum is the joint batch's gradient.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

# Imported before a process group exists: it takes the group of the moment as a default argument, which would keep the
# group's threads alive past the end of the interpreter, where they abort the process.
import torch.distributed.nn
from accelerate import PartialState
from torch import nn


class Processes:
    """This process among those that ``torchrun`` or ``accelerate launch`` started; alone otherwise.

    Args:
        device: "auto" or a torch device.

    Raises:
        ValueError: a device that torch does not know or this machine lacks.
    """

    def __init__(self, device: str = "auto") -> None:
        wanted = None if device == "auto" else _device(device)
        # Left to itself, Accelerate starts no group where there is no accelerator: every process would train alone.
        several_on_cpu = int(os.environ.get("WORLD_SIZE", "1")) > 1 and not torch.accelerator.is_available()
        state = PartialState(cpu=several_on_cpu if wanted is None else wanted.type == "cpu")
        self.rank, self.count = state.process_index, state.num_processes
        # Accelerate settles on one device for the whole program; a later call may still ask for another.
        settled = state.device if wanted is None or self.count > 1 else wanted
        assert settled is not None
        self.device: torch.device = settled
        if torch.distributed.is_initialized():
            atexit.unregister(state.destroy_process_group)
            atexit.register(state.destroy_process_group)

    @property
    def main(self) -> bool:
        """Whether this is the process that writes files and shows progress."""
        return self.rank == 0

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.wait()

    def wait(self) -> None:
        """Wait for all processes."""
        if self.count > 1:
            torch.distributed.barrier()

    @torch.no_grad()
    def same_everywhere(self, module: nn.Module) -> None:
        """Give every process the first one's parameters and buffers."""
        if self.count > 1:
            for tensor in (*module.parameters(), *module.buffers()):
                torch.distributed.broadcast(tensor.data, src=0)

    @torch.no_grad()
    def add_gradients(self, parameters: list[nn.Parameter]) -> None:
        """Sum the gradients over the processes, in one message."""
        if self.count == 1:
            return
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([grad.reshape(-1) for grad in grads])
        torch.distributed.all_reduce(flat)
        for p, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            p.grad = part.view_as(p)

    def add_sums(self, sums: dict[str, Any]) -> dict[str, Any]:
        """Sum the totals of all processes."""
        if self.count == 1:
            return sums
        total: dict[str, Any] = {}
        for part in self.gather({name: float(value) for name, value in sums.items()}):
            for name, value in part.items():
                total[name] = total.get(name, 0.0) + value
        return total

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, by rank."""
        if self.count == 1:
            return [value]
        out: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(out, value)
        return out

    @contextmanager
    def interruptible(self) -> Iterator[Callable[[], bool]]:
        """Turn the first Ctrl-C or termination signal into a flag, so that a step is finished and the run saved.

        With several processes, or outside the main thread, signals keep their usual effect.
        """
        seen: list[int] = []
        if self.count > 1 or threading.current_thread() is not threading.main_thread():
            yield lambda: False
            return
        wanted = (signal.SIGINT, signal.SIGTERM)
        before: dict[int, Any] = {number: signal.getsignal(number) for number in wanted}

        def handle(number: int, frame: Any) -> None:
            if seen:  # asked twice: at once
                signal.signal(number, before[number])
                raise KeyboardInterrupt
            seen.append(number)

        for number in wanted:
            signal.signal(number, handle)
        try:
            yield lambda: bool(seen)
        finally:
            for number in wanted:
                signal.signal(number, before[number])


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {name!r} cannot be used here ({reason}); use 'auto' or 'cpu'") from None
    return device
