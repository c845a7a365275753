"""Weights in the order in which `kernels` reads them: panels of 64 columns, and gates by 16 units."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxaccomp.generate.decoding.vectors import LANES, PANEL

_LINE = 64
"""Bytes of a line of a cache, and of a vector."""


def gates(gates_NG: Float[np.ndarray, "N G"]) -> Float[np.ndarray, "N X"]:
    """Gates, such as a bias or rows of tokens: the four of 16 units side by side; zeros fill the last panel."""
    count, units = len(gates_NG), gates_NG.shape[1] // 4
    wide = padded(np.asarray(gates_NG, np.float32).reshape(count, 4, units), LANES)
    return np.ascontiguousarray(wide.reshape(count, 4, -1, LANES).transpose(0, 2, 1, 3)).reshape(count, -1)


def dense(kernel_XV: Float[np.ndarray, "X V"]) -> Float[np.ndarray, "panels X 64"]:
    """Columns of a kernel in panels; zeros fill the last."""
    wide = padded(kernel_XV, PANEL)
    return on_lines(wide.reshape(len(wide), -1, PANEL).transpose(1, 0, 2))


def on_lines(array: np.ndarray) -> np.ndarray:
    """A copy that begins where a line of the cache does, so that no vector of it lies in two."""
    memory = np.empty(array.nbytes + _LINE, np.uint8)
    first = -memory.ctypes.data % _LINE
    copy = memory[first : first + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def halves(kernel_XV: Float[np.ndarray, "X V"]) -> Float[np.ndarray, "panels X 64"]:
    """`dense`, the even rows before the odd ones."""
    return dense(np.concatenate([kernel_XV[::2], kernel_XV[1::2]]))


def layers(tree: Mapping[str, Any]) -> list[dict[str, np.ndarray]]:
    """Kernels and biases of a stack, in order."""
    count = sum(name.startswith("layer_") for name in tree)
    return [{name: np.asarray(leaf, np.float32) for name, leaf in tree[f"layer_{n}"].items()} for n in range(count)]


def initial_state(dense_layer: Mapping[str, Any], units: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of the initial states of layers; each cell and output begins at a whole vector."""
    both = np.vstack([np.asarray(dense_layer["kernel"]), np.asarray(dense_layer["bias"])[None]])
    edges = np.cumsum([size for size in units for _ in range(2)])[:-1]
    wide = np.concatenate([padded(piece, LANES) for piece in np.split(both, edges, axis=1)], axis=1)
    return dense(wide[:-1]), padded(wide[-1], PANEL)


def padded(x: Any, multiple: int) -> np.ndarray:
    """Zeros at the end of the last axis."""
    x = np.asarray(x, np.float32)
    return np.ascontiguousarray(np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, -x.shape[-1] % multiple)]))


def widths(units: Sequence[int]) -> tuple[int, ...]:
    """Units of layers, padded to whole vectors."""
    return tuple(-(-size // LANES) * LANES for size in units)
