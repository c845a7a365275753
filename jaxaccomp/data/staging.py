"""One MIDI file → one small archive of its windows, made once and kept until the dataset is whole.

What the archives hold decides everything after them, so that a killed run starts again with the files it had not yet
read, and any engine may make them: the pool of this machine or a Beam pipeline on many.
"""

import hashlib
import json
import os
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Int

from jaxaccomp import config as configs
from jaxaccomp import files
from jaxaccomp.arrays import FIRST_NOTE_ON, VOCABULARY, WindowTokens
from jaxaccomp.config import require, setting
from jaxaccomp.errors import DatasetError, MidiError

FORMAT = 1
"""Raised whenever the archives' content changes, so that older ones are not taken up."""

_EVENTS_IN_EACH_PART = 8
"""A window with fewer note-ons or drum hits in some part may well occur in unrelated songs."""
_MELODY_NOTES, _MELODY_PITCHES = 24, 5
"""A melody with fewer notes, or of fewer pitches, in a window may well occur in unrelated songs."""


@dataclass(frozen=True, kw_only=True)
class WindowsConfig:
    """Which windows of a song are taken."""

    hop: int = setting(1, "distance between windows, in bars")
    limit: int | None = setting(None, "windows of a song, at most; they are spread over the song (default: all)")
    combination_limit: int | None = setting(
        None, "windows of each combination of melody, bass and drum tracks, at most (default: all)"
    )
    parts: Literal["trio", "drums"] = setting(
        "trio", "what a window holds: drums takes drum tracks alone, for `train.py joint --drum-data`"
    )

    def __post_init__(self) -> None:
        for name in ("hop", "limit", "combination_limit"):
            value = getattr(self, name)
            require(value is None or value > 0, f"{name.replace('_', '-')} must be positive, got {value}")

    def options(self) -> dict[str, Any]:
        """What a dataset is told by; a setting that came later is left out where it changes nothing."""
        values = configs.to_json(self)
        return values if self.parts != "trio" else {name: value for name, value in values.items() if name != "parts"}


@dataclass(frozen=True)
class WindowsJob:
    """A file to read.

    Attributes:
        file: the MIDI file.
        archive: where its windows go.
        config: which windows to take.
    """

    file: str
    archive: str
    config: WindowsConfig


def find(folder: Path) -> Iterator[tuple[str, os.stat_result | None]]:
    """All MIDI files of a folder, at any depth, links followed.

    Yields:
        Name relative to the folder, with `/`, and the file's status; None for a link that leads nowhere.
    """
    root = os.fspath(folder)
    found = {os.path.relpath(path, root).replace(os.sep, "/"): status for path, status in files.find_midi(root)}
    yield from sorted((name, status) for name, status in found.items() if not (status and stat.S_ISDIR(status.st_mode)))


def stage(job: WindowsJob) -> None:
    """Reads a file and writes its archive; a file that cannot be used gets one too, which says why."""
    try:
        arrays, entry = _windows(job)
    except MidiError as error:
        arrays, entry = {}, refusal(error.reason, str(error))
    except MemoryError:
        arrays, entry = {}, refusal("out-of-memory", f"{job.file}: its windows need more memory than a file may take")
    except Exception as error:  # a defect of this program may cost this file, not the run
        arrays, entry = {}, refusal("error", f"{job.file}: {type(error).__name__}: {error}")
    write(job.archive, entry, arrays)


def _windows(job: WindowsJob) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and entry of a file's archive.

    Raises:
        MidiError: the file is no music.
    """
    from jaxaccomp.music import midi, trio  # here, so that who only wants the settings need not wait

    score = midi.read(job.file, strict=True)
    trios = list(trio.drums_alone(score) if job.config.parts == "drums" else trio.trios(score))
    if not trios:
        parts = "drums" if job.config.parts == "drums" else "melody (program 0-31), bass (32-39) and drums all"
        return {}, refusal("no-windows", f"{job.file}: no 16 bars of 4/4 in which {parts} play")
    everything = [np.stack([found.window(bar) for bar in found.bars.tolist()]).astype(np.int16) for found in trios]
    prints = [fingerprints(windows) for windows in everything]
    known = np.unique(np.concatenate([marks(*pair) for pair in zip(everything, prints, strict=True)]))
    chosen = [_taken(found.bars, job.config) for found in trios]
    owner = np.repeat(np.arange(len(trios)), [len(rows) for rows in chosen])
    place = np.concatenate(chosen)
    taken = spread(len(owner), job.config.limit)
    owner, place = owner[taken], place[taken]
    pairs = list(zip(owner.tolist(), place.tolist(), strict=True))
    arrays = {
        "tokens": np.stack([everything[a][b] for a, b in pairs]),
        "segment": np.array([trios[a].segment for a, _ in pairs], np.int32),
        "bar": np.array([trios[a].bars[b] for a, b in pairs], np.int32),
        "instruments": np.array([trios[a].instruments for a, _ in pairs], np.int16),
        "programs": np.array([trios[a].programs for a, _ in pairs], np.int16),
        "qpm": np.array([trios[a].qpm for a, _ in pairs], np.float32),
        "prints": np.array([prints[a][b] for a, b in pairs], np.uint64),
        "marks": known,
    }
    return arrays, {"status": "used", "song": score.content_hash}


def _taken(bars: np.ndarray, config: WindowsConfig) -> np.ndarray:
    """Indices into a trio's bars: as many as hop and limit leave."""
    from jaxaccomp.music import trio

    spaced = trio.spaced(bars, config.hop)
    return np.searchsorted(bars, spaced[spread(len(spaced), config.combination_limit)])


def refusal(reason: str, message: str) -> dict[str, Any]:
    """The entry of a file that gives no windows."""
    return {"status": "failed", "reason": reason, "message": message}


def write(archive: str, entry: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Writes an archive whole, or not at all."""
    with files.replacing(archive) as temporary, open(temporary, "wb") as file:
        text = np.frombuffer(json.dumps(entry).encode(), np.uint8)
        np.savez_compressed(file, entry=text, **arrays)


class Archive:
    """What a file gave.

    Attributes:
        entry: status, reason and message; for a song also its content hash, in `song`.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            self._arrays = np.load(path)
            self.entry: dict[str, Any] = json.loads(self._arrays["entry"].tobytes())
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise DatasetError(
                f"{path}: not a readable archive of windows ({error}); delete it and run again"
            ) from error

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def close(self) -> None:
        """Closes the file."""
        self._arrays.close()


def fingerprints(tokens: np.ndarray) -> np.ndarray:
    """One uint64 for each row of tokens [N, …], equal for equal rows."""
    rows = np.ascontiguousarray(tokens, np.int16)
    return np.array([int.from_bytes(hashlib.blake2b(row, digest_size=8).digest(), "little") for row in rows], np.uint64)


def marks(windows_NLP: WindowTokens, prints_N: np.ndarray) -> np.ndarray:
    """Fingerprints by which versions of a song know each other, sorted and each once.

    These are the windows in which every part has something to play, and their melodies in any key.
    """
    notes_NLK = windows_NLP[:, :, :2] >= FIRST_NOTE_ON
    notes_NK = notes_NLK.sum(axis=1)
    hits_N = (windows_NLP[:, :, 2] > 0).sum(axis=1)
    busy_N = (notes_NK.min(axis=1) >= _EVENTS_IN_EACH_PART) & (hits_N >= _EVENTS_IN_EACH_PART)
    used_NV = np.zeros((len(windows_NLP), VOCABULARY["melody"]), bool)
    used_NV[np.arange(len(windows_NLP))[:, None], windows_NLP[:, :, 0]] = True
    used_NV[:, :FIRST_NOTE_ON] = False
    melodic_N = busy_N & (notes_NK[:, 0] >= _MELODY_NOTES) & (used_NV.sum(axis=1) >= _MELODY_PITCHES)
    lowest_N = used_NV[melodic_N].argmax(axis=1)
    melody_NL = windows_NLP[melodic_N, :, 0]
    melodies_NL = np.where(notes_NLK[melodic_N, :, 0], melody_NL - lowest_N[:, None] + FIRST_NOTE_ON, melody_NL)
    return np.unique(np.concatenate([prints_N[busy_N], fingerprints(melodies_NL)]))


def spread(count: int, limit: int | None) -> Int[np.ndarray, "K"]:
    """Indices of at most `limit` of `count` items, evenly over all of them, the first included."""
    if limit is None or count <= limit:
        return np.arange(count)
    return np.arange(limit) * count // limit
