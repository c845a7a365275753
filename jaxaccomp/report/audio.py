"""Score → sound, in memory or as a file.

audio.render("song.mid", "song.mp3")

sounds = [audio.synthesize(take.score) for take in takes]
gain = audio.shared_gain(sounds)                       # so that takes stay as loud to each other as they are
audio.write(sounds[0], "take.ogg", gain)
"""

import base64
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jaxaccomp import files
from jaxaccomp.errors import RenderError
from jaxaccomp.music import build, midi
from jaxaccomp.music.midi import Score
from jaxaccomp.report import clock, engine, soundfont
from jaxaccomp.report.engine import SAMPLE_RATE, Name, Sound

FILE_TYPES = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}
"""What can be written: format and encoding by ending."""
TAIL_S = 2.5
"""How long a song goes on after its last note, for what still rings."""
LONGEST_S = 3600.0
"""Longer songs are refused: their sound would not fit in memory."""
PEAK = 0.89
"""Largest sample that is written: 1 dB below full scale."""

_BLOCK = 131_072  # frames; libsndfile's Vorbis encoder overflows its stack when it gets much more at a time
_MOST_GAIN = 16.0
_TEXT = b"\xff\x01\x00"  # an empty text event


@dataclass(frozen=True, eq=False)
class Clip:
    """Sound that a notebook plays.

    Attributes:
        samples: at `SAMPLE_RATE`, full scale being 1.
    """

    samples: Sound = field(repr=False)

    def write(self, path: str | os.PathLike) -> Path:
        """Writes it to a file; see `write`."""
        return write(self.samples, path)

    def __repr__(self) -> str:
        return f"Clip({len(self.samples) / SAMPLE_RATE:.1f} s)"

    def _repr_html_(self) -> str:
        with tempfile.TemporaryDirectory() as folder:
            data = self.write(Path(folder, "sound.mp3")).read_bytes()
        return f'<audio controls src="data:audio/mpeg;base64,{base64.b64encode(data).decode("ascii")}"></audio>'


def clip(score: Score, *, synthesizer: Name = "auto", sound_font: str | os.PathLike | None = None) -> Clip:
    """A Score as sound, as loud as it can be; see `synthesize`."""
    sound = synthesize(score, synthesizer=synthesizer, sound_font=sound_font)
    return Clip(sound * np.float32(shared_gain([sound])))


def length_s(score: Score) -> float:
    """Seconds that a Score sounds: to the end of its last note, and `TAIL_S` on."""
    end = int(score.notes["end"].max(initial=0))
    return float(clock.seconds(score, np.array([end]))[0]) + TAIL_S


def synthesize(
    score: Score,
    *,
    seconds: float | None = None,
    synthesizer: Name = "auto",
    sound_font: str | os.PathLike | None = None,
) -> Sound:
    """Plays a Score.

    Args:
        score: any music.
        seconds: how long the sound is to be; None: `length_s`.
        synthesizer: which program does it, see `engine`.
        sound_font: a `.sf2` file; None: see `soundfont.find`.

    Returns:
        Stereo at `SAMPLE_RATE`, rather quiet: see `shared_gain`.

    Raises:
        RenderError: there is no synthesizer or sound font, the song is too long, or rendering fails.
    """
    seconds = length_s(score) if seconds is None else seconds
    if seconds > LONGEST_S:
        raise RenderError(
            f"{score.source}: lasts {seconds / 60:.0f} minutes; sound is rendered for songs of up to "
            f"{LONGEST_S / 60:.0f} minutes"
        )
    frames = round(seconds * SAMPLE_RATE)
    try:
        sound = engine.find(synthesizer)(_with_tail(score), soundfont.find(sound_font))
    except RenderError as error:
        raise RenderError(f"{score.source}: {error}") from error
    return np.pad(sound[:frames], ((0, max(frames - len(sound), 0)), (0, 0)))


def shared_gain(sounds: Sequence[Sound]) -> float:
    """The factor that brings the loudest of several sounds to `PEAK`, so that the others keep their distance to it."""
    loudest = max((float(np.abs(sound).max(initial=0)) for sound in sounds), default=0.0)
    return min(PEAK / loudest, _MOST_GAIN) if loudest > 0 else 1.0


def write(sound: Sound, path: str | os.PathLike, gain: float = 1.0) -> Path:
    """Writes sound to a file, which appears under its name only when it is complete.

    Args:
        sound: at `SAMPLE_RATE`.
        path: its ending, `.wav`, `.flac`, `.ogg` or `.mp3`, decides the format.
        gain: factor, see `shared_gain`.

    Raises:
        RenderError: an unknown ending, or a place that cannot be written to.
    """
    import soundfile

    path = Path(path)
    kind, encoding = check_ending(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            files.replacing(path) as unfinished,
            soundfile.SoundFile(unfinished, "w", SAMPLE_RATE, sound.shape[1], encoding, format=kind) as file,
        ):
            for start in range(0, len(sound), _BLOCK):
                file.write(np.clip(sound[start : start + _BLOCK] * np.float32(gain), -1, 1))
    except (OSError, RuntimeError) as error:
        raise RenderError(f"{path}: cannot write sound there ({getattr(error, 'strerror', None) or error})") from error
    return path


def render(
    source: str | os.PathLike | Score,
    out: str | os.PathLike,
    *,
    synthesizer: Name = "auto",
    sound_font: str | os.PathLike | None = None,
) -> Path:
    """Renders one MIDI file, or a Score, to a sound file, as loud as it can be.

    Args:
        source: the music.
        out: where to write; the ending decides the format, see `write`.
        synthesizer: see `synthesize`.
        sound_font: see `synthesize`.

    Returns:
        The path written.

    Raises:
        MidiError: `source` cannot be read.
        RenderError: see `synthesize` and `write`.
    """
    check_ending(Path(out))
    score = source if isinstance(source, Score) else midi.read(source)
    return clip(score, synthesizer=synthesizer, sound_font=sound_font).write(out)


def check_ending(path: Path) -> tuple[str, str]:
    """Format and encoding of a sound file.

    Raises:
        RenderError: an unknown ending.
    """
    if path.suffix.lower() not in FILE_TYPES:
        raise RenderError(
            f"{path}: sound is written as {', '.join(FILE_TYPES)}, not {path.suffix or 'without an ending'}"
        )
    return FILE_TYPES[path.suffix.lower()]


def _with_tail(score: Score) -> bytes:
    """The file with one more event after its end: synthesizers stop at the last one, whatever still rings."""
    end_tick = int(score.notes["end"].max(initial=0))
    tail_ticks = int(clock.ticks_per_second(score, end_tick) * TAIL_S) + 1
    chunks = [score.data[start - 8 : end] for start, end in score.header.chunks]
    chunks.append(build.encode_marks([(end_tick + tail_ticks, _TEXT)]))
    return build.assemble(1, score.ticks_per_quarter, chunks)
