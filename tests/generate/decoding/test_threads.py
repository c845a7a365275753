import functools
import threading

import pytest

from jaxaccomp.generate.decoding import threads


@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_task_is_done_once(monkeypatch, count):
    monkeypatch.setattr(threads, "count", lambda: count)
    done = []
    threads.share(lambda a, b: done.append((a, b)), [(n, -n) for n in range(20)])
    assert sorted(done) == [(n, -n) for n in range(20)]
    threads.share(done.append, [])
    assert len(done) == 20


def test_two_tasks_run_at_once(monkeypatch):
    monkeypatch.setattr(threads, "count", lambda: 2)
    both = threading.Barrier(2, timeout=20)
    threads.share(lambda: both.wait() and None, [(), ()])


def test_a_task_that_fails_is_told_wherever_it_ran(monkeypatch):
    monkeypatch.setattr(threads, "count", lambda: 3)
    for bad in range(3):
        with pytest.raises(ZeroDivisionError):
            threads.share(lambda n, bad=bad: 1 // (n - bad), [(n,) for n in range(3)])


def test_a_caller_does_not_wait_for_anothers_tasks(monkeypatch):
    monkeypatch.setattr(threads, "count", lambda: 2)
    monkeypatch.setattr(threads, "_pool", functools.cache(threads._pool.__wrapped__))
    end, done = threading.Event(), []
    others = threads.start(lambda: end.wait(20), [(), ()])  # all that there are
    threads.share(lambda n: done.append((n, end.is_set())), [(1,), (2,)])
    assert done == [(1, False), (2, False)]
    end.set()
    assert all(other.result() for other in others)
