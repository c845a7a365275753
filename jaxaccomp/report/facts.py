"""What there is to say of a song in words: tempo, meter, key, length, melody."""

import numpy as np

from jaxaccomp.music import measures
from jaxaccomp.music.melody import Choice
from jaxaccomp.music.midi import Score, Track
from jaxaccomp.report import clock
from jaxaccomp.report.bars import bars

NOTE_NAMES = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")

_PROFILES_KC = np.array(
    [np.roll(profile, tonic) for tonic in range(12) for profile in (measures.MAJOR, measures.MINOR)]
)


def of_song(score: Score, choice: Choice) -> list[tuple[str, str]]:
    """Name and value of each fact worth telling of a song, the melody and why it is the melody first."""
    return [("Melody", f"{track_name(score.tracks[choice.track])}: {choice.reason}"), *in_general(score)]


def in_general(score: Score) -> list[tuple[str, str]]:
    """Name and value of each fact that does not depend on which track is the melody."""
    return [
        ("Tempo", f"{tempo(score)} quarter notes a minute"),
        ("Meter", meter(score)),
        ("Key", key(score)),
        ("Length", f"{bars(score).count} bars, {length(score)} min"),
    ]


def line(score: Score) -> str:
    """A song in one line: "32 bars of 4/4, 144 quarter notes a minute, A minor, 0:53 min"."""
    count = bars(score).count
    return (
        f"{count} bar{'s' * (count != 1)} of {meter(score)}, {tempo(score)} quarter notes a minute, {key(score)}, "
        f"{length(score)} min"
    )


def track_name(track: Track) -> str:
    """A track's number and name, as far as it can be printed."""
    name = " ".join("".join(c if c.isprintable() else " " for c in track.name).split())
    return f"track {track.index}{f' “{name}”' if name else ''}"


def tempo(score: Score) -> str:
    """Quarter notes a minute, "120" or "90 to 120"."""
    qpm = 60e6 / _sounding(score, score.tempos)["microseconds"]
    return " to ".join(dict.fromkeys(f"{value:.0f}" for value in (qpm.min(), qpm.max())))


def meter(score: Score) -> str:
    """Time signatures in the order in which they come, each once: "4/4, 3/4"."""
    rows = _sounding(score, score.metres).tolist()
    return ", ".join(dict.fromkeys(f"{numerator}/{denominator}" for _, numerator, denominator in rows))


def length(score: Score) -> str:
    """How long it sounds, "3:07"."""
    end = np.array([int(score.notes["end"].max(initial=0))])
    return minutes(float(clock.seconds(score, end)[0]))


def minutes(seconds: float) -> str:
    """Seconds as minutes and seconds, "3:07"."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


def key(score: Score) -> str:
    """The key that the time each pitch class sounds fits best, "A minor"; "none" if nothing but drums sounds.

    Source: Krumhansl, Cognitive Foundations of Musical Pitch (1990), ch. 4.
    """
    drums = [track.index for track in score.tracks if track.is_drums]
    notes = score.notes[~np.isin(score.notes["track"], drums)]
    if not len(notes):
        return "none"
    time_C = np.bincount(notes["pitch"] % 12, (notes["end"] - notes["start"]).astype(float), 12)
    profiles_KC = _PROFILES_KC - _PROFILES_KC.mean(1, keepdims=True)
    fit_K = profiles_KC @ (time_C - time_C.mean()) / np.linalg.norm(profiles_KC, axis=1)
    best = int(fit_K.argmax())
    return f"{NOTE_NAMES[best // 2]} {('major', 'minor')[best % 2]}"


def pitch_name(pitch: int) -> str:
    """A MIDI pitch as musicians write it: 60 is C4."""
    return f"{NOTE_NAMES[pitch % 12]}{pitch // 12 - 1}"


def _sounding(score: Score, rows: np.ndarray) -> np.ndarray:
    """Rows of a tempo or meter map that begin before the last note ends."""
    return rows[rows["tick"] < max(int(score.notes["end"].max(initial=0)), 1)]
