"""Parallel: named tasks over processes, through joblib, here or on a Dask or Ray cluster, given back as they finish.

A process that dies (out of memory, killed) takes down those beside it: their tasks are done again, one at a time, and
the one that dies alone is the failed one.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from pickle import PicklingError
from typing import Any

import joblib

from .checks import nearest

Outcome = dict[str, Any]
Tasks = Mapping[str, Any]
Work = Callable[[Any, int], Outcome]
"""What is done with a task and a number of threads, in another process; both are pickled by cloudpickle."""

_MODULES = {"dask": "distributed", "ray": "ray.util.joblib"}
DIED = "the process that trained it died, mostly because memory ran out; use fewer jobs or a smaller batch"
UNSENT = "it cannot be sent to another process, because it holds what cannot be pickled; use jobs=1"


def outcomes(tasks: Tasks, work: Work, jobs: int, backend: str = "loky") -> Iterator[tuple[str, Outcome]]:
    """The name of every task and what ``work`` gave of it, as they finish.

    Args:
        tasks: what to do, by name.
        work: gives an outcome and raises nothing but for Ctrl-C.
        jobs: tasks at a time; 1 with "loky" does them one after the other in this process.
        backend: "loky" for processes of this machine, "dask" or "ray" for a cluster.
    """
    waiting, threads, died = dict(tasks), share_of_threads(jobs), _deaths(backend)
    with _engine(backend, jobs):
        try:
            for name, outcome in _run(tasks, work, threads, jobs, backend):
                del waiting[name]
                yield name, outcome
        except (*died, PicklingError):
            pass
        for name, task in waiting.items():
            try:
                ((_, outcome),) = _run({name: task}, work, threads, max(jobs, 2), backend)
            except died:
                outcome = {"error": DIED}
            except PicklingError:
                outcome = {"error": UNSENT}
            yield name, outcome


def check_backend(backend: str) -> None:
    """ValueError for a backend that is unknown or not installed."""
    if backend not in ("loky", *_MODULES):
        raise ValueError(f"backend {backend!r} is unknown; {nearest(str(backend), ('loky', *_MODULES))}")
    if backend in _MODULES:
        _installed(backend)


def share_of_threads(jobs: int) -> int:
    """Threads for each of so many jobs: the cores shared out, and never more than torch was told to use."""
    import torch

    return max(1, min(torch.get_num_threads(), joblib.cpu_count() // jobs))


def _run(tasks: Tasks, work: Work, threads: int, jobs: int, backend: str) -> Iterator[tuple[str, Outcome]]:
    calls = (joblib.delayed(_one)(work, name, task, threads) for name, task in tasks.items())
    if backend == "ray":  # whose joblib backend gives nothing back before all is done: in rounds
        with joblib.Parallel(n_jobs=jobs) as parallel:
            while few := [*itertools.islice(calls, jobs)]:
                yield from parallel(few)  # type: ignore[misc]
        return
    one_by_one: dict[str, Any] = {"return_as": "generator_unordered", "pre_dispatch": jobs, "batch_size": 1}
    found: Any = joblib.Parallel(n_jobs=jobs, **one_by_one)(calls)
    try:
        yield from found
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that what was under way is lost
            found.close()


def _one(work: Work, name: str, task: Any, threads: int) -> tuple[str, Outcome]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return name, work(task, threads)
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _engine(backend: str, jobs: int) -> Iterator[None]:
    """joblib with a backend, started if it has to be."""
    with contextlib.ExitStack() as stack:
        if backend == "dask":
            _enter_dask(stack, jobs)
        elif backend == "ray":
            _installed("ray").register_ray()
        stack.enter_context(joblib.parallel_config(backend=backend))
        yield


def _enter_dask(stack: contextlib.ExitStack, jobs: int) -> None:
    """The Dask client of this process, that of the scheduler which Dask is configured for, or one of our own."""
    distributed = _installed("dask")
    try:
        distributed.get_client()
    except ValueError:
        configured = importlib.import_module("dask").config.get("scheduler-address", None)
        address = configured or os.environ.get("DASK_SCHEDULER_ADDRESS")
        local: dict[str, Any] = {"n_workers": jobs, "threads_per_worker": 1, "dashboard_address": None}
        stack.enter_context(distributed.Client(address) if address else distributed.Client(**local))


def _deaths(backend: str) -> tuple[type[BaseException], ...]:
    """What is raised here when a process of the backend dies there."""
    if backend == "dask":
        return (_installed("dask").KilledWorker,)
    return (importlib.import_module("ray.exceptions").RayError if backend == "ray" else BrokenProcessPool,)


def _installed(backend: str) -> Any:
    """The module behind a cluster's backend."""
    try:
        return importlib.import_module(_MODULES[backend])
    except ImportError:
        raise ValueError(f"backend {backend} is not installed; pip install 'ppl_vae[{backend}]'") from None
