"""Worker processes that may die: one bad file costs one file.

A parser written in C++ can crash or hang on damaged input. Every item is therefore handed to a worker on its own; when
a worker dies or takes too long, the item it held is known, and a fresh worker takes its place. The item is tried once
more, since the killer may have come from outside; then its fate is its result.
"""

import contextlib
import multiprocessing
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

MEMORY_BYTES = 4 << 30
"""What a worker may take beside what it starts with; a file that wants more is refused, the machine stays usable."""

_END = object()


@dataclass(frozen=True)
class Lost:
    """Result of an item that no worker finished.

    Attributes:
        reason: `crashed`, `timed-out`, or `error` for an exception nobody expected.
        message: what is known about it.
    """

    reason: str
    message: str


def run(
    function: Callable[[Any], Any], items: Sequence[Any], workers: int, timeout_s: float
) -> Iterator[tuple[Any, Any]]:
    """Applies a function to items in worker processes.

    Args:
        function: importable by name, as are its arguments and results picklable.
        items: handed out in this order as workers become free.
        workers: number of processes, at most.
        timeout_s: a worker is killed when an item takes longer.

    Yields:
        Pairs (item, result), in the order in which they are finished; a result is a `Lost` where there is none.
    """
    todo = iter(items)
    crew = [_Worker(function) for _ in range(min(workers, len(items)))]
    try:
        idle, busy, again = list(crew), {}, []
        while True:
            while idle:
                item, tries = again.pop() if again else (next(todo, _END), 1)
                if item is _END:
                    break
                worker = idle.pop()
                worker.start(item, tries)
                busy[worker.connection] = worker
            if not busy:
                return
            patience_s = max(0.0, min(worker.started_s for worker in busy.values()) + timeout_s - time.monotonic())
            for connection in wait(list(busy), patience_s):
                worker = busy.pop(connection)
                try:
                    result = worker.connection.recv()
                    idle.append(worker)
                except (EOFError, OSError):
                    result = worker.obituary()
                    idle.append(_replace(crew, worker, function))
                    if worker.tries == 1:
                        again.append((worker.item, 2))
                        continue
                yield worker.item, result
            for connection, worker in list(busy.items()):
                if time.monotonic() - worker.started_s > timeout_s:
                    del busy[connection]
                    idle.append(_replace(crew, worker, function))
                    yield worker.item, Lost("timed-out", f"not done after {timeout_s:g} s; the worker was killed")
    finally:
        for worker in crew:
            worker.kill()


class _Worker:
    """A process and the item it holds."""

    def __init__(self, function: Callable[[Any], Any]):
        context = multiprocessing.get_context("spawn")  # forking a process that has threads can deadlock
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, function), daemon=True)
        self._process.start()
        theirs.close()
        self.item: Any = None
        self.tries = 0
        self.started_s = 0.0

    def start(self, item: Any, tries: int) -> None:
        self.item, self.tries, self.started_s = item, tries, time.monotonic()
        with contextlib.suppress(OSError):  # it died while idle; waiting for its answer tells
            self.connection.send(item)

    def obituary(self) -> Lost:
        self._process.join()
        code = self._process.exitcode
        try:
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        except ValueError:
            how = f"signal {-code}"
        return Lost("crashed", f"the process that read it died of {how}")

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self.connection.close()


def _replace(crew: list[_Worker], worker: _Worker, function: Callable[[Any], Any]) -> _Worker:
    worker.kill()
    crew[crew.index(worker)] = fresh = _Worker(function)
    return fresh


def _work(connection: Connection, function: Callable[[Any], Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to handle
    with contextlib.suppress(ValueError, OSError):  # not every system has such a limit
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        try:
            result = function(item)
        except Exception as error:
            result = Lost("error", f"{type(error).__name__}: {error}")
        try:
            connection.send(result)
        except OSError:
            return  # the parent is gone
