"""A song's file at both ends of its way: heard, and written. Runs in worker processes, so no JAX is loaded here."""

import errno
import hashlib
import os
import shutil
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, UInt32

from jaxaccomp.collection.manifest import FAILED, SKIPPED
from jaxaccomp.errors import MelodyError, MidiError
from jaxaccomp.generate.options import PlayOptions
from jaxaccomp.generate.song import Song, finish, prepare, take_path
from jaxaccomp.music import interpreter, melody, midi
from jaxaccomp.music.grid import Grid

DISK_FULL = "disk-full"
UNCHANGED = "unchanged"
RETRIED = frozenset({"time-limit", "memory-limit", "worker-died", "changed", "unreadable", "unwritable", "unexpected"})
"""Codes of failures that may be gone the next time; all others are the content's own and last as long as it does."""
_NOTHING_TO_PLAY_TO = frozenset({"no-notes"})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True)
class SongSettings:
    """What reading and writing have to know about a run.

    Attributes:
        out: folder of the results, as a real path.
        staging: folder on the same disk where files are made before they are moved to their place.
        options: how to play.
        share: (index, count): the share of the collection that is done here.
        strict: whether damaged files are refused.
        variation: number of the take that is made.
        are_many: whether there are so many songs that compiling what reads them pays from the first one on.
    """

    out: Path
    staging: Path
    options: PlayOptions = field(default_factory=PlayOptions)
    share: tuple[int, int] = (0, 1)
    strict: bool = False
    variation: int = 0
    are_many: bool = False


@dataclass(frozen=True)
class ReadSong:
    """A song that is ready to be decoded.

    Attributes:
        sha256: of the file, hex.
        melody_NL: its windows, in one byte a token.
        fingerprint: of which its random keys are made.
        choice: which track is the tune.
        facts: what the manifest tells of it.
        seconds: that it took.
        used_NL: see `Song`.
    """

    sha256: str
    melody_NL: Int[np.ndarray, "N L"]
    fingerprint: UInt32[np.ndarray, "2"]
    choice: melody.Choice
    facts: dict[str, Any]
    seconds: float
    used_NL: Bool[np.ndarray, "N L"] | None = None


@dataclass(frozen=True)
class Verdict:
    """Why a song has no result: its manifest status, a code to count by, and a sentence."""

    status: str
    code: str
    reason: str
    sha256: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Written:
    """What became of a song's results.

    Attributes:
        seconds: that it took.
        verdicts: for each output, why it is not there; None where it is.
    """

    seconds: float
    verdicts: list[Verdict | None]


def output_of_take(output: str, take: int) -> str:
    """Where a take goes, given where the first one does, relative to the output folder."""
    return take_path(Path(output), take).as_posix()


def read(path: str, name: str, settings: SongSettings, known: str | None) -> ReadSong | Verdict | str | None:
    """Reads a song and cuts its tune into windows.

    Args:
        path: the file.
        name: what the collection calls it; decides whose share it is when it has no content to go by.
        settings: of the run.
        known: hex digest of the content for which nothing would have to be done.

    Returns:
        The song; or why there is none; or UNCHANGED if its content is the known one; or None if another share has it.
    """
    start_s = time.perf_counter()
    digest = None
    if settings.are_many:
        interpreter.use_machine_code()
    try:
        data = _bytes(path)
        digest = hashlib.sha256(data).hexdigest()
        if not _is_mine(digest, settings.share):
            return None
        if digest == known:
            return UNCHANGED
        song = prepare(midi.read(data, strict=settings.strict), settings.options)
    except (OSError, MidiError) as error:
        if digest is None and not _is_mine(hashlib.sha256(os.fsencode(name)).hexdigest(), settings.share):
            return None
        return _verdict(error, digest, time.perf_counter() - start_s)
    melody_NL = song.melody_NL.astype(np.int8)  # 90 classes
    seconds = time.perf_counter() - start_s
    return ReadSong(digest, melody_NL, song.fingerprint, song.choice, _facts(song), seconds, song.used_NL)


def write(
    path: str,
    digest: str,
    choice: melody.Choice,
    tokens_NLP: Int[np.ndarray, "N L parts"],
    outputs: Sequence[str],
    settings: SongSettings,
) -> Written | Verdict:
    """Stitches a song and writes it to its places.

    Args:
        path: the file it was heard from.
        digest: of its content then.
        choice: its tune.
        tokens_NLP: what was decoded for it.
        outputs: places, relative to the output folder.
        settings: of the run.

    Returns:
        What was written, or why nothing can be.
    """
    start_s = time.perf_counter()
    try:
        data = _bytes(path)
        if hashlib.sha256(data).hexdigest() != digest:
            return Verdict(FAILED, "changed", "changed while the collection was being worked on; run again", digest)
        score = finish(midi.read(data), choice, tokens_NLP.astype(np.int32), settings.options, settings.variation)
        made = settings.staging / f"{digest}.mid"
        midi.write(score, made)
    except (OSError, MidiError) as error:
        return _verdict(error, digest, time.perf_counter() - start_s)
    return _place(made, digest, outputs, settings, start_s)


def copy(source: str, digest: str, outputs: Sequence[str], settings: SongSettings) -> Written | Verdict:
    """Copies the result of a song of the same content to other places; all relative to the output folder."""
    start_s = time.perf_counter()
    made = settings.staging / f"{digest}.{os.getpid()}.mid"
    try:
        shutil.copyfile(settings.out / source, made)
    except OSError as error:
        return _verdict(error, digest, time.perf_counter() - start_s)
    return _place(made, digest, outputs, settings, start_s)


def _bytes(path: str) -> bytes:
    """The file's bytes; one more than is allowed if there are more."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe without a writer would hang
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise IsADirectoryError(errno.EISDIR, "is a folder or a device, no file", path)
        return file.read(midi.Limits().bytes + 1)


def _is_mine(digest: str, share: tuple[int, int]) -> bool:
    index, count = share
    return int(digest[:15], 16) % count == index


def _place(made: Path, digest: str, outputs: Sequence[str], settings: SongSettings, start_s: float) -> Written:
    """Puts a finished file to its places, each under a temporary name first."""
    verdicts: list[Verdict | None] = []
    for output in outputs:
        target, last = settings.out / output, len(verdicts) == len(outputs) - 1
        try:
            folder = os.path.realpath(target.parent)
            if folder != str(settings.out) and not folder.startswith(f"{settings.out}{os.sep}"):
                raise PermissionError(errno.EPERM, "a link there leads out of the output folder", str(target))
            os.makedirs(folder, exist_ok=True)
            moved = made if last else made.with_suffix(".copy")
            if not last:
                shutil.copyfile(made, moved)
            os.replace(moved, target)
            verdicts.append(None)
        except OSError as error:
            verdicts.append(_verdict(error, digest, 0.0))
    made.unlink(missing_ok=True)
    return Written(time.perf_counter() - start_s, verdicts)


def _verdict(error: OSError | MidiError, digest: str | None, seconds: float) -> Verdict:
    cause = error if isinstance(error, OSError) else error.__cause__
    if isinstance(cause, OSError) and cause.errno in _FULL:
        return Verdict(FAILED, DISK_FULL, f"{cause.strerror}; free some space and run the same command")
    if isinstance(error, OSError):
        code, what = ("unreadable", "read") if digest is None else ("unwritable", "written")
        return Verdict(FAILED, code, f"cannot be {what}: {error.strerror}", digest, seconds)
    reason = str(error).removeprefix(f"{error.source}: ")
    nothing = isinstance(error, MelodyError) or error.reason in _NOTHING_TO_PLAY_TO
    return Verdict(SKIPPED if nothing else FAILED, error.reason, reason, digest, seconds)


def _facts(song: Song) -> dict[str, Any]:
    score, track = song.score, song.score.tracks[song.choice.track]
    grid = Grid.of(score, int(score.notes_of(song.choice.tracks)["end"].max()))
    melody_facts: dict[str, Any] = {"track": track.index, "name": track.name, "why": song.choice.reason}
    if song.choice.joined:
        melody_facts["joined"] = list(song.choice.joined)
    facts: dict[str, Any] = {
        "melody": melody_facts,
        "metres": list(dict.fromkeys(f"{metre['numerator']}/{metre['denominator']}" for metre in score.metres)),
        "bars": int(grid.opens_bar.sum()),
        "windows": len(song.melody_NL),
    }
    return facts | ({"repaired": list(score.repaired)} if score.repaired else {})
