import os
import signal
import time

import pytest

from jaxaccomp.data import pool
from jaxaccomp.errors import DatasetError

LIMIT_S = 60.0


def act(item):
    what, marker = item
    if what == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "crash once" and not os.path.exists(marker):
        open(marker, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "raise":
        raise KeyError("nobody expected this")
    if what == "hang":
        time.sleep(3600)
    return what.upper()


def test_a_deadly_item_costs_itself_alone(tmp_path):
    marker = str(tmp_path / "crashed")
    items = [(what, marker) for what in ("a", "crash", "b", "raise", "crash once", "c", "d")]
    results = dict(pool.run(act, items, 2, LIMIT_S))
    assert {item[0]: result for item, result in results.items() if not isinstance(result, pool.Lost)} == {
        "a": "A", "b": "B", "c": "C", "d": "D", "crash once": "CRASH ONCE",
    }  # fmt: skip
    assert results[("crash", marker)].reason == "crashed"
    assert "SIGSEGV" in results[("crash", marker)].message
    assert results[("raise", marker)].reason == "error"
    assert "nobody expected this" in results[("raise", marker)].message


def test_a_hanging_item_is_given_up_and_the_next_one_runs():
    results = dict(pool.run(act, [("hang", ""), ("a", "")], 1, 3.0))
    assert results[("hang", "")].reason == "timed-out"
    assert results[("a", "")] == "A"


def test_no_work_starts_no_worker():
    assert list(pool.run(act, [], 4, LIMIT_S)) == []


class Deadly:
    """Ends every process that it is unpickled in."""

    def __reduce__(self):
        return os._exit, (3,)

    def __call__(self, item):
        return item


def test_workers_that_never_start_are_told():
    with pytest.raises(
        DatasetError, match=r"worker processes do not start \(the process that read it died of exit code 3"
    ):
        list(pool.run(Deadly(), ["a", "b"], 1, LIMIT_S))
