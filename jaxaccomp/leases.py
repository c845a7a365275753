"""One writer at a time on a bucket, whatever machine it is on: a small file that its writer renews and others respect.

The bucket creates the file only if it is not there, so that of two runs one gets it. A run that was killed leaves it
behind; it counts no more once nobody has renewed it for a while.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from jaxaccomp import remote
from jaxaccomp.errors import JaxAccompError, RemoteError

NAME = ".lease"
RENEWED_EVERY_S = 10.0
"""Seconds between two renewals."""
SILENT_S = 60.0
"""Seconds without a renewal after which a writer on another machine counts as gone."""
_LOOK_EVERY_S = 2.0


@contextlib.contextmanager
def held(address: str | os.PathLike, error: type[JaxAccompError]) -> Iterator[None]:
    """Holds a folder on a bucket for one writer; without effect for a folder of this machine.

    A writer that loses the folder to another one, since it could not renew in time, ends its process.

    Args:
        address: the folder.
        error: what a refusal is raised as.

    Raises:
        JaxAccompError: of the given class: another run is writing there.
        RemoteError: the bucket cannot be reached.
    """
    if not remote.is_remote(address):
        yield
        return
    folder = os.fspath(address).rstrip("/")
    ours = {"host": socket.gethostname(), "machine": _machine(), "process": os.getpid(), "run": uuid.uuid4().hex}
    _take(folder, ours, error)
    ended = threading.Event()
    thread = threading.Thread(target=_renew, args=(folder, ours, ended), name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with contextlib.suppress(RemoteError):  # it falls silent by itself
            if _read(folder).get("run") == ours["run"]:
                remote.remove(folder, [NAME])


def _take(folder: str, ours: dict[str, Any], error: type[JaxAccompError]) -> None:
    seen, since_s = None, time.monotonic()
    while not remote.create_text(f"{folder}/{NAME}", json.dumps(ours)):
        found = _read(folder)
        who = f"{found.get('host', '?')}, process {found.get('process', '?')}"
        gone = found.get("machine") == ours["machine"] and not _lives(found.get("process"))
        if seen is None and not gone and found:
            print(
                f"{folder}: a run on {who} was writing there; seeing for up to {SILENT_S:.0f} s if it is still there",
                file=sys.stderr,
            )
            seen, since_s = found, time.monotonic()
        elif seen is not None and found and found != seen:
            raise error(f"{folder}: another run is writing there ({who}); wait for it to end, or choose another folder")
        if gone or time.monotonic() - since_s > SILENT_S:
            remote.remove(folder, [NAME])
        else:
            time.sleep(_LOOK_EVERY_S)


def _renew(folder: str, ours: dict[str, Any], ended: threading.Event) -> None:
    beat = 0
    while not ended.wait(RENEWED_EVERY_S):
        with contextlib.suppress(RemoteError):  # the next renewal may succeed
            found = _read(folder)
            if found.get("run", ours["run"]) != ours["run"]:  # a damaged file has none, and is written anew
                said = f"{folder}: a run on {found.get('host', '?')} has taken this folder; ended here without writing"
                os.write(2, f"\njaxaccomp: {said}\n".encode(errors="backslashreplace"))
                os._exit(1)
            beat += 1
            remote.write_text(f"{folder}/{NAME}", json.dumps({**ours, "beat": beat}))


def _read(folder: str) -> dict[str, Any]:
    """What the file says; nothing if it is gone or damaged."""
    with contextlib.suppress(ValueError):
        found = json.loads(remote.read_text(f"{folder}/{NAME}") or "{}")
        if isinstance(found, dict):
            return found
    return {"host": "?"}


def _machine() -> str | None:
    """Tells machines, and containers on them, apart; None where that cannot be told."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return f"{file.read().strip()}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _lives(process: object) -> bool:
    if not isinstance(process, int):
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
