"""Threads among which machine code that lets go of Python's lock is shared: one for each core of this process."""

import functools
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from jaxaccomp import runtime


def count() -> int:
    """How many there are, the one that asks included."""
    return runtime.cores()


def share(task: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> None:
    """Calls `task` with each of the arguments, here and in other threads, and waits for all."""
    waiting = deque(arguments)

    def work() -> None:
        while waiting:
            try:
                each = waiting.popleft()
            except IndexError:  # another thread took the last one
                return
            task(*each)

    helpers = min(len(arguments), count()) - 1
    helping = [_pool(os.getpid()).submit(work) for _ in range(helpers)]
    try:
        work()
    finally:
        for done in helping:
            if not done.cancel():  # one that has not begun finds nothing left
                done.result()


def start(task: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Future]:
    """Calls `task` with each of the arguments in other threads, without waiting."""
    return [_pool(os.getpid()).submit(task, *each) for each in arguments]


@functools.cache
def _pool(_process: int) -> ThreadPoolExecutor:
    """This process's threads; a forked child has none of its parent's."""
    return ThreadPoolExecutor(count(), thread_name_prefix="decode")
