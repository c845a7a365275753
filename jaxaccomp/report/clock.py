"""Ticks of a Score → seconds, under all its tempos."""

import numpy as np
from jaxtyping import Float, Int

from jaxaccomp.music.midi import Score


def seconds(
    score: Score, ticks: Int[np.ndarray, "*shape"] | Float[np.ndarray, "*shape"]
) -> Float[np.ndarray, "*shape"]:
    """When each tick sounds; ticks may be fractions."""
    tempos = score.tempos
    per_tick_s = tempos["microseconds"] / (1e6 * score.ticks_per_quarter)
    start_s = np.concatenate([[0.0], np.cumsum(np.diff(tempos["tick"]) * per_tick_s[:-1])])
    at = np.searchsorted(tempos["tick"], ticks, side="right") - 1
    return start_s[at] + (ticks - tempos["tick"][at]) * per_tick_s[at]


def ticks_per_second(score: Score, tick: int) -> float:
    """How many ticks the tempo that holds at `tick` puts in a second."""
    at = np.searchsorted(score.tempos["tick"], tick, side="right") - 1
    return 1e6 * score.ticks_per_quarter / float(score.tempos["microseconds"][at])
