"""How long something takes: warm-up, repeats, median and spread."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax


@dataclass(frozen=True)
class Timing:
    """Wall times of one computation.

    Attributes:
        first_s: the first call, in seconds: tracing and compilation, and one execution.
        seconds: each repeat after the warm-up.
    """

    first_s: float
    seconds: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """Middle one of the repeats, in seconds."""
        return statistics.median(self.seconds)

    @property
    def compile_s(self) -> float:
        """What the first call took longer than the median, in seconds."""
        return max(0.0, self.first_s - self.median_s)

    @property
    def spread(self) -> float:
        """(slowest − fastest) / median of the repeats."""
        return (max(self.seconds) - min(self.seconds)) / self.median_s


def measure(
    compute: Callable[[], Any], *, repeats: int = 5, warm_up: int = 1, limit_s: float = 60.0, least: int = 3
) -> Timing:
    """Times `compute()` until its result is ready on the device.

    Args:
        compute: what to time; returns arrays, which are waited for.
        repeats: how many calls are timed.
        warm_up: how many calls after the first, which compiles, go untimed.
        limit_s: no further repeat starts once the timed ones took this long together, in seconds.
        least: this many are timed whatever they take (or `repeats`, if that is less).
    """

    def call() -> float:
        start = time.perf_counter()
        jax.block_until_ready(compute())
        return time.perf_counter() - start

    first_s = call()
    for _ in range(warm_up):
        call()
    seconds: list[float] = []
    while len(seconds) < repeats and (len(seconds) < least or sum(seconds) < limit_s):
        seconds.append(call())
    return Timing(first_s, tuple(seconds))
