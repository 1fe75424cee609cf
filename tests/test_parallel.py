"""Tasks over processes: all of them come back, whatever one of them does."""

import os
import threading
import time

import pytest
import torch

from ppl_vae.parallel import DIED, UNSENT, check_backend, outcomes, share_of_threads


def tasks(count):
    return {f"c{i}": {"number": i} for i in range(count)}


def threads_of(task, threads):
    return {"asked": threads, "threads": torch.get_num_threads(), "process": os.getpid()}


def dies_at_1(task, threads):
    if task["number"] == 1:
        time.sleep(0.3)
        os._exit(9)
    return fine(task, threads)


def fine(task, threads):
    return {"fine": task["number"]}


def test_one_job_stays_in_this_process_and_leaves_its_threads_alone():
    before = torch.get_num_threads()
    found = [outcome for _, outcome in outcomes(tasks(3), threads_of, jobs=1)]
    assert [outcome["process"] for outcome in found] == [os.getpid()] * 3
    assert torch.get_num_threads() == before


def test_several_jobs_are_other_processes_with_their_share_of_threads():
    found = dict(outcomes(tasks(4), threads_of, jobs=2))
    assert found.keys() == {"c0", "c1", "c2", "c3"}
    assert os.getpid() not in {outcome["process"] for outcome in found.values()}
    assert all(outcome["threads"] == outcome["asked"] == share_of_threads(2) for outcome in found.values())


def test_threads_are_shared_out_and_never_none(monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    assert [share_of_threads(jobs) for jobs in (1, 2, 4, 100)] == [6, 4, 2, 1]


def test_a_process_that_dies_costs_only_its_own_task():
    found = dict(outcomes(tasks(4), dies_at_1, jobs=2))
    assert found.pop("c1") == {"error": DIED}
    assert found == {f"c{i}": {"fine": i} for i in (0, 2, 3)}


def test_a_task_that_cannot_be_sent_fails_alone():
    some = tasks(3)
    some["c0"]["lock"] = threading.Lock()
    found = dict(outcomes(some, fine, jobs=2))
    assert found == {"c0": {"error": UNSENT}, "c1": {"fine": 1}, "c2": {"fine": 2}}


@pytest.mark.parametrize(("backend", "module"), [("dask", "distributed"), ("ray", "ray.util.joblib")])
def test_a_missing_backend_says_what_to_install(backend, module, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(ValueError, match=rf"backend {backend} is not installed; pip install 'ppl_vae\[{backend}\]'"):
        check_backend(backend)


@pytest.mark.slow
def test_dask(tmp_path):
    pytest.importorskip("distributed")
    found = dict(outcomes(tasks(3), threads_of, jobs=2, backend="dask"))
    assert found.keys() == {"c0", "c1", "c2"}
