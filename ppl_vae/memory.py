"""Memory: the most that a piece of work took above what the process held before it."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import math
import threading

import psutil
import torch


class PeakMemory:
    """Context manager whose ``peak`` is that memory in MiB, NaN until ``stop``.

    On an accelerator it is that of CUDA's allocator, else the resident set, looked at every 10 ms.

    Args:
        device: where the work is done.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.peak = device, math.nan
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> PeakMemory:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
            self.before = torch.cuda.memory_allocated(self.device)
            return self
        # What the C library holds free is returned, or the second work of a process seems to take nothing.
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        self.process = psutil.Process()
        self.before = self.most = self.process.memory_info().rss
        self._thread.start()
        return self

    def stop(self) -> None:
        """End the watch and say what it saw; what comes after does not count."""
        if self._done.is_set():
            return
        self._done.set()
        if self.device.type == "cuda":
            self.most = torch.cuda.max_memory_allocated(self.device)
        else:
            self._thread.join()
            self.most = max(self.most, self.process.memory_info().rss)
        self.peak = (self.most - self.before) / 2**20

    def __exit__(self, *_: object) -> None:
        self._done.set()  # where nothing was stopped, nothing is said

    def _look(self) -> None:
        while not self._done.wait(0.01):
            self.most = max(self.most, self.process.memory_info().rss)
