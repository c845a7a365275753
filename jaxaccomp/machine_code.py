"""Loops that numba compiles when they are first called, kept beside JAX's compiled programs."""

import inspect
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxaccomp import files, locks
from jaxaccomp.errors import JaxAccompError

_deciding = threading.Lock()


def compiled(function: Callable) -> Callable:
    """A function that becomes machine code when it is first called, which outlives the process if a folder takes it.

    It is kept where JAX's programs are, see `files.compilation_cache`, and never in the package's own folder;
    `$NUMBA_CACHE_DIR` goes first.

    Args:
        function: what numba can compile; what it calls must be compiled likewise.
    """
    import numba

    function = inspect.unwrap(function)  # under pytest, type checks are wrapped around every function
    folder = _folder()
    if folder is None:
        return numba.njit(nogil=True)(function)
    with _deciding:  # numba asks for the folder now, and other packages' loops are to find theirs
        before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(folder)  # ty: ignore[missing-attribute]
        try:
            return _saved_by_one(numba.njit(cache=True, nogil=True)(function), folder)
        except RuntimeError:  # it cannot be written
            return numba.njit(nogil=True)(function)
        finally:
            numba.config.CACHE_DIR = before  # ty: ignore[missing-attribute]


def _saved_by_one(compiled: Any, folder: Path) -> Any:
    """Lets one process at a time save there.

    Two that have compiled a function for different types could else take the same file for both, and load each other's.
    """
    save = compiled._cache.save_overload

    def save_alone(signature: Any, data: Any) -> None:
        with locks.locked(folder, JaxAccompError, wait=True):
            save(signature, data)

    compiled._cache.save_overload = save_alone
    return compiled


def _folder() -> Path | None:
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(chosen)
    try:
        folder = files.compilation_cache()
        if folder is None:
            return None
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: no home folder
        return None
    return folder / "numba" if os.access(folder, os.W_OK) else None
