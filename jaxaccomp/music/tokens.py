"""What tokens of a trio mean: which pitch sounds, where notes begin, which drums are hit.

Melody and bass tokens: 0 goes on, 1 ends a note, 2 and up begin a note. A drum token is a set of nine bits.
"""

import numpy as np
from jaxtyping import Bool, Int

from jaxaccomp.arrays import BARS, FIRST_NOTE_ON, LOWEST_PITCH, NO_EVENT, STEPS_PER_BAR

KICK, SNARE, CLOSED_HAT, OPEN_HAT, LOW_TOM, MID_TOM, HIGH_TOM, CRASH, RIDE = range(9)
"""Bits of a drum token."""
DRUMS = 9
"""Drum classes, one bit each (D)."""
SILENT = -1
"""Pitch of a step at which nothing sounds."""


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
