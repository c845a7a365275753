"""Random music for the property tests of this folder."""

import numpy as np
from hypothesis import strategies as st

from jaxaccomp.music.midi import NOTE, Part

METRES = [(2, 4), (3, 4), (4, 4), (5, 4), (6, 8), (7, 8), (12, 8)]


@st.composite
def notes(draw, end_tick: int = 20_000, most: int = 40) -> np.ndarray:
    """Notes of which no two of one pitch overlap, as MIDI could not tell them apart."""
    rows = draw(
        st.lists(
            st.tuples(st.integers(0, end_tick - 1), st.integers(1, 2000), st.integers(0, 127), st.integers(1, 127)),
            min_size=1,
            max_size=most,
        )
    )
    free: dict[int, int] = {}
    kept = []
    for start, length, pitch, velocity in sorted(rows):
        if start >= free.get(pitch, 0):
            free[pitch] = start + length
            kept.append((start, start + length, pitch, velocity, 0, 0, 0))
    return np.array(kept, NOTE)


@st.composite
def parts(draw) -> list[Part]:
    """One to five parts, each on a channel of its own, some with pedal and bends."""
    channels = draw(st.lists(st.integers(0, 15), min_size=1, max_size=5, unique=True))
    controls = st.tuples(
        st.integers(0, 20_000), st.sampled_from([0xB0, 0xE0]), st.integers(0, 127), st.integers(0, 127)
    )
    return [
        Part(
            name=draw(st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), max_size=8)),
            channel=channel,
            program=draw(st.integers(0, 127)),
            notes=draw(notes()),
            controls=draw(st.lists(controls, max_size=4)),
        )
        for channel in channels
    ]


@st.composite
def metre_maps(draw, ticks_per_quarter: int, bars: int = 8) -> list[tuple[int, int, int]]:
    """Metre changes on bar lines, an upbeat at times first: (tick, numerator, denominator)."""
    tick, found = 0, []
    if draw(st.booleans()):
        found.append((0, draw(st.integers(1, 3)), 4))
        tick = ticks_per_quarter * found[0][1]
    for _ in range(draw(st.integers(1, 4))):
        numerator, denominator = draw(st.sampled_from(METRES))
        found.append((tick, numerator, denominator))
        tick += draw(st.integers(1, bars)) * 4 * ticks_per_quarter * numerator // denominator
    return found


@st.composite
def songs(draw) -> dict:
    """What `Score.build` needs for a whole song: parts under a random metre and tempo map.

    The Score itself is built in the test: type checks inside a strategy would disturb its choices.
    """
    quarter = draw(st.sampled_from([24, 96, 120, 220, 384, 480, 960]))
    tempos = draw(st.lists(st.tuples(st.integers(1, 30_000), st.integers(1000, 2_000_000)), max_size=4))
    return {
        "ticks_per_quarter": quarter,
        "parts": draw(parts()),
        "tempos": [(0, 500_000), *tempos],
        "metres": draw(metre_maps(quarter)),
    }
