import builtins
import os
import signal
import time

import psutil
import pytest

from jaxaccomp.errors import WorkerError
from jaxaccomp.processes import Job, JobFailure, Workers


@pytest.fixture(scope="module")
def workers():
    with Workers(2, time_limit_s=1.5, memory_limit_mib=300) as pool:
        yield pool


def _settle(pool, *jobs):
    for job in jobs:
        pool.submit(job)
    results, deadline_s = {}, time.monotonic() + 60
    while len(results) < len(jobs):
        assert time.monotonic() < deadline_s
        results.update({job.tag: result for job, result in pool.results(timeout_s=1.0)})
    assert pool.pending == 0
    return results


def test_jobs_come_back_and_each_kind_of_failure_costs_one_job(workers):
    jobs = [Job(abs, (-i,), tag=i) for i in range(20)]
    jobs[3] = Job(time.sleep, (60,), tag="slow")
    jobs[7] = Job(os._exit, (7,), tag="dies")
    jobs[9] = Job(os.abort, (), tag="aborts")
    jobs[11] = Job(builtins.bytearray, (2**31,), tag="big")
    jobs[13] = Job(int, ("x",), tag="raises")
    results = _settle(workers, *jobs)
    assert {tag: result for tag, result in results.items() if isinstance(tag, int)} == {
        i: i for i in range(20) if i not in (3, 7, 9, 11, 13)
    }
    failures = {tag: result.code for tag, result in results.items() if isinstance(result, JobFailure)}
    assert failures == {
        "slow": "time-limit",
        "dies": "worker-died",
        "aborts": "worker-died",
        "big": "memory-limit",
        "raises": "unexpected",
    }
    assert "exit code 7" in results["dies"].reason
    assert "SIGABRT" in results["aborts"].reason
    assert "ValueError" in results["raises"].reason


def test_a_worker_killed_from_outside_costs_nothing(workers):
    _settle(workers, *(Job(abs, (1,), tag=i) for i in range(4)))
    for i in range(6):
        workers.submit(Job(time.sleep, (0.4,), tag=i))
    list(workers.results(timeout_s=0.1))
    os.kill(workers.pids()[0], signal.SIGKILL)
    results = {}
    while workers.pending:
        results.update({job.tag: result for job, result in workers.results()})
    assert results == dict.fromkeys(range(6))


def test_urgent_jobs_go_first():
    with Workers(1, time_limit_s=9.0, memory_limit_mib=300) as pool:
        for i in range(3):
            pool.submit(Job(abs, (i,), tag=i))
        pool.submit(Job(abs, (9,), tag="urgent"), urgent=True)
        order = []
        while pool.pending:
            order += [job.tag for job, _ in pool.results()]
    assert order == ["urgent", 0, 1, 2]


def test_workers_hold_no_jax(workers):
    _settle(workers, Job(abs, (1,), tag=1))
    for pid in workers.pids():
        assert not any("jaxlib" in mapped.path for mapped in psutil.Process(pid).memory_maps())


def test_each_item_is_settled_once(workers):
    assert sorted(workers.each(abs, range(-9, 9))) == [(i, abs(i)) for i in range(-9, 9)]
    assert list(workers.each(abs, [])) == []
    results = dict(workers.each(int, ["1", "x", "2"]))
    assert isinstance(results.pop("x"), JobFailure)
    assert results == {"1": 1, "2": 2}


def test_workers_that_cannot_start_are_a_sentence(monkeypatch, capfd):
    monkeypatch.setattr("jaxaccomp.processes._serve", os._exit)  # refuses its arguments, and dies of that
    pool = Workers(1, time_limit_s=9.0, memory_limit_mib=300)
    with pytest.raises(WorkerError, match="before their first job"):
        _settle(pool, Job(abs, (1,)))
    pool.close()
    capfd.readouterr()
