"""Where the bars and beats of a Score lie."""

from typing import NamedTuple

import numpy as np

from jaxaccomp.music.grid import settle
from jaxaccomp.music.midi import Score


class Bars(NamedTuple):
    """Where bars and beats lie, in ticks."""

    bar_ticks: np.ndarray
    """Beginning of each bar, and the end of the last one."""
    beat_ticks: np.ndarray
    """Beginning of each beat, bars' own beginnings included."""

    @property
    def count(self) -> int:  # ty: ignore[incompatible-property-override]
        """Number of bars."""
        return len(self.bar_ticks) - 1


def bars(score: Score, end_tick: int | None = None) -> Bars:
    """The bars of a Score, under all its metres, up to the one in which `end_tick` (its last note's end) falls."""
    end = max(int(score.notes["end"].max(initial=1)) if end_tick is None else end_tick, 1)
    metres = settle(score.metres, score.ticks_per_quarter)
    metres = metres[metres["tick"] < end]
    bar_ticks: list[np.ndarray] = []
    beat_ticks: list[np.ndarray] = []
    until = 0.0
    for number, (tick, numerator, denominator) in enumerate(metres.tolist()):
        beat = score.ticks_per_quarter * 4 / denominator
        if denominator >= 8 and numerator > 3 and numerator % 3 == 0:
            beat *= 3
        length = score.ticks_per_quarter * 4 * numerator / denominator
        last = number + 1 == len(metres)
        stop = end if last else int(metres["tick"][number + 1])
        bar_ticks.append(np.arange(tick, stop, length))
        until = bar_ticks[-1][-1] + length if last else stop
        beat_ticks.append(np.arange(tick, until, beat))
    return Bars(np.append(np.concatenate(bar_ticks), until), np.concatenate(beat_ticks))
