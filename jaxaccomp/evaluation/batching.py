"""Any number of rows through a function of a batch of one size, so that it is compiled once."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def in_batches(function: Callable[..., Any], batch_size: int, *rows: np.ndarray) -> Any:
    """Applies a function to all rows, `batch_size` at a time; the last batch is filled up, and what fills it dropped.

    Args:
        function: of one batch of each of `rows`; gives arrays with a row for each, in any tree.
        batch_size: rows at once.
        rows: arrays of the same number of rows.

    Returns:
        The function's tree, its arrays joined, as NumPy arrays.
    """
    total, pieces = len(rows[0]), []
    for first in range(0, total, batch_size):
        index_B = np.minimum(np.arange(first, first + batch_size), total - 1)
        found = function(*(array[index_B] for array in rows))
        count = min(batch_size, total - first)
        pieces.append(jax.tree.map(lambda array, n=count: np.asarray(array)[:n], found))
    return jax.tree.map(lambda *column: np.concatenate(column), *pieces)
