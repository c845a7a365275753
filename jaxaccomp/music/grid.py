"""Ticks ⇄ the model's bars of 16 sixteenths, in any meter.

The model knows bars of 16 steps and nothing else. A song's bar is laid on one such model bar, or on several if it is
longer: 3/4 takes 12 of 16 steps, 5/4 takes 12 and then 8, 12/8 takes 12 and 12. Steps that a bar does not use are
`no event` on the way in, and what is generated there is dropped on the way back. An upbeat, a short first bar, lies
at the end of its model bar, where upbeats are. Bars are counted in quarter notes, so tempo plays no part.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from jaxaccomp.arrays import STEPS_PER_BAR
from jaxaccomp.music.midi import Score

Pace = Literal["normal", "half", "double"]


@dataclass(frozen=True, eq=False)
class Grid:
    """The model bars of a song, one row each, without a gap from tick 0 on.

    A *step* below is a flat index: 16 · model bar + step within it.
    """

    ticks_per_quarter: int
    start_ticks: np.ndarray
    """Where each model bar begins, int64, strictly ascending."""
    end_ticks: np.ndarray
    """Where it ends: where the next one begins."""
    used_from: np.ndarray
    """First used step of each model bar; 0 unless it is an upbeat."""
    used_to: np.ndarray
    """Step past the last used one, at most 16."""
    beat_steps: np.ndarray
    """Steps in a beat of its meter: 4 in 4/4, 6 in 6/8."""
    opens_bar: np.ndarray
    """Whether the model bar begins a bar of the song, rather than going on with one."""

    def __len__(self) -> int:
        return len(self.start_ticks)

    @classmethod
    def of(cls, score: Score, end_tick: int | None = None, pace: Pace = "normal") -> "Grid":
        """The grid of a Score up to and including the bar in which `end_tick` falls.

        Args:
            score: any music.
            end_tick: past the last sounding tick, so that music that ends on a bar line opens no new bar; by default
                the end of the last note.
            pace: at half time a model bar lies on two bars of the song, so that the band plays half as fast; at double
                time two lie on one.
        """
        if end_tick is None:
            end_tick = int(score.notes["end"].max(initial=0))
        quarter = score.ticks_per_quarter
        paced = {"normal": quarter, "half": 2 * quarter, "double": max(quarter // 2, 1)}[pace]
        return cls.lay(paced, settle(score.metres, quarter), end_tick)

    @classmethod
    def lay(cls, ticks_per_quarter: int, metres: np.ndarray, end_tick: int) -> "Grid":
        """The grid under these metres (midi.METRE, the first at tick 0)."""
        end_tick = max(end_tick, 1)
        pieces = []
        metres = metres[metres["tick"] < end_tick]
        for index, (tick, numerator, denominator) in enumerate(metres.tolist()):
            last = index + 1 == len(metres)
            until = end_tick if last else int(metres["tick"][index + 1])
            pieces.append(_lay_metre(ticks_per_quarter, tick, until, numerator, denominator, whole=last))
        start, end, beat, opens = (np.concatenate(column) for column in zip(*pieces, strict=True))
        used = np.minimum((4 * (end - start) - 3) // ticks_per_quarter + 1, STEPS_PER_BAR)
        used_from = np.zeros(len(used), np.int64)
        if len(pieces) > 1 and len(pieces[0][0]) == 1 and used[0] < used[1]:
            used_from[0] = STEPS_PER_BAR - used[0]
        return cls(ticks_per_quarter, start, end, used_from, used_from + used, beat, opens)

    def step_of(self, ticks: np.ndarray) -> np.ndarray:
        """The step whose beginning is nearest to each tick, the later one of two; past the end, the step past it."""
        ticks = np.asarray(ticks, np.int64)
        bar = np.maximum(np.searchsorted(self.start_ticks, ticks, side="right") - 1, 0)
        inside = (8 * (ticks - self.start_ticks[bar]) + self.ticks_per_quarter) // (2 * self.ticks_per_quarter)
        last = self.used_to[bar] - 1
        step = np.minimum(self.used_from[bar] + np.maximum(inside, 0), last)
        begins = self.tick_of(bar * STEPS_PER_BAR + step)
        over = (step == last) & (self.end_ticks[bar] - ticks <= ticks - begins)
        first = np.append(self.used_from, 0)
        return np.where(over, (bar + 1) * STEPS_PER_BAR + first[bar + 1], bar * STEPS_PER_BAR + step)

    def tick_of(self, steps: np.ndarray) -> np.ndarray:
        """The tick at which each step begins; unused steps have that of the nearest edge of their bar's used part."""
        steps = np.asarray(steps, np.int64)
        bar = np.minimum(steps // STEPS_PER_BAR, len(self) - 1)
        inside = steps - bar * STEPS_PER_BAR - self.used_from[bar]
        tick = self.start_ticks[bar] + (np.maximum(inside, 0) * self.ticks_per_quarter + 2) // 4
        past = steps - bar * STEPS_PER_BAR >= self.used_to[bar]
        return np.where(past, self.end_ticks[bar], np.minimum(tick, self.end_ticks[bar]))

    def is_used(self, steps: np.ndarray) -> np.ndarray:
        """Whether each step is one of the song's, rather than the unused rest of a model bar or past the end."""
        steps = np.asarray(steps, np.int64)
        bar = np.minimum(steps // STEPS_PER_BAR, len(self) - 1)
        inside = steps - bar * STEPS_PER_BAR
        return (inside >= self.used_from[bar]) & (inside < self.used_to[bar])

    def accent_of(self, steps: np.ndarray) -> np.ndarray:
        """Metrical weight of each step: 3 a bar's beginning, 2 another beat, 1 half a beat, 0 between."""
        steps = np.asarray(steps, np.int64)
        bar = np.minimum(steps // STEPS_PER_BAR, len(self) - 1)
        upbeat = self.used_from[bar] > 0
        inside = steps - bar * STEPS_PER_BAR - np.where(upbeat, 0, self.used_from[bar])
        beat = self.beat_steps[bar]
        weight = np.where(inside % beat == 0, 2, np.where(inside % np.maximum(beat // 2, 1) == 0, 1, 0))
        return np.where((inside == 0) & self.opens_bar[bar] & ~upbeat, 3, weight)


def settle(metres: np.ndarray, ticks_per_quarter: int) -> np.ndarray:
    """Metres (midi.METRE) moved to the bar lines they were meant for.

    One that is told within a 32nd of a bar line holds from the bar line on, or else within a 32nd of a beat, from the
    beat on; the one that is in force already, told again on a bar line, is left out. So no bar is a few ticks long, and
    no later bar is shifted.
    """
    near = ticks_per_quarter / 8
    settled: list[tuple[int, int, int]] = []
    for tick, numerator, denominator in metres.tolist():
        if settled:
            start, *before = settled[-1]
            beat = 4 * ticks_per_quarter / before[1]
            bar = before[0] * beat
            for unit in (bar, beat):
                line = start + round(round((tick - start) / unit) * unit)
                if abs(tick - line) <= near:
                    tick = line
                    break
            is_on_bar = abs(tick - start - round((tick - start) / bar) * bar) < 1
            if before == [numerator, denominator] and is_on_bar:
                continue
            if tick <= start:
                settled.pop()
                tick = start
        settled.append((tick, numerator, denominator))
    return np.array(settled, metres.dtype)


def _lay_metre(quarter: int, tick: int, until: int, numerator: int, denominator: int, whole: bool):
    """Model bars of one metre from `tick` to `until`; the last is cut off there unless `whole`."""
    length = 4 * quarter * numerator  # of a bar, in ticks times the denominator
    bars = -(-(until - tick) * denominator // length)
    count = -(-numerator // denominator)  # model bars to a bar
    share = np.cumsum([0] + [len(part) for part in np.array_split(np.arange(numerator), count)])
    edges = (np.arange(bars)[:, None] * length + share[:-1] * (4 * quarter)).ravel()
    start = tick + (2 * edges + denominator) // (2 * denominator)
    close = tick + (2 * bars * length + denominator) // (2 * denominator)
    end = np.append(start[1:], close if whole else until)
    opens = np.tile(np.arange(count) == 0, bars)
    beat = max(16 // denominator, 1) * (3 if denominator >= 8 and numerator % 3 == 0 and numerator > 3 else 1)
    real = (end > start) & (start < until)
    end = end if whole else np.minimum(end, until)
    return start[real], end[real], np.full(real.sum(), beat), opens[real]
