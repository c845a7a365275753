"""Files that are whole or not there, folders searched for MIDI files, and the folder for what can be made again."""

import contextlib
import os
import stat
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

MIDI_SUFFIXES = (".mid", ".midi", ".smf", ".kar", ".rmi")
"""Endings of MIDI files, in any letter case."""

COMPILATION_CACHE = "JAXACCOMP_CACHE"
"""Environment variable: a folder for compiled programs, or `off`."""

_LONGEST_STEM = 40
"""Characters of a name that its temporary one repeats: names end at 255 bytes, and a character may take four."""

Identity = tuple[int, int]


def temporary_path(path: str | os.PathLike) -> Path:
    """A name beside `path` that no other process or thread uses, hidden, and with the same ending."""
    path = Path(path)
    return path.with_name(f".{path.stem[:_LONGEST_STEM]}.{os.getpid()}-{threading.get_ident()}{path.suffix}")


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Lets a file be written under a temporary name, and renames it to `path` if the block ends without an error.

    So a reader finds the old file or the whole new one, and what a failure leaves behind is removed.

    Args:
        path: the file's own name; its folder must exist.

    Yields:
        The temporary name, in the same folder and with the same ending.

    Raises:
        OSError: it cannot be renamed.
    """
    temporary = temporary_path(path)
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def identity(path: str | os.PathLike) -> Identity | None:
    """What a file or folder is, whatever it is called; None if it is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def find_midi(
    folder: str | os.PathLike, left_out: str | os.PathLike | None = None, passed_over: Counter[str] | None = None
) -> Iterator[tuple[str, os.stat_result | None]]:
    """Everything below a folder that is called like a MIDI file, at any depth, in no order.

    Links are followed, unless they lead back to a folder they lie in.

    Args:
        folder: where to search.
        left_out: a folder that is passed over, under any name.
        passed_over: counts the files that are called otherwise, by their ending in small letters; hidden ones do not
            count.

    Yields:
        Path, which begins with `folder`, and status; a folder may be called so, too. The status is None where there is
        nothing to read: a link that leads nowhere, or a folder that cannot be listed, whatever its name.
    """
    skipped = None if left_out is None else identity(left_out)
    waiting: list[tuple[str, tuple[Identity, ...]]] = [(os.fspath(folder), ())]
    while waiting:
        folder, above = waiting.pop()
        here = identity(folder)
        if here is None or here == skipped or here in above:
            continue
        try:
            with os.scandir(folder) as listing:
                paths = [(entry.name, entry.path) for entry in listing]
        except OSError:
            yield folder, None
            continue
        for name, path in paths:
            try:
                status = os.stat(path)
            except OSError:
                status = None
            if name.lower().endswith(MIDI_SUFFIXES):
                yield path, status
            elif passed_over is not None and status is not None and stat.S_ISREG(status.st_mode) and name[0] != ".":
                passed_over[os.path.splitext(name)[1].lower()] += 1
            if status is not None and stat.S_ISDIR(status.st_mode):
                waiting.append((path, (*above, here)))


def cache_folder() -> Path:
    """The user's folder for what this program can fetch or make again; it may not exist yet.

    Raises:
        RuntimeError: there is no home folder.
    """
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "jaxaccomp"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxaccomp"


def compilation_cache() -> Path | None:
    """Folder in which compiled programs are kept between runs, or None if they are not.

    `$JAXACCOMP_CACHE` names it; `off` (or an empty value) turns it off. By default it lies in the user's cache folder.

    Raises:
        RuntimeError: there is no home folder.
    """
    chosen = os.environ.get(COMPILATION_CACHE)
    if chosen is not None:
        return None if chosen.lower() in ("", "off", "0") else Path(chosen).expanduser()
    return cache_folder() / "compiled"
