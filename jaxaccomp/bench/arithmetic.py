"""How fast a CPU's cores multiply and add at best: no product of matrices is faster, whatever library makes it."""

import numpy as np

from jaxaccomp.bench.timing import measure
from jaxaccomp.generate.decoding import threads, vectors
from jaxaccomp.generate.decoding.kernels import address
from jaxaccomp.machine_code import compiled

_INPUTS, _ROWS = 64, 6
"""Of the product that each core repeats: its numbers fill half of the smallest first-level cache in use, and its sums
stay in registers."""


def multiply_add_gflops(*, passes: int = 20_000, repeats: int = 5, patience_s: float = 0.0) -> float:
    """Speed of float32 multiply-adds in vectors of all cores, in GFLOP/s: the fastest of several.

    Args:
        passes: products in a timed call of each core; so many that calling costs nothing beside.
        repeats: timed calls.
        patience_s: see `timing.measure`.
    """
    random = np.random.default_rng(0)
    shapes = (_INPUTS, vectors.PANEL), (_ROWS, _INPUTS), (_ROWS, vectors.PANEL)
    cores = [tuple(random.random(shape, np.float32) for shape in shapes) for _ in range(threads.count())]

    def all_cores() -> np.ndarray:
        threads.share(_multiply, [(*arrays, passes) for arrays in cores])
        return cores[0][-1]

    operations = 2 * _INPUTS * _ROWS * vectors.PANEL * passes * len(cores)
    return operations / measure(all_cores, repeats=repeats, patience_s=patience_s).fastest_s / 1e9


@compiled
def _multiply(weights_XG, x_RX, out_RG, passes):
    """`out += x @ weights`, again and again."""
    w, x, out = address(weights_XG), address(x_RX), address(out_RG)
    x_stride, out_stride, inputs = x_RX.shape[1], out_RG.shape[1], x_RX.shape[1]
    none, one = np.int64(0), np.int64(1)
    for _ in range(passes):
        vectors.block_6((w, x, x_stride, inputs, x, x_stride, none, one, out, out_stride, out, out_stride))
