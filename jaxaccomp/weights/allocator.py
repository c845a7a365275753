"""Keeps the C library from hoarding what large reads have freed."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_SMALL = 2**20
_LARGEST = 32 * 2**20


@contextmanager
def frugal() -> Iterator[None]:
    """While it lasts, each freed buffer of a megabyte or more goes straight back to the system (glibc; else nothing).

    Reading a checkpoint passes its bytes through many buffers on many threads. Left alone, glibc keeps them in one
    pool for each thread: 150 to 200 MB after a checkpoint of 924 MB. Afterwards the thresholds stand where glibc
    moves them itself in a process that has once freed a buffer of 32 MB.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        yield
        return
    mallopt(_MMAP_THRESHOLD, _SMALL)
    try:
        yield
    finally:
        mallopt(_MMAP_THRESHOLD, _LARGEST)
        mallopt(_TRIM_THRESHOLD, 2 * _LARGEST)
