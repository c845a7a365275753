"""Score → 16-bar trio windows by the reference's rules, and tokens → Score.

    extract(score, limit=5, hop=1) -> int32 [N, 256, 3]     # columns: melody, bass, drums
    to_score(tokens_LP, qpm=120.0) -> Score

`extract` builds training data, so it follows the reference bit for bit: it works in seconds, cuts the song at every
change of tempo or metre, takes 4/4 alone, and knows melody and bass by program numbers. Accompanying a song goes by
`melody` and `grid` instead.

Source: magenta data.py TrioConverter @526d3eb and note_seq @35825508 (spec §7, §8).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxaccomp.arrays import (
    BARS,
    HIGHEST_PITCH,
    LOWEST_PITCH,
    PARTS,
    STEPS,
    STEPS_PER_BAR,
    VOCABULARY,
    WindowTokens,
)
from jaxaccomp.config import require
from jaxaccomp.errors import MidiError
from jaxaccomp.music.midi import NOTE, Part, Score
from jaxaccomp.music.timeline import Timeline
from jaxaccomp.music.tokens import drum_line, drum_notes, pitched_notes, top_line

MELODY_PROGRAMS = range(0, 32)
BASS_PROGRAMS = range(32, 40)
BASS_PROGRAM = 33
"""Finger bass: what tokens of the bass part are played by."""

_MAX_BARS = 1024
_MAX_INSTRUMENT = 127
_GAP_BARS = 2
"""Bars around a note in which its instrument still counts as playing."""
_MELODY, _BASS, _DRUMS, _OTHER = range(4)


def extract(score: Score, limit: int | None = 5, hop: int = 1) -> WindowTokens:
    """Cuts a Score into 16-bar windows in which melody, bass and drums all play.

    Args:
        score: any music; it gives no windows if it lacks one of the parts or is not in 4/4.
        limit: at most so many windows, the first ones; None for all.
        hop: bars from one window to the next one of the same three instruments, at least 1; 1 is the reference's, 16
            makes them not overlap.

    Returns:
        Tokens of each window, in the reference's order: by segment, melody, bass and drum instrument, and bar.

    Raises:
        MidiError: `no-tempo`, for music that came from a NoteSequence without any; the reference fails there too.
        ConfigError: a negative limit, or a hop below 1.
    """
    require(limit is None or limit >= 0, f"limit must be 0 or more windows, or None for all, got {limit}")
    require(hop >= 1, f"hop must be 1 bar or more, got {hop}")
    found, wanted = [np.zeros((0, STEPS, len(PARTS)), np.int32)], limit
    for trio in trios(score, hop):
        found.append(trio.windows(trio.bars[:wanted]))
        if wanted is not None:
            wanted -= len(found[-1])
            if not wanted:
                break
    return np.concatenate(found)


@dataclass(frozen=True)
class Trio:
    """A melody, a bass and a drum instrument in a stretch of one tempo and metre.

    Attributes:
        segment: which stretch, from 0; those without windows count.
        qpm: its tempo.
        instruments: numbers of the three, in the order of parts; -1 where a part is left silent.
        programs: MIDI program of each.
        tokens_LP: their tokens over the whole stretch.
        bars: where windows begin, in bars from the start of the stretch; at least one.
    """

    segment: int
    qpm: float
    instruments: tuple[int, int, int]
    programs: tuple[int, int, int]
    tokens_LP: np.ndarray
    bars: np.ndarray

    def windows(self, bars: np.ndarray) -> WindowTokens:
        """Tokens of the windows that begin at these bars."""
        return self.tokens_LP[(bars * STEPS_PER_BAR)[:, None] + np.arange(STEPS)]

    def window(self, bar: int) -> np.ndarray:
        """Tokens [L, P] of the window that begins at a bar."""
        return self.tokens_LP[bar * STEPS_PER_BAR : bar * STEPS_PER_BAR + STEPS]


def trios(score: Score, hop: int = 1) -> Iterator[Trio]:
    """What `extract` cuts its windows from, in its order, encoded when asked for.

    Raises:
        MidiError: as `extract`.
    """
    for index, qpm, segment in _playable(score):
        yield from segment.trios(index, qpm, hop)


def drums_alone(score: Score, hop: int = 1) -> Iterator[Trio]:
    """Each drum instrument by itself, whatever else plays: windows as of `trios`, with a silent melody and bass.

    Raises:
        MidiError: as `extract`.
    """
    for index, qpm, segment in _playable(score):
        yield from segment.drums_alone(index, qpm, hop)


def _playable(score: Score) -> Iterator[tuple[int, float, "_Segment"]]:
    """Number, tempo and notes of each stretch in 4/4 that is long enough for a window."""
    timeline = score.timeline
    if len(timeline.pitch) and not timeline.tempos:
        raise MidiError("no-tempo", score.source, "the NoteSequence gives no tempo, so its notes have no sixteenths")
    for index, (start_s, end_s) in enumerate(_segments(timeline)):
        found = _segment(timeline, start_s, end_s)
        if found is not None:
            yield index, *found


def _segments(timeline: Timeline) -> list[tuple[float, float]]:
    """(start, end) in seconds of each stretch of one tempo and metre."""
    changes: list[tuple[float, tuple]] = [(time, (n, d)) for time, n, d in timeline.metres]
    changes += [(time, (qpm,)) for time, qpm in timeline.tempos]
    changes = sorted((change for change in changes if change[0] < timeline.total_s), key=lambda change: change[0])
    current: dict[int, tuple] = {2: (4, 4), 1: (120.0,)}
    splits = [0.0]
    for time, value in changes:
        if current[len(value)] != value:
            current[len(value)] = value
            if time > splits[-1]:
                splits.append(time)
    if timeline.total_s > splits[-1]:
        splits.append(timeline.total_s)
    return list(pairwise(splits))


def _in_force(changes: tuple, time: float, default: tuple) -> tuple:
    """The last change at or before this time, without its time."""
    value = default
    for change in sorted(changes, key=lambda change: change[0]):
        if change[0] > time:
            break
        value = change[1:]
    return value


def _segment(timeline: Timeline, start_s: float, end_s: float) -> "tuple[float, _Segment] | None":
    """Tempo and notes of a stretch; None where it is not in 4/4, or too short."""
    numerator, denominator = _in_force(timeline.metres, start_s, (4, 4))
    (qpm,) = _in_force(timeline.tempos, start_s, (120.0,))
    if numerator <= 0 or denominator <= 0 or denominator & (denominator - 1):
        return None
    if numerator * STEPS_PER_BAR != denominator * STEPS_PER_BAR:
        return None
    rows = np.flatnonzero((timeline.start_s >= start_s) & (timeline.start_s < end_s))
    if not len(rows):
        return None
    per_second = 4 * qpm / 60.0
    ends_s = np.minimum(timeline.end_s[rows], end_s) - start_s
    starts = ((timeline.start_s[rows] - start_s) * per_second + 0.5).astype(np.int64)
    ends = (ends_s * per_second + 0.5).astype(np.int64)
    ends += ends == starts
    if starts.min() < 0 or ends.min() < 0:
        return None
    total = max(int(max(float(ends_s.max()), 0.0) * per_second + 0.5), int(ends.max()))
    bars = min(-(-total // STEPS_PER_BAR), _MAX_BARS)
    if bars < BARS:
        return None
    return qpm, _Segment(timeline, rows, starts, ends, bars)


class _Segment:
    """Instruments of a stretch of one tempo and metre: what each is, where it plays, and its tokens."""

    def __init__(self, timeline: Timeline, rows, starts, ends, bars: int):
        self._bars = bars
        instrument = timeline.instrument[rows]
        counted = (instrument >= 0) & (instrument <= _MAX_INSTRUMENT)
        rows, starts, ends, instrument = rows[counted], starts[counted], ends[counted], instrument[counted]
        self._starts, self._ends, self._instrument = starts, ends, instrument
        self._pitch, self._velocity = timeline.pitch[rows], timeline.velocity[rows]
        is_drum, program = timeline.is_drum[rows], timeline.program[rows]
        kind = np.full(len(rows), _OTHER)
        kind[program < MELODY_PROGRAMS.stop] = _MELODY
        kind[(program >= BASS_PROGRAMS.start) & (program < BASS_PROGRAMS.stop)] = _BASS
        kind[is_drum] = _DRUMS
        self._programs = np.zeros(_MAX_INSTRUMENT + 1, np.int64)
        self._programs[instrument] = program
        # An instrument whose notes disagree is none of the three.
        counts = np.bincount(instrument * 4 + kind, minlength=4 * (_MAX_INSTRUMENT + 1)).reshape(-1, 4)
        self._kinds = np.where((counts > 0).sum(1) == 1, counts.argmax(1), _OTHER)

    def trios(self, index: int, qpm: float, hop: int) -> Iterator[Trio]:
        members = [np.flatnonzero(self._kinds == kind).tolist() for kind in (_MELODY, _BASS, _DRUMS)]
        if not all(members):
            return
        coverage, tokens = self._coverage(), {}
        for part, instruments in enumerate(members):
            for instrument in instruments:
                encoded = self._drum_tokens(instrument) if part == _DRUMS else self._pitch_tokens(instrument)
                if encoded is None:
                    coverage[instrument] = False
                else:
                    tokens[instrument] = encoded
        padded = _padded(coverage)
        for trio in product(*members):
            together = np.asarray(padded[list(trio)].all(0))
            together[:_GAP_BARS] = padded[list(trio), :_GAP_BARS].any()
            together[-_GAP_BARS:] = padded[list(trio), -_GAP_BARS:].any()
            bars = spaced(_covered(together), hop)
            if len(bars) and all(instrument in tokens for instrument in trio):
                tokens_LP = np.stack([tokens[instrument] for instrument in trio], 1)
                yield Trio(index, qpm, trio, tuple(self._programs[list(trio)].tolist()), tokens_LP, bars)

    def drums_alone(self, index: int, qpm: float, hop: int) -> Iterator[Trio]:
        padded = _padded(self._coverage())
        for instrument in np.flatnonzero(self._kinds == _DRUMS).tolist():
            bars = spaced(_covered(padded[instrument]), hop)
            if len(bars):
                tokens_LP = np.zeros((self._bars * STEPS_PER_BAR, len(PARTS)), np.int32)
                tokens_LP[:, _DRUMS] = self._drum_tokens(instrument)
                yield Trio(index, qpm, (-1, -1, instrument), (0, 0, int(self._programs[instrument])), tokens_LP, bars)

    def _coverage(self) -> np.ndarray:
        """Whether each instrument sounds in each bar."""
        rows, columns = _MAX_INSTRUMENT + 1, self._bars + 1
        first = np.minimum(self._starts // STEPS_PER_BAR, self._bars) + self._instrument * columns
        last = np.minimum(-(-self._ends // STEPS_PER_BAR), self._bars) + self._instrument * columns
        begun, ended = (np.bincount(edge, minlength=rows * columns) for edge in (first, last))
        return np.cumsum((begun - ended).reshape(rows, columns)[:, :-1], 1) > 0

    def _pitch_tokens(self, instrument: int) -> np.ndarray | None:
        mine = (self._instrument == instrument) & (self._velocity > 0)
        mine &= (self._pitch >= LOWEST_PITCH) & (self._pitch <= HIGHEST_PITCH)
        rows = np.flatnonzero(mine)
        if not len(rows):
            return None
        return top_line(self._starts[rows], self._ends[rows], self._pitch[rows], self._bars * STEPS_PER_BAR)

    def _drum_tokens(self, instrument: int) -> np.ndarray:
        mine = (self._instrument == instrument) & (self._velocity > 0) & (self._pitch < 128)
        return drum_line(self._starts[mine], self._pitch[mine], self._bars * STEPS_PER_BAR)


def _padded(coverage: np.ndarray) -> np.ndarray:
    """Bars [instruments, bars] in which an instrument plays, or does so within `_GAP_BARS`."""
    padded = coverage.copy()
    for shift in range(1, _GAP_BARS + 1):
        padded[:, shift:] |= coverage[:, :-shift]
        padded[:, :-shift] |= coverage[:, shift:]
    return padded


def _covered(sounding: np.ndarray) -> np.ndarray:
    """Bars at which a window begins in all of whose bars there is sound."""
    covered = np.concatenate([[0], np.cumsum(sounding)])
    return np.flatnonzero(covered[BARS:] - covered[:-BARS] == BARS)


def spaced(bars: np.ndarray, hop: int) -> np.ndarray:
    """Those of ascending bars that lie at least `hop` after the one taken before."""
    if hop == 1:
        return bars
    taken: list[int] = []
    for bar in bars.tolist():
        if not taken or bar >= taken[-1] + hop:
            taken.append(bar)
    return np.array(taken, np.int64)


def to_score(tokens_LP: Int[Any, "L P"], qpm: float | int = 120.0) -> Score:
    """Plays tokens as the reference does: velocity 80, program 0, finger bass 33, one-step drum hits.

    Args:
        tokens_LP: melody, bass and drum tokens, of one window or of any other length; an array of NumPy's or JAX's.
        qpm: quarter notes per minute, at least 3.58: a MIDI file cannot say less.

    Raises:
        ConfigError: another shape, a token that is not in its part's vocabulary, or an impossible tempo.
    """
    tokens_LP = np.asarray(tokens_LP)
    require(
        tokens_LP.ndim == 2 and tokens_LP.shape[1] == len(PARTS) and np.issubdtype(tokens_LP.dtype, np.integer),
        f"expected whole-number tokens [L, {len(PARTS)}] of {', '.join(PARTS)}, got {tokens_LP.dtype} "
        f"{list(tokens_LP.shape)}; give one window at a time",
    )
    for tokens_L, (part, size) in zip(tokens_LP.T, VOCABULARY.items(), strict=True):
        outside = tokens_L[(tokens_L < 0) | (tokens_L >= size)]
        require(not len(outside), f"{part} tokens are 0 to {size - 1}, got {outside[:1].tolist()}")
    require(
        0 < qpm < float("inf") and 0 < round(6e7 / qpm) < 1 << 24,
        f"qpm must be a tempo a MIDI file can say, about 3.58 to 6e7 quarter notes a minute, got {qpm}",
    )
    step = 220 // 4
    melody, bass = (pitched_notes(tokens_LP[:, part]) for part in (0, 1))
    parts = [
        Part("melody", 0, 0, _timed(melody, step)),
        Part("bass", 1, BASS_PROGRAM, _timed(bass, step)),
        Part("drums", 9, 0, _timed(drum_notes(tokens_LP[:, 2]), step)),
    ]
    sounding = (part for part in parts if len(part.notes))
    return Score.build(220, sounding, tempos=[(0, round(6e7 / qpm))], source="<tokens>")


def _timed(rows: np.ndarray, step_ticks: int, velocity: int = 80) -> np.ndarray:
    notes = np.zeros(len(rows), NOTE)
    notes["start"], notes["end"], notes["pitch"] = rows[:, 0] * step_ticks, rows[:, 1] * step_ticks, rows[:, 2]
    notes["velocity"] = velocity
    return notes
