"""What a take was judged by, in words that a musician understands."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jaxaccomp.arrays import NOTE_OFF, WindowTokens
from jaxaccomp.music import measures

CRITIC = "critic"
"""Log-odds that bass and drums are those of a real song; told as a probability."""

WORDS = {
    CRITIC: "Sounds like a real song",
    "total": "Overall",
    "coverage": "Bars that are played in",
    "bass_in_key": "Bass notes in key",
    "bass_consonance": "Bass agrees with the melody",
    "bass_with_melody": "Bass moves with the melody",
    "bass_with_kick": "Bass and kick together",
    "bass_notes_per_bar": "Bass notes a bar",
    "bars_without_bass": "Bars without bass",
    "drum_steps_per_bar": "Drum strokes a bar",
    "bars_without_drums": "Bars without drums",
    "drum_bars_repeated": "Drum bars repeated",
    "hits_kept": "Groove kept from bar to bar",
    "kick_on_strong_beats": "Kicks on beats 1 and 3",
    "snare_on_backbeats": "Snares on beats 2 and 4",
}
"""Labels that say it shorter, or plainer, than `measures.TITLES`."""

_COUNTS = {
    "bass_notes_per_bar",
    "bass_leap",
    "bass_pitches",
    "drum_steps_per_bar",
    "hat_steps_per_bar",
    "drum_tokens",
}
_SHARES = (frozenset(measures.TITLES) - _COUNTS) | {"coverage"}

_OF_BASS = ("bass_in_key", "bass_consonance", "bass_notes_per_bar")
_OF_DRUMS = ("hits_kept", "drum_steps_per_bar")


class Words(NamedTuple):
    """One score as it is told."""

    label: str
    value: float
    text: str


def of_take(scores: Mapping[str, float], windows_NLP: WindowTokens) -> dict[str, float]:
    """What a listener may want to know of a take, the most telling first.

    Args:
        scores: what it was chosen by.
        windows_NLP: its tokens of melody, bass and drums.
    """
    told = {name: value for name, value in scores.items() if name != "total"}
    told = {name: told[name] for name in sorted(told, key=lambda name: name != CRITIC)}
    measured = measures.measure(windows_NLP)
    for names, part in ((_OF_BASS, windows_NLP[:, :, 1] > NOTE_OFF), (_OF_DRUMS, windows_NLP[:, :, 2] > 0)):
        if part.any():
            told |= {name: float(np.mean(measured[name])) for name in names}
    return told


def in_words(scores: Mapping[str, float]) -> list[Words]:
    """Each score that has a finite value, in the order given."""
    return [
        Words(label(name), float(value), _text(name, float(value)))
        for name, value in scores.items()
        if np.isfinite(value)
    ]


def line(scores: Mapping[str, float], most: int = 4) -> str:
    """The first few scores in one line: "bass notes in key 93%, drum strokes a bar 6.1"."""
    return ", ".join(f"{words.label[0].lower()}{words.label[1:]} {words.text}" for words in in_words(scores)[:most])


def label(name: str) -> str:
    """What a score is called."""
    words = WORDS.get(name) or measures.TITLES.get(name) or name.replace("_", " ")
    return words[0].upper() + words[1:]


def is_share(name: str) -> bool:
    """Whether a score lies between 0 and 1 and is told in percent."""
    return name in _SHARES


def _text(name: str, value: float) -> str:
    if name == CRITIC:
        return f"{1 / (1 + np.exp(-value)):.0%}"
    return f"{value:.0%}" if is_share(name) else f"{value:.2g}"
