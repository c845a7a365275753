"""One writer at a time: a second run on the same folder is refused, and nothing stays behind."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from jaxaccomp.errors import JaxAccompError


@contextlib.contextmanager
def locked(folder: Path, error: type[JaxAccompError], name: str = ".lock", wait: bool = False) -> Iterator[None]:
    """Holds a folder for one writer; its lock file is gone afterwards, and a killed process holds nothing.

    Args:
        folder: made if missing; removed again if nothing came to be in it.
        error: what a refusal is raised as.
        name: of the lock file.
        wait: for the other writer to end, instead of refusing.

    Raises:
        JaxAccompError: of the given class: another process writes there, or the folder cannot be made.
    """
    path = folder / name
    made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _locked(path, wait)
    except BlockingIOError as refusal:
        raise error(
            f"{folder}: another run is writing there; wait for it to end, or choose another folder"
        ) from refusal
    except OSError as refusal:
        raise error(
            f"{folder}: cannot be written ({refusal.strerror}); choose another folder, or free some space"
        ) from refusal
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)  # before it is let go: who waits for it looks whether it is still there
        os.close(descriptor)
        with contextlib.suppress(OSError):
            for empty in made:
                empty.rmdir()


def _locked(path: Path, wait: bool) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(descriptor)
            raise
        except OSError:
            return descriptor  # a network file system without locks: better to work than to refuse
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        os.close(descriptor)  # the one before has removed it meanwhile
