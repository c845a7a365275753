"""The encoder on a CPU: from tokens to what the heads read, as machine code.

What comes in as one-hots is looked up, not multiplied. The two directions are two tasks, and so are blocks of rows. A
row depends on itself alone: each sum over inputs is taken from the first to the last. So does Eigen, XLA's older
library, from eight rows on, so that the numbers are equal to its own to the last bit, and differ from the newer one's
by rounding.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from jaxaccomp.arrays import VOCABULARY
from jaxaccomp.generate.decoding import native, threads
from jaxaccomp.generate.decoding.native_layer import NativeLayer
from jaxaccomp.models import lstm_scan

_SIDES = ("forward", "backward")
_TASK_ROWS = 24
"""Rows that one thread takes through a layer: four blocks of them."""
_WIDE_TASK_ROWS = 64
"""The same of wide layers, whose weights come from memory for each task anew."""


def fits(layers: Sequence[Mapping[str, Any]]) -> bool:
    """Whether this process can run an encoder, and gains by it.

    Args:
        layers: each with a `forward` and a `backward` layer, as loaded.
    """
    leaves = jax.tree.leaves(list(layers))
    if not native.is_available() or any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
        return False
    fast = not _are_wide(layers) or native.has_long_vectors()
    return fast and all(leaf.dtype == np.float32 for leaf in leaves)


def _are_wide(layers: Sequence[Mapping[str, Any]]) -> bool:
    return max(len(layer[side]["bias"]) // 4 for layer in layers for side in _SIDES) >= lstm_scan.WIDE


class NativeEncoder:
    """An encoder's layers, packed when they are first asked for."""

    def __init__(self, layers: Sequence[Mapping[str, Any]], parts: Sequence[str]):
        """Takes layers that `fits` accepts.

        Args:
            layers: each with a `forward` and a `backward` layer.
            parts: whose tokens it reads, in the order of the first kernel's rows.
        """
        self._layers = layers
        self._task_rows = _WIDE_TASK_ROWS if _are_wide(layers) else _TASK_ROWS
        self._sizes = np.array([VOCABULARY[part] for part in parts], np.int32)
        self._packed: list[list[NativeLayer]] | None = None

    def compile(self) -> None:
        """Compiles everything, or fetches it, by reading a row; asks JAX for nothing, so any thread may."""
        self(np.zeros((1, 2, len(self._sizes)), np.int32))

    def __call__(self, tokens_BLP: Int[np.ndarray, "B L P"]) -> Float[np.ndarray, "B X"]:
        """The top layer's last forward and last backward outputs, side by side; a token out of range is a zero vector.

        Source: `lstm_scan.bidirectional`.
        """
        first = np.cumsum(self._sizes) - self._sizes
        is_known = (tokens_BLP >= 0) & (tokens_BLP < self._sizes)
        rows_BLP = np.where(is_known, tokens_BLP + first, self._sizes.sum()).astype(np.int32)
        # So many at a time, so that many rows take no more memory than these.
        most = self._task_rows * (threads.count() if self._task_rows == _WIDE_TASK_ROWS else 2 * threads.count())
        found = [self._read(rows_BLP[start : start + most]) for start in range(0, len(rows_BLP), most)]
        return np.concatenate(found) if len(found) > 1 else found[0]

    def _read(self, rows_BLP: np.ndarray) -> np.ndarray:
        layers, (count, steps, _) = self._directions(), rows_BLP.shape
        size = max(1, min(self._task_rows, -(-2 * count // threads.count())))
        pieces = [np.ascontiguousarray(rows_BLP[n : n + size].transpose(1, 0, 2)) for n in range(0, count, size)]
        below: list[np.ndarray | None] = [None] * len(pieces)
        for layer in layers:
            kept = 2 if layer is layers[-1] else steps
            above = [layer[0].new_outputs(kept, piece.shape[1], len(layer)) for piece in pieces]
            tasks = [(direction, *rows) for rows in zip(pieces, below, above, strict=True) for direction in layer]
            threads.share(lambda direction, *rows: direction(*rows), tasks)
            below = above
        units, width = layers[-1][0].units, layers[-1][0].width
        ends = [(h_MRX[(steps - 1) % 2, :, :units], h_MRX[0, :, width : width + units]) for h_MRX in above]
        return np.concatenate([np.concatenate(both, axis=-1) for both in ends])

    def _directions(self) -> list[list[NativeLayer]]:
        if self._packed is None:
            packed, below = [], ()
            for layer in self._layers:
                packed.append([NativeLayer(layer[side], below, is_backward=side == "backward") for side in _SIDES])
                below = (packed[-1][0].units,) * 2
            self._packed = packed
        return self._packed
