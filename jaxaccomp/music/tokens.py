"""What tokens of a trio mean: which pitch sounds, where notes begin, which drums are hit; tokens ⇄ notes on steps.

Melody and bass tokens: 0 goes on, 1 ends a note, 2 and up begin a note. A drum token is a set of nine bits.

Source: the encodings of note_seq as magenta's TrioConverter uses them (spec §7, §8).
"""

import numpy as np
from jaxtyping import Bool, Int

from jaxaccomp.arrays import BARS, FIRST_NOTE_ON, LOWEST_PITCH, NO_EVENT, NOTE_OFF, STEPS_PER_BAR

KICK, SNARE, CLOSED_HAT, OPEN_HAT, LOW_TOM, MID_TOM, HIGH_TOM, CRASH, RIDE = range(9)
"""Bits of a drum token."""
DRUMS = 9
"""Drum classes, one bit each (D)."""
SILENT = -1
"""Pitch of a step at which nothing sounds."""
DRUM_NAMES = ("kick", "snare", "closed hat", "open hat", "low tom", "mid tom", "high tom", "crash", "ride")
"""Names of the drum classes."""
DRUM_CLASSES = (
    (36, 35),
    (38, 27, 28, 31, 32, 33, 34, 37, 39, 40, 56, 65, 66, 75, 85),
    (42, 44, 54, 68, 69, 70, 71, 73, 78, 80, 22),
    (46, 67, 72, 74, 79, 81, 26),
    (45, 29, 41, 43, 61, 64, 84),
    (48, 47, 60, 63, 77, 86, 87),
    (50, 30, 62, 76, 83),
    (49, 52, 55, 57, 58),
    (51, 53, 59, 82),
)
"""Drum pitches of each class, in the order of `DRUM_NAMES`. The first pitch is the one that is played."""
DRUM_BITS = np.zeros(128, np.int32)
"""The drum token of each MIDI pitch on its own; 0 for pitches of no class."""
for _bit, _pitches in enumerate(DRUM_CLASSES):
    DRUM_BITS[list(_pitches)] = 1 << _bit


def sounding(tokens_NL: Int[np.ndarray, "*N L"]) -> Int[np.ndarray, "*N L"]:
    """Pitch that sounds at each step of a melody or bass, as a MIDI number; SILENT where none does."""
    steps_L = np.arange(tokens_NL.shape[-1])
    last_NL = np.maximum.accumulate(np.where(tokens_NL != NO_EVENT, steps_L, 0), axis=-1)
    event_NL = np.take_along_axis(tokens_NL, last_NL, axis=-1)
    return np.where(event_NL >= FIRST_NOTE_ON, event_NL - FIRST_NOTE_ON + LOWEST_PITCH, SILENT)


def onsets(tokens_NL: Int[np.ndarray, "*N L"]) -> Bool[np.ndarray, "*N L"]:
    """Steps at which a note of a melody or bass begins."""
    return tokens_NL >= FIRST_NOTE_ON


def hits(drums_NL: Int[np.ndarray, "*N L"]) -> Bool[np.ndarray, "*N L D"]:
    """Which of the nine drum classes are hit at each step."""
    return (drums_NL[..., None] >> np.arange(DRUMS)) & 1 > 0


def bars(step_NL: np.ndarray) -> np.ndarray:
    """Steps of windows [..., L] cut into bars [..., S, T]."""
    return step_NL.reshape(*step_NL.shape[:-1], BARS, STEPS_PER_BAR)


def top_line(starts: np.ndarray, ends: np.ndarray, pitches: np.ndarray, steps: int) -> np.ndarray:
    """Melody tokens of notes: of those that start together the highest, each cut short by the next.

    Args:
        starts: step of each note's start.
        ends: step past its end, greater than the start.
        pitches: 21 to 108.
        steps: how many tokens.
    """
    order = np.argsort(starts << 7 | 127 - pitches, kind="stable")  # notes come nearly in order
    order = order[np.diff(starts[order], prepend=-1) > 0]
    starts, ends, pitches = starts[order], ends[order], pitches[order]
    released = ends[(ends < np.append(starts[1:], steps)) & (ends < steps)]
    tokens = np.zeros(steps, np.int32)
    tokens[released] = NOTE_OFF
    inside = starts < steps
    tokens[starts[inside]] = pitches[inside] - LOWEST_PITCH + FIRST_NOTE_ON
    return tokens


def drum_line(starts: np.ndarray, pitches: np.ndarray, steps: int) -> np.ndarray:
    """Drum tokens of hits.

    Args:
        starts: step of each hit; those past the end are left out.
        pitches: MIDI pitches, 0 to 127.
        steps: how many tokens.
    """
    tokens = np.zeros(steps, np.int32)
    inside = starts < steps
    np.bitwise_or.at(tokens, starts[inside], DRUM_BITS[pitches[inside]])
    return tokens


def pitched_notes(tokens_L: np.ndarray) -> np.ndarray:
    """Rows (start step, end step, pitch) of melody or bass tokens; what sounds at the end ends there."""
    change = np.flatnonzero(tokens_L != NO_EVENT)
    until = np.append(change[1:], len(tokens_L))
    begins = onsets(tokens_L[change])
    pitch = tokens_L[change] - FIRST_NOTE_ON + LOWEST_PITCH
    return np.stack([change[begins], until[begins], pitch[begins]], 1).astype(np.int64)


def drum_notes(tokens_L: np.ndarray) -> np.ndarray:
    """Rows (start step, end step, pitch) of drum tokens; each hit lasts one step."""
    struck = np.flatnonzero(tokens_L)
    place, drum = np.nonzero(hits(tokens_L[struck]))
    step = struck[place]
    pitch = np.array([pitches[0] for pitches in DRUM_CLASSES])[drum]
    return np.stack([step, step + 1, pitch], 1).astype(np.int64)
