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

from jaxaccomp.errors import DatasetError

MEMORY_BYTES = 4 << 30
"""What a worker may take beside what it starts with; a file that wants more is refused, the machine stays usable."""

_FALSE_STARTS = 3
"""Workers in a row that may die before they are up."""
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


class _Ready:
    """A worker's first message."""


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

    Raises:
        DatasetError: workers cannot be started at all.
    """
    todo = iter(items)
    crew = [_Worker(function) for _ in range(min(workers, len(items)))]
    try:
        idle, busy, again, false_starts = list(crew), {}, [], 0
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
            now = time.monotonic()
            for connection in wait(list(busy), max(0.0, min(worker.due(now, timeout_s) for worker in busy.values()))):
                worker = busy[connection]
                try:
                    result = worker.connection.recv()
                    if isinstance(result, _Ready):
                        worker.is_up(time.monotonic())
                        false_starts = 0
                        continue
                    idle.append(worker)
                except (EOFError, OSError):
                    result = worker.obituary()
                    false_starts += not worker.up
                    if false_starts > _FALSE_STARTS:
                        raise DatasetError(
                            f"worker processes do not start ({result.message}); is there enough memory, and does the "
                            "calling script guard its entry by `if __name__ == '__main__'`?"
                        ) from None
                    idle.append(_replace(crew, worker, function))
                del busy[connection]
                if isinstance(result, Lost) and result.reason == "crashed" and worker.tries == 1:
                    again.append((worker.item, 2))
                else:
                    yield worker.item, result
            now = time.monotonic()
            for connection, worker in list(busy.items()):
                if worker.due(now, timeout_s) <= 0:
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
        self.up = False
        self._since_s = 0.0

    def start(self, item: Any, tries: int) -> None:
        self.item, self.tries, self._since_s = item, tries, time.monotonic()
        with contextlib.suppress(OSError):  # it died while idle; waiting for its answer tells
            self.connection.send(item)

    def is_up(self, now_s: float) -> None:
        """Its own start does not count as time spent on its first item."""
        self.up, self._since_s = True, now_s

    def due(self, now_s: float, timeout_s: float) -> float:
        """Seconds until it has held its item for too long."""
        return self._since_s + timeout_s - now_s if self.up else timeout_s

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
    try:
        connection.send(_Ready())
    except OSError:
        return  # the parent is gone
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
            return
