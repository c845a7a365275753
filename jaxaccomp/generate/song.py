"""A song on its way through the model: what is heard of it, and what comes back. NumPy only.

Both ends run in worker processes of a collection, which must start fast, so no JAX is loaded here.
"""

import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt32

from jaxaccomp.arrays import BAND
from jaxaccomp.errors import MidiError
from jaxaccomp.music import melody as melodies
from jaxaccomp.music import midi, stitch


@dataclass(frozen=True)
class Song:
    """The windows of one song, waiting to be decoded.

    Attributes:
        score: the song as it was read.
        choice: which track is the tune, and why.
        melody_NL: the tune's tokens, 16 bars a row.
        fingerprint: 64 bits of the content of `score`, as two words. Random keys are made of it, so that the same
            song gets the same notes under any file name and in any company.
    """

    score: midi.Score
    choice: melodies.Choice
    melody_NL: Int[np.ndarray, "N L"]
    fingerprint: UInt32[np.ndarray, "2"]


def prepare(score: midi.Score, melody: str | int = "default") -> Song:
    """Finds the tune and cuts it into windows.

    Args:
        score: the song.
        melody: a rule's name, or the tune's track by number or name.

    Raises:
        MelodyError: no track can be the tune, or not the one asked for.
    """
    if melody in typing.get_args(melodies.Rule):
        choice = melodies.choose(score, melody)
    else:
        choice = melodies.choose(score, track=melody)
    content = np.array([int(score.content_hash[at : at + 8], 16) for at in (0, 8)], np.uint32)
    return Song(score, choice, melodies.windows(score, choice).tokens_NL, content)


def finish(
    score: midi.Score,
    choice: melodies.Choice,
    tokens_NLP: Int[np.ndarray, "N L P"],
    parts: Sequence[str] = BAND,
    keep: str = "melody",
) -> midi.Score:
    """Puts decoded parts under the song; see `stitch`.

    Args:
        score: the song.
        choice: as `prepare` made it.
        tokens_NLP: tokens of the parts, in the order of `parts`.
        parts: which parts were decoded.
        keep: "melody" or "all".
    """
    return stitch.stitch(score, melodies.windows(score, choice), tokens_NLP, parts, keep)


def describe(song: Song) -> str:
    """One sentence: which track is the tune, and why."""
    track = song.score.tracks[song.choice.track]
    name = f" {track.name!r}" if track.name else ""
    others = f" of {len(song.score.tracks)}" if len(song.score.tracks) > 1 else ""
    return f"the melody is track {track.index}{name}{others} ({song.choice.reason})"


def take_path(path: Path, take: int) -> Path:
    """Where a take of a song goes: the first under the plain name, the second as `name.take2.mid`, and so on."""
    return path if take == 0 else path.with_name(f"{path.stem}.take{take + 1}{path.suffix}")


def make_folder(path: Path) -> None:
    """Makes the folder of results.

    Raises:
        MidiError: `unwritable`.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MidiError("unwritable", str(path), f"this folder cannot be made ({error.strerror or error})") from error
