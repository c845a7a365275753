"""A folder of MIDI files → the dataset `trio_windows`.

Three stages, each of which a killed run takes up where it stopped: every file becomes an archive of its windows
(`staging`); all archives together decide which songs are duplicates or versions of each other and on which side of the
split they lie; the shards are written. The dataset's folder appears under its own name only when all of it is there.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from jaxaccomp.arrays import STEPS
from jaxaccomp.data import clusters, shards, splits, staging
from jaxaccomp.data.publishing import Publication
from jaxaccomp.data.staging import Archive, WindowsConfig, WindowsJob
from jaxaccomp.errors import DatasetError
from jaxaccomp.files import MIDI_SUFFIXES
from jaxaccomp.processes import JobFailure, Workers

NAME = "trio_windows"
LEDGER = "ledger.jsonl"
COLUMNS = {
    "tokens": ((STEPS, 3), np.int16),
    "song": ((), str),
    "segment": ((), np.int32),
    "bar": ((), np.int32),
    "instruments": ((3,), np.int16),
    "programs": ((3,), np.int16),
    "qpm": ((), np.float32),
}
"""`segment` counts stretches of one tempo and meter from 0, `bar` from the segment's start; `qpm` is its tempo."""
DESCRIPTION = (
    "16-bar windows of songs: tokens of melody, bass and drums (axis 1) at each sixteenth (axis 0). `song` is a hash "
    "of the notes, `segment` and `bar` tell where the window begins, `instruments` and `programs` whose notes it holds."
)
EXAMPLES_PER_SHARD = 32768
"""Some 15 MB."""
FILE_SECONDS = 120.0
"""A worker that takes longer over one file is killed."""
_SHARD_SECONDS = 7200.0
_MEMORY_MIB = 4096
"""What a worker may take beside what it starts with; a file that wants more is refused, the machine stays usable."""
_EXAMPLES_WORTH_A_PROCESS = 10000

Engine = Callable[[Callable[[Any], Any], list[Any], float], Iterable[tuple[Any, Any]]]
"""Applies a function to jobs within a time limit for each, and yields (job, result) as they are done."""


@dataclass(frozen=True)
class WindowedSong:
    """A file that gives windows.

    Attributes:
        name: of the file, relative to the input folder.
        content: hash of its notes.
        cluster: content hash of the first song of its cluster.
        split: where its windows go.
        kept: indices of its windows that go there.
        archive: where they are.
    """

    name: str
    content: str
    cluster: str
    split: str
    kept: np.ndarray
    archive: Path


def build(
    source: Path,
    out: str | os.PathLike,
    config: WindowsConfig,
    *,
    workers: int = 1,
    shard_count: int | None = None,
    engine: Engine | None = None,
    split_table: Path | None = None,
    progress: Callable[..., Any] = tqdm,
) -> dict[str, Any]:
    """Writes the dataset, or takes up a run that was interrupted.

    Args:
        source: folder of MIDI files.
        out: the dataset goes to `out/trio_windows/1.0.0`, here or on a bucket.
        config: which windows to take.
        workers: processes.
        shard_count: shards of each split; default one for each 32,768 windows.
        engine: what runs the work; default `workers` processes on this machine.
        split_table: CSV file that says where songs go, see `splits.read`; default: their hashes decide.
        progress: shows how far it is, called as `tqdm` is.

    Returns:
        `windows` by split, `files` by ledger status, `folder`.

    Raises:
        DatasetError: no MIDI files, a table of no use, or the folder holds a dataset of other files or options.
    """
    engine = engine or partial(_in_workers, workers)
    if not source.is_dir():
        raise DatasetError(f"{source}: no such folder; expected a folder of MIDI files")
    files = list(staging.find(source))
    if not files:
        raise DatasetError(f"{source}: no MIDI file here; expected files named *{', *'.join(MIDI_SUFFIXES)}")
    options = config.options() | {"shards": shard_count, "format": staging.FORMAT}
    reading = _digest(options)
    listed = splits.read(split_table, [name for name, _ in files]) if split_table else {}
    if split_table:
        options["splits"] = {"files": len(listed), "digest": _digest(sorted(listed.items()))}
    identity = _digest([options, [(name, status.st_size if status else None) for name, status in files]])
    publication = Publication(out, NAME)
    folder = publication.folder
    publication.take_up(None, identity)
    if folder.exists():
        return _finished(publication, identity)
    stage_folder = folder.parent / f".staging-{reading[:16]}"
    archives = _stage(source, files, config, stage_folder, engine, progress)
    songs, ledger = _plan(files, archives, listed)
    rows = {split: [song for song in songs if song.split == split and len(song.kept)] for split in shards.SPLITS}
    counts = {split: sum(len(song.kept) for song in members) for split, members in rows.items()}
    shard_lengths = {
        split: shards.lengths(count, shard_count, EXAMPLES_PER_SHARD) for split, count in counts.items() if count
    }
    plan = _digest([options, [(song.content, song.split, song.kept.tolist()) for song in songs]])
    building = folder.parent / f".building-{plan[:16]}"
    building.mkdir(parents=True, exist_ok=True)
    shards.clear(building)
    _write_shards(building, rows, shard_lengths, engine, progress)
    _write_lines(building / shards.SONGS, _song_lines(rows, ledger))
    _write_lines(building / LEDGER, ledger)
    shards.write_metadata(building, NAME, COLUMNS, shard_lengths, DESCRIPTION, options | {"identity": identity})
    building.rename(folder)
    return _finished(publication, identity)


def require_trios(source: str | os.PathLike) -> dict[str, Any]:
    """Metadata of a dataset that must hold windows of all three parts.

    Raises:
        DatasetError: it holds no windows, or drums alone.
    """
    metadata = shards.require_kind(source, NAME)
    if metadata.get("parts", "trio") != "trio":
        raise DatasetError(
            f"{source}: holds drums alone, expected melody, bass and drums; it goes with `train.py joint --drum-data`"
        )
    return metadata


def _in_workers(
    count: int, function: Callable[[Any], Any], jobs: Sequence[Any], limit_s: float
) -> Iterator[tuple[Any, Any]]:
    limits = {"time_limit_s": limit_s, "memory_limit_mib": _MEMORY_MIB}
    with Workers(min(count, len(jobs)), **limits, preload=[function.__module__]) as workers:
        yield from workers.each(function, jobs)


def _stage(
    source: Path,
    files: list[tuple[str, Any]],
    config: WindowsConfig,
    folder: Path,
    engine: Engine,
    progress: Callable[..., Any],
) -> list[Path]:
    """Makes the archives that are not there yet; returns the path of each file's."""
    archives, jobs = [], []
    for name, status in files:
        key = _digest([name, (status.st_size, status.st_mtime_ns) if status else None])
        archive = folder / key[:2] / f"{key[2:32]}.npz"
        archives.append(archive)
        if not archive.exists():
            archive.parent.mkdir(parents=True, exist_ok=True)
            jobs.append(WindowsJob(str(source / name), str(archive), config))
    done = engine(staging.stage, jobs, FILE_SECONDS)
    for job, result in progress(done, total=len(jobs), desc="reading", unit="file", disable=None):
        if (
            isinstance(result, JobFailure) and result.code == "unexpected"
        ):  # whatever is the file's fault is in an archive
            raise DatasetError(f"{job.archive}: cannot be written ({result.reason}); run the command again")
        if isinstance(result, JobFailure):
            staging.write(job.archive, staging.refusal(result.code, f"{job.file}: {result.reason}"), {})
    return archives


def _plan(
    files: list[tuple[str, Any]], archives: list[Path], listed: dict[str, str]
) -> tuple[list[WindowedSong], list[dict[str, Any]]]:
    """Decides what becomes of every file: the songs to write, and the ledger."""
    ledger, found, first_by_content = [], [], {}
    for (name, _), path in zip(files, archives, strict=True):
        archive = Archive(path)
        line = {"file": name, "reason": None, "message": None, "windows": 0} | archive.entry
        if line["status"] == "used":
            first = first_by_content.setdefault(line["song"], name)
            if first != name:
                line |= {"status": "duplicate", "reason": "same-notes", "message": f"same notes as {first}"}
            else:
                found.append((name, path, line, archive["prints"], archive["marks"]))
        archive.close()
        ledger.append(line)
    contents = [line["song"] for _, _, line, _, _ in found]
    leaders = clusters.cluster([marks for *_, marks in found])
    stems = [Path(name).stem for name, *_ in found]
    wishes = [listed.get(name) for name, *_ in found] if listed else None
    split_of_song = clusters.splits(leaders, stems, contents, wishes)
    dropped = clusters.repeated_across([prints for *_, prints, _ in found], split_of_song, shards.SPLITS)
    songs = []
    for (name, path, line, _, _), leader, split, gone in zip(found, leaders, split_of_song, dropped, strict=True):
        song = WindowedSong(name, line["song"], contents[leader], split, np.flatnonzero(~gone), path)
        songs.append(song)
        line |= {"cluster": song.cluster, "split": split, "windows": len(song.kept), "dropped": int(gone.sum())}
    by_content = {song.content: song for song in songs}
    for line in ledger:
        if line["status"] == "duplicate":
            line |= {"cluster": by_content[line["song"]].cluster, "split": by_content[line["song"]].split}
    return songs, ledger


@dataclass(frozen=True)
class ShardJob:
    """A shard to write: from each archive some windows."""

    file: str
    parts: tuple[tuple[str, str, np.ndarray], ...]
    """Archive, song id and indices of its windows."""


def write_shard(job: ShardJob) -> None:
    """Writes one shard."""
    shards.write_shard(Path(job.file), COLUMNS, _examples(job))


def _examples(job: ShardJob) -> Iterator[dict[str, Any]]:
    for path, song, rows in job.parts:
        archive = Archive(Path(path))
        arrays = {name: archive[name] for name in COLUMNS if name != "song"}
        archive.close()
        for row in rows:
            yield {"song": song} | {name: array[row] for name, array in arrays.items()}


def _write_shards(
    folder: Path,
    rows: dict[str, list[WindowedSong]],
    shard_lengths: dict[str, list[int]],
    engine: Engine,
    progress: Callable[..., Any],
) -> None:
    jobs = []
    for split, shard, file, there in shards.written(folder, NAME, shard_lengths):
        if not there:
            wanted = shards.rows_of(shard_lengths[split], shard)
            jobs.append(ShardJob(str(file), tuple(_parts(rows[split], wanted))))
    if sum(len(part[2]) for job in jobs for part in job.parts) < _EXAMPLES_WORTH_A_PROCESS:
        done: Iterable[tuple[Any, Any]] = ((job, write_shard(job)) for job in jobs)
    else:
        done = engine(write_shard, jobs, _SHARD_SECONDS)
    for job, result in progress(done, total=len(jobs), desc="writing", unit="shard", disable=None):
        if isinstance(result, JobFailure):
            raise DatasetError(f"{job.file}: the shard cannot be written ({result.reason}); run the command again")


def _parts(songs: list[WindowedSong], wanted: range) -> Iterator[tuple[str, str, np.ndarray]]:
    """The pieces of songs that make up a range of a split's rows."""
    start = 0
    for song in songs:
        stop = start + len(song.kept)
        if start < wanted.stop and stop > wanted.start:
            piece = song.kept[max(0, wanted.start - start) : wanted.stop - start]
            yield str(song.archive), song.content, piece
        start = stop


def _song_lines(rows: dict[str, list[WindowedSong]], ledger: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    files: dict[str, list[str]] = {}
    for line in ledger:
        if line["status"] in ("used", "duplicate"):
            files.setdefault(line["song"], []).append(line["file"])
    for split, songs in rows.items():
        for song in songs:
            yield {
                "song": song.content,
                "split": split,
                "windows": len(song.kept),
                "cluster": song.cluster,
                "files": files[song.content],
            }


def _write_lines(file: Path, lines: Iterable[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))  # in ASCII: a file's name may be no text


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _finished(publication: Publication, identity: str) -> dict[str, Any]:
    folder = publication.folder
    if shards.read_metadata(folder).get("identity") != identity:
        raise DatasetError(
            f"{folder}: holds a dataset made of other files or with other options; remove it or choose another --out"
        )
    for leftover in folder.parent.glob(".*"):
        shutil.rmtree(leftover)
    publication.finish()
    with (folder / LEDGER).open() as lines:
        files = Counter(_outcome(json.loads(line)) for line in lines)
    counts = shards.read_metadata(folder)["shard_lengths"]
    windows = {split: sum(counts.get(split, [])) for split in shards.SPLITS}
    return {"folder": publication.address, "windows": windows, "files": dict(sorted(files.items()))}


def _outcome(line: dict[str, Any]) -> str:
    return line["status"] if line["status"] == "used" else f"{line['status']}: {line['reason']}"
