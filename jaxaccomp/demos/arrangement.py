"""A tune's text → a Score: the melody as written, and its chords in the tune's own pattern."""

import numpy as np

from jaxaccomp.demos import notation
from jaxaccomp.demos.notation import Line, Note
from jaxaccomp.demos.tunes import Tune
from jaxaccomp.music.midi import NOTE, Part, Score

TICKS_PER_QUARTER = 480
_TICKS_PER_STEP = TICKS_PER_QUARTER // 4
_STEPS_PER_EIGHTH = 2
_MELODY_CHANNEL, _CHORDS_CHANNEL = 0, 1
_MELODY_VELOCITY, _CHORDS_VELOCITY, _ACCENT = 92, 56, 12


def arrange(tune: Tune, rounds: int = 1) -> Score:
    """The Score of a tune.

    Args:
        tune: the tune.
        rounds: how many times it is played, the opening once.

    Raises:
        NotationError: its text is faulty.
    """
    numerator, denominator = tune.metre
    steps_per_bar = 16 * numerator // denominator
    melody: list[Note] = []
    chords: list[tuple[int, str]] = []
    tempos: list[tuple[int, int]] = []
    start = 0
    for passage in tune.opening + tune.passages * rounds:
        line = notation.parse(passage.text, tune.key, steps_per_bar)
        melody += [Note(start + note.start, note.length, note.pitch + passage.transpose) for note in line.notes]
        chords += [(start + step, symbol) for step, symbol in line.chords]
        microseconds = round(60e6 / passage.qpm) if passage.qpm is not None else None
        if microseconds is not None and microseconds not in [last for _, last in tempos[-1:]]:
            tempos.append((start * _TICKS_PER_STEP, microseconds))
        start += line.steps
    whole = Line(tuple(melody), tuple(chords), start)
    return Score.build(
        TICKS_PER_QUARTER,
        [
            Part("Melody", _MELODY_CHANNEL, tune.instrument, _notes(whole.notes, _MELODY_VELOCITY, steps_per_bar)),
            Part(
                "Chords",
                _CHORDS_CHANNEL,
                tune.accompaniment,
                _notes(_strummed(whole, tune.pattern, steps_per_bar), _CHORDS_VELOCITY, steps_per_bar),
            ),
        ],
        tempos,
        [(0, numerator, denominator)],
        source=tune.title,
    )


def _strummed(line: Line, pattern: str, steps_per_bar: int) -> list[Note]:
    """The chords of a line, played by a pattern (see `Tune.pattern`), the same in every bar."""
    begins = np.array([step for step, _ in line.chords])
    notes: list[Note] = []
    for bar in range(line.steps // steps_per_bar):
        for eighth, sign in enumerate(pattern):
            step = bar * steps_per_bar + eighth * _STEPS_PER_EIGHTH
            current = int(np.searchsorted(begins, step, side="right")) - 1
            if sign in ".-" or current < 0:
                continue
            tones = notation.chord_pitches(line.chords[current][1])
            held = len(pattern[eighth + 1 :]) - len(pattern[eighth + 1 :].lstrip("-"))
            length = _STEPS_PER_EIGHTH * (1 + held)
            chosen = tones if sign == "*" else [12 * (int(sign) // len(tones)) + tones[int(sign) % len(tones)]]
            notes += [Note(step, length, pitch) for pitch in chosen]
    return notes


def _notes(notes: list[Note] | tuple[Note, ...], velocity: int, steps_per_bar: int) -> np.ndarray:
    """Rows of a Score, the first note of a bar louder; a note ends a little early, so that repeated ones are heard."""
    rows = np.zeros(len(notes), NOTE)
    for row, note in zip(rows, notes, strict=True):
        row["start"] = note.start * _TICKS_PER_STEP
        row["end"] = (note.start + note.length) * _TICKS_PER_STEP - _TICKS_PER_STEP // 8
        row["pitch"] = note.pitch
        row["velocity"] = velocity + _ACCENT * (note.start % steps_per_bar == 0)
    return rows
