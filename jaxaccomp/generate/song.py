"""A song on its way through the model: the melody it is decoded to, and what comes back. NumPy only.

Both ends run in worker processes of a collection, which must start fast, so no JAX is loaded here.
"""

import typing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, UInt32

from jaxaccomp.arrays import STEPS_PER_BAR
from jaxaccomp.errors import MelodyError, MidiError
from jaxaccomp.generate.options import PlayOptions
from jaxaccomp.music import accompaniment, midi, stitch
from jaxaccomp.music import melody as melodies
from jaxaccomp.music.feel import Feel


@dataclass(frozen=True)
class Song:
    """The windows of one song, waiting to be decoded.

    Attributes:
        score: the song as it was read.
        choice: which track is the melody, and why.
        melody_NL: the melody's tokens, 16 bars a row.
        fingerprint: 64 bits of the content of `score`, as two words. Random keys are made of it, so that the same
            song gets the same notes under any file name and in any company.
        used_NL: which steps of the model's bars the song's bars have; None if all, as in 4/4.
    """

    score: midi.Score
    choice: melodies.Choice
    melody_NL: Int[np.ndarray, "N L"]
    fingerprint: UInt32[np.ndarray, "2"]
    used_NL: Bool[np.ndarray, "N L"] | None = None


def prepare(score: midi.Score, options: PlayOptions | None = None) -> Song:
    """Finds the melody and cuts it into windows.

    Args:
        score: the song.
        options: which melody, and at which pace the band hears it; None for the defaults.

    Raises:
        MelodyError: no track can be the melody, or not the one asked for; or double time does not divide its ticks.
    """
    options = options or PlayOptions()
    if options.pace == "double" and score.ticks_per_quarter % 2:
        message = f"double time needs an even number of ticks a quarter note, this file has {score.ticks_per_quarter}"
        raise MelodyError("odd-resolution", score.source, message)
    if options.melody in typing.get_args(melodies.Rule):
        choice = melodies.choose(score, options.melody)
    else:
        choice = melodies.choose(score, track=options.melody)
    windows = melodies.windows(score, choice, options.pace)
    content = np.array([int(score.content_hash[at : at + 8], 16) for at in (0, 8)], np.uint32)
    return Song(score, choice, windows.tokens_NL, content, _used(windows))


def finish(
    score: midi.Score,
    choice: melodies.Choice,
    tokens_NLP: Int[np.ndarray, "N L P"],
    options: PlayOptions | None = None,
    variation: int = 0,
) -> midi.Score:
    """Puts decoded parts under the song; see `stitch`.

    Args:
        score: the song.
        choice: as `prepare` made it.
        tokens_NLP: tokens of the parts, in the order of the options' parts.
        options: how they were made and are performed; None for the defaults.
        variation: number of the take, which decides what a drummer leaves to chance.
    """
    options = options or PlayOptions()
    feel = Feel(
        swing=options.swing,
        humanize=options.humanize,
        bass_octave=options.bass_octave,
        bass_program=options.bass_program,
        kit=options.kit,
        seed=(options.seed % 2**32, int(score.content_hash[:16], 16), variation),
    )
    windows = melodies.windows(score, choice, options.pace)
    given = () if options.given is None else (options.given,)
    return stitch.stitch(score, windows, tokens_NLP, options.parts, options.keep, feel, given)


def _used(windows: melodies.Melody) -> Bool[np.ndarray, "N L"] | None:
    """Steps that the bars of the song have; None if all their bars have sixteen."""
    grid = windows.grid
    if (grid.used_to - grid.used_from == STEPS_PER_BAR).all():
        return None
    steps = np.arange(windows.tokens_NL.size)
    return (grid.is_used(steps) | (steps >= len(grid) * STEPS_PER_BAR)).reshape(windows.tokens_NL.shape)


def given_tokens(song: Song, options: PlayOptions) -> Int[np.ndarray, "N L"]:
    """Tokens of the part that is given, beside the melody's.

    Raises:
        MidiError: `no-part`: no track plays it.
    """
    windows = melodies.windows(song.score, song.choice, options.pace)
    return accompaniment.tokens(song.score, windows, str(options.given))


def describe(song: Song) -> str:
    """One sentence: which track is the melody, and why."""
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
