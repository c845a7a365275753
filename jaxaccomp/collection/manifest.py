"""The manifest: one JSON line for each song of a collection, and what became of it."""

import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxaccomp import files, locks
from jaxaccomp.errors import CollectionError

NAME = "manifest.jsonl"
DONE, SKIPPED, FAILED = "done", "skipped", "failed"
_SHARD = re.compile(r"manifest-(\d+)-of-(\d+)\.jsonl")
_SYNC_EVERY_S = 1.0

Entry = dict[str, Any]


def shard_name(index: int, count: int) -> str:
    """File name of the manifest of one share of a collection."""
    return NAME if count == 1 else f"manifest-{index}-of-{count}.jsonl"


class Manifest:
    """A manifest open for one run; a second run on the same one is refused while it lasts.

    Each entry is appended as one line as soon as a song is settled; a later line for the same song replaces the
    earlier. What a kill cut off is dropped at the next opening. `finish` rewrites the file sorted, one line for each
    song. Only byte offsets are kept in memory, so that a collection's size hardly matters.
    """

    def __init__(self, path: Path):
        """Opens or creates the manifest and takes its lock.

        Raises:
            CollectionError: another run holds it, or it cannot be opened.
        """
        self.path = path
        self._lock = locks.locked(path.parent, CollectionError, f".{path.name}.lock")
        self._lock.__enter__()
        self._synced_s = time.monotonic()
        try:
            self._file = open(path, "a+b", buffering=0)  # noqa: SIM115 — closed by close()
            self._offsets, self._songs, end = _index(path)
            os.truncate(path, end)
        except OSError as error:
            self._lock.__exit__(None, None, None)
            raise CollectionError(f"{path}: the manifest cannot be opened ({error.strerror})") from error

    def __contains__(self, name: str) -> bool:
        return name in self._offsets

    def __len__(self) -> int:
        return len(self._offsets)

    def entry(self, name: str) -> Entry | None:
        """The last entry of a song."""
        return self._at(self._offsets[name]) if name in self._offsets else None

    def duplicate(self, digest: str) -> Entry | None:
        """The last entry of any song of that content that was done."""
        offset = self._songs.get(bytes.fromhex(digest))
        return None if offset is None else self._at(offset)

    def append(self, entry: Entry) -> None:
        """Settles a song.

        Raises:
            CollectionError: the disk is full.
        """
        offset = os.lseek(self._file.fileno(), 0, os.SEEK_END)
        try:
            _write_all(self._file.fileno(), _line(entry))
            if time.monotonic() - self._synced_s > _SYNC_EVERY_S:  # a sync a song would wait for the disk all day
                os.fsync(self._file.fileno())
                self._synced_s = time.monotonic()
        except OSError as error:
            raise CollectionError(f"{self.path}: {error.strerror}; free some space and run the same command") from error
        self._note(entry, offset)

    def drop(self, name: str) -> None:
        """Leaves a song out of the finished manifest."""
        self._offsets.pop(name, None)

    def forget(self) -> None:
        """Knows of no song any more; the file keeps its lines until `finish`."""
        self._offsets, self._songs = {}, {}

    def finish(self, names: Iterable[str]) -> None:
        """Rewrites the file sorted by song, one line each.

        Args:
            names: songs of the collection as it is now. Entries of other songs stay only if their results do.

        Raises:
            CollectionError: the disk is full; the manifest stays as it was.
        """
        current = set(names)
        kept = sorted(name for name in self._offsets if name in current or self.results(name))
        replace(self.path, (self._at(self._offsets[name]) for name in kept))
        self._file.close()
        self._file = open(self.path, "a+b", buffering=0)  # noqa: SIM115
        self._offsets, self._songs, _ = _index(self.path)

    def results(self, name: str) -> list[Path]:
        """The result files that a song's entry tells of, if all of them are there; else none."""
        entry = self.entry(name) or {}
        paths = [self.path.parent / output for output in entry.get("outputs", ())]
        return paths if all(path.is_file() and path.stat().st_size for path in paths) else []

    def close(self) -> None:
        """Gives the lock back."""
        self._file.close()
        self._lock.__exit__(None, None, None)

    def __enter__(self) -> "Manifest":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _at(self, offset: int) -> Entry:
        with open(self.path, "rb") as file:
            file.seek(offset)
            return json.loads(file.readline())

    def _note(self, entry: Entry, offset: int) -> None:
        self._offsets[entry["input"]] = offset
        if entry["status"] == DONE:
            self._songs[bytes.fromhex(entry["sha256"])] = offset


def read(path: Path) -> Iterator[Entry]:
    """The entries of a manifest in the order of the file; torn or foreign lines are left out."""
    for _, entry in _entries(path):
        yield entry


def replace(path: Path, entries: Iterable[Entry]) -> None:
    """Writes a whole manifest at once: under a temporary name, then renamed.

    Raises:
        CollectionError: it cannot be written; what was there before stays.
    """
    try:
        with files.replacing(path) as temporary, open(temporary, "wb") as file:
            for entry in entries:
                file.write(_line(entry))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise CollectionError(f"{path}: {error.strerror}; free some space and run the same command") from error


def shards(folder: Path) -> list[Path]:
    """Manifests of shares in a folder, in order."""
    found = [
        (int(match[2]), int(match[1]), path) for path in folder.iterdir() if (match := _SHARD.fullmatch(path.name))
    ]
    return [path for _, _, path in sorted(found)]


def missing_shards(paths: Sequence[Path]) -> list[str]:
    """Names of the shares that should be beside those given."""
    present = {path.name for path in paths}
    counts = {int(match[2]) for path in paths if (match := _SHARD.fullmatch(path.name))}
    return [name for count in sorted(counts) for i in range(count) if (name := shard_name(i, count)) not in present]


def merge(sources: Sequence[Path], target: Path) -> dict[str, int]:
    """Merges manifests into one, sorted; where two tell of the same song, `done` wins, then the later source.

    Returns:
        How many songs have each status.
    """
    where: dict[str, tuple[str, Path, int]] = {}
    for source in sources:
        for offset, entry in _entries(source):
            known = where.get(entry["input"])
            if known is None or entry["status"] == DONE or known[0] != DONE:
                where[entry["input"]] = (entry["status"], source, offset)
    files = {source: open(source, "rb") for source in sources}  # noqa: SIM115 — closed below

    def entries() -> Iterator[Entry]:
        for name in sorted(where):
            _, source, offset = where[name]
            files[source].seek(offset)
            yield json.loads(files[source].readline())

    try:
        replace(target, entries())
    finally:
        for file in files.values():
            file.close()
    counts: dict[str, int] = {}
    for status, _, _ in where.values():
        counts[status] = counts.get(status, 0) + 1
    return counts


def merge_into(sources: Sequence[Path], folder: Path) -> dict[str, int]:
    """Merges manifests into a folder's `manifest.jsonl`; of two processes that do so at once, one waits."""
    with locks.locked(folder, CollectionError, f".{NAME}.lock", wait=True):
        return merge(sources, folder / NAME)


def gather(source: Path, folder: Path) -> None:
    """Links the results that a manifest tells of to another folder, or copies them if that is on another disk.

    Raises:
        CollectionError: a result is missing or cannot be put there.
    """
    for entry in read(source):
        for output in entry.get("outputs", ()):
            result, target = source.parent / output, folder / output
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.unlink(missing_ok=True)
                try:
                    os.link(result, target)
                except OSError:
                    shutil.copyfile(result, target)
            except OSError as error:
                raise CollectionError(f"{result}: cannot be put to {target} ({error.strerror})") from error


def _line(entry: Entry) -> bytes:
    return json.dumps(entry).encode("ascii") + b"\n"  # ASCII: a file name that is no valid text survives as \udcXX


def _entries(path: Path) -> Iterator[tuple[int, Entry]]:
    offset = 0
    with open(path, "rb") as file:
        for line in file:
            entry = _parsed(line)
            if entry is not None:
                yield offset, entry
            offset += len(line)


def _parsed(line: bytes) -> Entry | None:
    if not line.endswith(b"\n"):
        return None  # cut off by a kill
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    well_formed = isinstance(entry, dict) and isinstance(entry.get("input"), str) and "status" in entry
    return entry if well_formed else None


def _index(path: Path) -> tuple[dict[str, int], dict[bytes, int], int]:
    """Offsets by name and by content, and the end of the last whole line."""
    names: dict[str, int] = {}
    songs: dict[bytes, int] = {}
    for offset, entry in _entries(path):
        names[entry["input"]] = offset
        if entry["status"] == DONE:
            songs[bytes.fromhex(entry["sha256"])] = offset
    data_end = path.stat().st_size
    with open(path, "rb") as file:
        while data_end:
            start = max(0, data_end - (1 << 16))
            file.seek(start)
            newline = file.read(data_end - start).rfind(b"\n")
            if newline >= 0:
                return names, songs, start + newline + 1
            data_end = start
    return names, songs, 0


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
