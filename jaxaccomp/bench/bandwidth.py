"""How fast the machine reads what has to be read again at every step: the weights.

On a CPU all cores read at once, each an array of its own, as cores do whose share of the weights is their own: from
memory, or from the caches that are a core's own and faster than any that cores share. On accelerators one array is
summed.
"""

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np

from jaxaccomp import machine_code, runtime
from jaxaccomp.bench.timing import measure

READ_BYTES = {"cpu": 2**27, "gpu": 2**32, "tpu": 2**30}
"""Size of what is read from memory, by backend: far beyond any cache; on CPUs, of which one keeps some of what is read
again and again, as much as a step of a layer at full size reads."""
_CACHED_BYTES = 2**17
"""Size of what each core reads from its own cache: half of the smallest second-level cache in use."""
_LEAST_BYTES = 2**28
"""Bytes that each core reads in a timed call, so that calling costs nothing beside."""


def memory_gb_per_s(*, size_bytes: int | None = None, repeats: int = 5, patience_s: float = 0.0) -> float:
    """Bandwidth of reading from memory, in GB/s, of all cores or of one device: the fastest of several readings."""
    size_bytes = size_bytes or READ_BYTES.get(jax.default_backend(), 2**27)
    if jax.default_backend() == "cpu":
        return _cores_gb_per_s(size_bytes // runtime.cores(), passes=1, repeats=repeats, patience_s=patience_s)
    source, add = jnp.zeros(size_bytes // 4, jnp.float32), jax.jit(jnp.sum)
    return source.nbytes / measure(lambda: add(source), repeats=repeats, patience_s=patience_s).fastest_s / 1e9


def cache_gb_per_s(*, repeats: int = 5, patience_s: float = 0.0) -> float:
    """Bandwidth of all cores reading from caches of their own, in GB/s, likewise; the memory's on accelerators."""
    if jax.default_backend() != "cpu":
        return memory_gb_per_s(repeats=repeats, patience_s=patience_s)
    passes = _LEAST_BYTES // _CACHED_BYTES
    return _cores_gb_per_s(_CACHED_BYTES, passes=passes, repeats=repeats, patience_s=patience_s)


def _cores_gb_per_s(size_bytes: int, passes: int, repeats: int, patience_s: float) -> float:
    arrays, read = [np.ones(size_bytes // 8, np.int64) for _ in range(runtime.cores())], _compiled()
    with ThreadPoolExecutor(len(arrays)) as pool:
        timing = measure(
            lambda: np.array(list(pool.map(lambda array: read(array, passes), arrays))),
            repeats=repeats,
            patience_s=patience_s,
        )
    return passes * sum(array.nbytes for array in arrays) / timing.fastest_s / 1e9


def _sum(values: np.ndarray, passes: int) -> int | np.integer:
    total, quarter = 0, values.size // 4  # four streams: more of them are fetched ahead
    for number in range(passes):
        for n in range(quarter):
            total += values[n] + values[n + quarter] + values[n + 2 * quarter] + values[n + 3 * quarter]
        for n in range(4 * quarter, values.size):
            total += values[n]
        values[0] = number  # so that the next sum is another, and none is left out
    return total


@functools.cache
def _compiled() -> Callable[[np.ndarray, int], int | np.integer]:
    return machine_code.compiled(_sum)
