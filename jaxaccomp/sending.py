"""Folders on a bucket that are written here and sent as they grow."""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from jaxaccomp import remote
from jaxaccomp.errors import RemoteError

_SEND_EVERY_S = 30.0


@contextlib.contextmanager
def writable(path: str | os.PathLike | None, kind: str) -> Iterator[Path | None]:
    """A folder of this machine as it is; for one on a bucket, a copy of it whose changes are sent every half minute.

    Args:
        path: the folder, or None, which comes back.
        kind: what it is, a word for the cache's folder.

    Raises:
        RemoteError: it cannot be read or written.
    """
    if path is None or not remote.is_remote(path):
        yield None if path is None else Path(path)
        return
    folder = remote.mirror(path, kind)
    ended = threading.Event()

    def send_changes() -> None:
        while not ended.wait(_SEND_EVERY_S):
            with contextlib.suppress(RemoteError):  # said at the end, if it is still so
                remote.send(folder, path)

    thread = threading.Thread(target=send_changes, name="sender", daemon=True)
    thread.start()
    try:
        yield folder
    finally:
        ended.set()
        thread.join()
        remote.send(folder, path)
