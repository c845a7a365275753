"""Tunes as text: the part of ABC notation that a melody with chord symbols needs.

    "Am"e2 Bc d2 cB | "E"B3 c d2 e2

`C`–`B` is the octave from middle C, `c`–`b` the one above; `,` and `'` go an octave down and up. A number multiplies
the unit, an eighth note; `/` halves it. `^`, `_` and `=` are sharp, flat and natural and hold until the bar ends, as
the key's own do. `z` rests, `-` ties a note to the next one, a chord symbol in quotes holds until another comes.

Source: the ABC music standard 2.1, abcnotation.com.
"""

import re
from dataclasses import dataclass

from jaxaccomp.errors import JaxAccompError

STEPS_PER_UNIT = 2
"""Sixteenths in an eighth note, the unit length."""

_SHARPS_OF_KEY = {"C": 0, "G": 1, "D": 2, "A": 3, "F": -1, "Am": 0, "Em": 1, "Bm": 2, "Dm": -1}
_ORDER_OF_SHARPS = "FCGDAEB"
_SEMITONE_OF_LETTER = dict(zip("CDEFGAB", (0, 2, 4, 5, 7, 9, 11), strict=True))
_SEMITONES_OF_ACCIDENTAL = {"^": 1, "_": -1, "=": 0}
_TOKEN = re.compile(
    r"""\s*(?: "(?P<chord>[^"]+)"
      | (?P<accidental>[\^_=]?)(?P<letter>[A-Ga-gz])(?P<octave>[,']*)(?P<times>\d*)(?P<half>/?)(?P<tie>-?)
      | (?P<bar>\|) )""",
    re.VERBOSE,
)


class NotationError(JaxAccompError):
    """A tune's text is not in the notation, or a bar of it is too short or too long."""


@dataclass(frozen=True)
class Note:
    """A note of a tune; start and length in sixteenths, pitch as a MIDI number."""

    start: int
    length: int
    pitch: int


@dataclass(frozen=True)
class Line:
    """A parsed passage: notes in order, chord symbols with the sixteenth they start at, and its length."""

    notes: tuple[Note, ...]
    chords: tuple[tuple[int, str], ...]
    steps: int


def parse(text: str, key: str, steps_per_bar: int) -> Line:
    """Reads a passage.

    Args:
        text: the passage, bars separated by `|`.
        key: its key signature, e.g. "Am".
        steps_per_bar: sixteenths in a bar; every bar must have exactly so many.

    Raises:
        NotationError: an unknown key or sign, a tie without a second note, or a bar of another length.
    """
    if key not in _SHARPS_OF_KEY:
        raise NotationError(f"unknown key {key!r}; known are {', '.join(_SHARPS_OF_KEY)}")
    notes: list[Note] = []
    chords: list[tuple[int, str]] = []
    start, bars, tied = 0, 0, False
    altered: dict[str, int] = {}
    at = 0
    text = text.strip().strip("|").rstrip() + "|"
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None or token.end() == at:
            raise NotationError(f"bar {bars + 1}: cannot read {text[at : at + 12]!r}")
        at = token.end()
        if token["chord"]:
            chords.append((start, token["chord"]))
        elif token["bar"]:
            bars += 1
            if start != bars * steps_per_bar:
                length = start - (bars - 1) * steps_per_bar
                raise NotationError(f"bar {bars} has {length} sixteenths, expected {steps_per_bar}")
            altered = {}
        else:
            length = STEPS_PER_UNIT * int(token["times"] or 1) // (2 if token["half"] else 1)
            if token["letter"] != "z":
                pitch = _pitch(token, key, altered)
                if tied:
                    if notes[-1].pitch != pitch:
                        raise NotationError(f"bar {bars + 1}: a tie joins two different notes")
                    notes[-1] = Note(notes[-1].start, notes[-1].length + length, pitch)
                else:
                    notes.append(Note(start, length, pitch))
            elif tied:
                raise NotationError(f"bar {bars + 1}: a tie leads to a rest")
            tied = bool(token["tie"])
            start += length
    return Line(tuple(notes), tuple(chords), start)


def chord_pitches(symbol: str, lowest: int = 50) -> tuple[int, ...]:
    """Pitches of a chord symbol (a root, then `m`, `7` or `m7` if any) in close position, root first.

    Args:
        symbol: e.g. "Am", "F#", "G7".
        lowest: the root is the first of its name at or above this MIDI pitch.

    Raises:
        NotationError: not such a symbol.
    """
    parts = re.fullmatch(r"([A-G])([#b]?)(m?)(7?)", symbol)
    if parts is None:
        raise NotationError(f"cannot read the chord symbol {symbol!r}")
    letter, accidental, minor, seventh = parts.groups()
    root = _SEMITONE_OF_LETTER[letter] + {"#": 1, "b": -1, "": 0}[accidental]
    root = lowest + (root - lowest) % 12
    tones = (0, 3 if minor else 4, 7) + ((10,) if seventh else ())
    return tuple(root + tone for tone in tones)


def _pitch(token: re.Match, key: str, altered: dict[str, int]) -> int:
    letter = token["letter"].upper()
    name = token["letter"] + token["octave"]  # an accidental holds for its own octave
    if token["accidental"]:
        altered[name] = _SEMITONES_OF_ACCIDENTAL[token["accidental"]]
    octave = 60 + 12 * token["letter"].islower() + 12 * (token["octave"].count("'") - token["octave"].count(","))
    return octave + _SEMITONE_OF_LETTER[letter] + altered.get(name, _signature(letter, key))


def _signature(letter: str, key: str) -> int:
    sharps = _SHARPS_OF_KEY[key]
    if sharps >= 0:
        return int(letter in _ORDER_OF_SHARPS[:sharps])
    return -int(letter in _ORDER_OF_SHARPS[sharps:])
