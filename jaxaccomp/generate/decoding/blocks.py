"""Rows in blocks of a few fixed sizes: nothing recompiles while a collection runs, and no row depends on its neighbors.

A row's result must not depend on how many rows are computed beside it, to the last bit: one rounding that differs may
flip a sampled token, and all that follow. But a matrix product sums in an order that its library chooses by the shapes.
So rows are computed in blocks, padded to one of a few sizes:

* The sampler has one size on each kind of machine, `whole`: shapes are always the same.
* So has all else on accelerators and on CPUs of many cores. On a CPU of one or two cores that would make a single song
  wait, so there are smaller `sizes` too. Their rows are equal to those of a large one with XLA's older CPU products
  (Eigen), which sum along K in one order from 8 rows on; the newer ones do not, and neither does Eigen when it has
  threads enough to share out K. `jit` asks for them.

The tests compare blocks of all sizes bit by bit.
"""

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

CPU_BLOCK = 64
"""Enough rows to keep a CPU's products near their peak."""
SMALL_CPU_BLOCKS = (8, 16, 32)
"""On one core or two, beside the large one."""
FEW_CORES_WHOLE = 32
"""The sampler's size on one core or two: half as many rows lose a tenth of the speed, and no song waits for 64."""
ACCELERATOR_BLOCK = 512
"""Enough rows to hide the latency of 256 steps in sequence."""
_EIGEN = {"xla_cpu_experimental_ynn_fusion_type": ""}


@functools.cache
def sizes() -> tuple[int, ...]:
    """Block sizes of this machine, ascending."""
    if jax.default_backend() != "cpu":
        return (ACCELERATOR_BLOCK,)
    return (*SMALL_CPU_BLOCKS, CPU_BLOCK) if _threads() <= 2 and _options() else (CPU_BLOCK,)


def bucket(rows: int, among: Sequence[int] | None = None) -> int:
    """The size of the block in which `rows` rows are computed; more than fit are computed in several."""
    among = among or sizes()
    return next((size for size in among if size >= rows), among[-1])


def jit(function: Callable, **options: Any) -> Callable:
    """`jax.jit`, so compiled that a row's result is the same in blocks of every size."""
    compiled = None

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal compiled
        if compiled is None:  # not at import: asking for options starts the backend
            compiled = jax.jit(function, compiler_options=_options(), **options)
        return compiled(*args, **kwargs)

    return call


def whole() -> tuple[int, ...]:
    """One size for all, for programs whose products only agree with themselves."""
    few_cores = jax.default_backend() == "cpu" and _threads() <= 2
    return (FEW_CORES_WHOLE,) if few_cores else sizes()[-1:]


def jit_by_dtype(function: Callable, **options: Any) -> Callable:
    """`jax.jit` of a function that takes a `dtype`, for blocks of one size.

    XLA's newer CPU products are the fastest, but lack some of bfloat16: those are left to the older ones.
    """
    exact, rounded = jax.jit(function, **options), jit(function, **options)

    @functools.wraps(function)
    def call(*args: Any, dtype: Any, **kwargs: Any) -> Any:
        return (exact if dtype is None else rounded)(*args, dtype=dtype, **kwargs)

    return call


def in_blocks(function: Callable[..., Any], *rows: Array | np.ndarray, sizes: Sequence[int] | None = None) -> Any:
    """Calls `function` on blocks of rows.

    Args:
        function: takes arrays of as many rows each, and gives a tree of arrays of as many rows; made by `jit`.
        rows: its arguments, of any number of rows, at least one.
        sizes: block sizes, ascending; None: those of this machine.

    Returns:
        The results, as though computed at once. Nothing waits for the device.
    """
    total = len(rows[0])
    results = launch(function, *rows, sizes=sizes)
    if len(results) == 1:  # a slice that leaves nothing out would be a program to start all the same
        return jax.tree.map(lambda leaf: leaf if len(leaf) == total else leaf[:total], results[0][1])
    cut = [jax.tree.map(lambda leaf, count=count: leaf[:count], result) for count, result in results]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *cut)


def launch(
    function: Callable[..., Any], *rows: Array | np.ndarray, sizes: Sequence[int] | None = None
) -> list[tuple[int, Any]]:
    """`in_blocks`, block by block: how many rows of each count, and its result with the padding still on."""
    results, start = [], 0
    while start < len(rows[0]):
        size = bucket(len(rows[0]) - start, sizes)
        count = min(size, len(rows[0]) - start)
        results.append((count, function(*(_pad(array[start : start + count], size) for array in rows))))
        start += count
    return results


def _pad(rows: Array | np.ndarray, size: int) -> Array | np.ndarray:
    """Fills up with copies of the last row: of any type, keys included, and no stranger than real ones."""
    missing = size - len(rows)
    if not missing:
        return rows
    module = np if isinstance(rows, np.ndarray) else jnp
    return module.concatenate([rows, module.broadcast_to(rows[-1:], (missing, *rows.shape[1:]))])


@functools.cache
def _options() -> dict[str, Any] | None:
    """Compiler options for Eigen's products; None where this XLA knows no such option or needs none."""
    if jax.default_backend() != "cpu":
        return None
    try:
        jax.jit(lambda x: x, compiler_options=_EIGEN).lower(np.float32(0)).compile()
    except Exception:  # XLA's own error, whose type is not public
        return None
    return _EIGEN


def _threads() -> int:
    """Threads that XLA's products may be shared among on this CPU: one for each core, or each virtual device."""
    cores: Sequence[int] | range = range(os.cpu_count() or 1)
    if os.environ.get("NPROC", "").isdigit():  # as XLA reads it
        cores = range(int(os.environ["NPROC"]))
    elif hasattr(os, "sched_getaffinity"):
        cores = list(os.sched_getaffinity(0))
    return max(len(cores), jax.local_device_count())
