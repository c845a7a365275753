"""How long something takes: warm-up, repeats, median and spread, and whether other processes were in the way."""

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

QUIET = 0.05
"""Others may take so much of the CPUs while something is timed."""
_SAMPLE_S = 0.2
"""The kernel counts in hundredths of a second: shorter calls are judged together."""


@dataclass(frozen=True)
class Timing:
    """Wall times of one computation.

    Attributes:
        first_s: the first call, in seconds: tracing and compilation, and one execution.
        seconds: each repeat after the warm-up.
        others: share of all CPUs that other processes took during the repeats, from 0 to 1; 0 where it is unknown.
    """

    first_s: float
    seconds: tuple[float, ...]
    others: float = 0.0

    @property
    def median_s(self) -> float:
        """Middle one of the repeats, in seconds."""
        return statistics.median(self.seconds)

    @property
    def fastest_s(self) -> float:
        """Shortest of the repeats, in seconds: for what a machine can do at most."""
        return min(self.seconds)

    @property
    def compile_s(self) -> float:
        """What the first call took longer than the median, in seconds."""
        return max(0.0, self.first_s - self.median_s)

    @property
    def spread(self) -> float:
        """(slowest − fastest) / median of the repeats."""
        return (max(self.seconds) - min(self.seconds)) / self.median_s


def measure(
    compute: Callable[[], Any],
    *,
    repeats: int = 5,
    warm_up: int = 1,
    limit_s: float = 60.0,
    least: int = 3,
    patience_s: float = 0.0,
) -> Timing:
    """Times `compute()` until its result is ready on the device.

    Args:
        compute: what to time; returns arrays, which are waited for.
        repeats: how many calls are timed.
        warm_up: how many calls after the first, which compiles, go untimed.
        limit_s: no further repeat starts once the timed ones took this long together, in seconds.
        least: this many are timed whatever they take (or `repeats`, if that is less).
        patience_s: calls during which others took more than `QUIET` of the CPUs are repeated for so long, in seconds;
            then the least disturbed ones count.
    """

    def call() -> float:
        start = time.perf_counter()
        jax.block_until_ready(compute())
        return time.perf_counter() - start

    def wanted(seconds: list[float]) -> bool:
        return len(seconds) < repeats and (len(seconds) < least or sum(seconds) < limit_s)

    def sample(already: list[float]) -> tuple[float, list[float]]:
        """Calls enough to be judged, and the share of the CPUs that others took."""
        before, seconds = _cpu_seconds(), []
        while not seconds or (sum(seconds) < _SAMPLE_S and wanted(already + seconds)):
            seconds.append(call())
        own, busy, total = (now - then for now, then in zip(_cpu_seconds(), before, strict=True))
        return max(0.0, busy - own) / total if total > 0 else 0.0, seconds

    first_s = call()
    for _ in range(warm_up):
        call()
    counted: list[float] = []
    samples: list[tuple[float, list[float]]] = []
    deadline = time.perf_counter() + patience_s
    while wanted(counted) and (not samples or not patience_s or time.perf_counter() < deadline):
        samples.append(sample(counted))
        if not patience_s or samples[-1][0] <= QUIET:
            counted += samples[-1][1]
    chosen: list[tuple[float, float]] = []
    for share, seconds in sorted(samples):
        if wanted([one for _, one in chosen]):
            chosen += [(share, one) for one in seconds]
    shares, chosen_s = zip(*chosen, strict=True)
    return Timing(first_s, chosen_s, statistics.mean(shares))


def refetch_s(compute: Callable[[], Any]) -> float:
    """Seconds of one call after this process forgot its programs, so that they come from the cache on disk."""
    jax.clear_caches()
    start = time.perf_counter()
    jax.block_until_ready(compute())
    return time.perf_counter() - start


class Others:
    """Watches what other processes take of the CPUs, from its making on; workers that ended count as ours."""

    def __init__(self):
        """Starts watching."""
        self._before = _cpu_seconds()

    def share(self) -> float:
        """Share of all CPUs that others took since then, from 0 to 1; 0 where it is unknown."""
        own, busy, total = (now - then for now, then in zip(_cpu_seconds(), self._before, strict=True))
        return max(0.0, busy - own) / total if total > 0 else 0.0


def _cpu_seconds() -> tuple[float, float, float]:
    """CPU seconds so far: of this process and its ended children, of all processes, and of all CPUs, busy or not.

    Zeros where they are unknown.
    """
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
        user, nice, system, idle, waiting, hard, soft, stolen = (
            int(field) / os.sysconf("SC_CLK_TCK") for field in fields
        )
    except (OSError, ValueError):
        return 0.0, 0.0, 0.0
    busy = user + nice + system + hard + soft + stolen
    ended = os.times()
    return time.process_time() + ended.children_user + ended.children_system, busy, busy + idle + waiting
