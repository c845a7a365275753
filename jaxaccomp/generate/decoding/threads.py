"""Threads among which machine code that lets go of Python's lock is shared: one for each core of this process."""

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


def count() -> int:
    """How many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share(task: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> None:
    """Calls `task` with each of the arguments, and waits for all; never from within a task."""
    if len(arguments) == 1:
        task(*arguments[0])
        return
    for done in start(task, arguments):
        done.result()


def start(task: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Future]:
    """`share`, without waiting."""
    return [_pool(os.getpid()).submit(task, *each) for each in arguments]


@functools.cache
def _pool(_process: int) -> ThreadPoolExecutor:
    """This process's threads; a forked child has none of its parent's."""
    return ThreadPoolExecutor(count(), thread_name_prefix="decode")
