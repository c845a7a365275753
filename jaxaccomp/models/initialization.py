"""How new parameters are drawn.

`reference` is the original's way. `fast` is for runs of minutes to hours, in which the original's tiny heads and
initial states stay near the unigram solution for thousands of steps: token rows are rather large, recurrent kernels
orthogonal for each gate, dense rows keep variance, and what carries the bar embedding into the decoders is doubled.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

TOKEN_SCALE = 0.6
"""Standard deviation of the rows that a one-hot input picks."""
EMBEDDING_GAIN = 2.0
"""Factor on the rows and kernels through which a bar embedding reaches a decoder."""
_REFERENCE_SCALE = 0.001


def reference_kernel(key: Array, shape: tuple[int, int], *, recurrent: bool) -> Array:
    """Glorot-uniform over the whole fused kernel of an LSTM or an output layer, else N(0, 0.001²)."""
    if recurrent:
        return jax.nn.initializers.glorot_uniform()(key, shape)
    return _REFERENCE_SCALE * jax.random.normal(key, shape)


def dense_kernel(key: Array, shape: tuple[int, int], gain: float = 1.0) -> Array:
    """Keeps the variance of its input: N(0, gain² / inputs)."""
    return gain / shape[0] ** 0.5 * jax.random.normal(key, shape)


def lstm_kernel(key: Array, tokens: int, inputs: int, units: int, gain: float = 1.0) -> Array:
    """A fused LSTM kernel `[tokens + inputs + units, 4 * units]` of the fast way.

    Args:
        key: random key.
        tokens: rows that belong to one-hot inputs.
        inputs: rows that belong to real-valued inputs.
        units: width of the layer.
        gain: factor on the rows of real-valued inputs.
    """
    token_key, input_key, recurrent_key = (jax.random.fold_in(key, n) for n in range(3))
    rows = [TOKEN_SCALE * jax.random.normal(token_key, (tokens, 4 * units))]
    if inputs:
        rows.append(dense_kernel(input_key, (inputs, 4 * units), gain))
    orthogonal = jax.nn.initializers.orthogonal()
    gates = [orthogonal(jax.random.fold_in(recurrent_key, gate), (units, units)) for gate in range(4)]
    rows.append(jnp.concatenate(gates, axis=-1))
    return jnp.concatenate(rows)


def draw(shapes: Mapping[str, Any], key: Array, kernel: Callable[[Array, str, tuple[int, int]], Array]) -> dict:
    """Draws a tree of parameters: zeros for each `bias`, `kernel(key, path, shape)` for each kernel.

    Args:
        shapes: nested dict of shapes whose innermost names are `kernel` and `bias`.
        key: random key; each array's own key depends on its place in the sorted tree alone.
        kernel: draws one kernel, given the slash-joined path of its layer.
    """
    leaves, tree = jax.tree_util.tree_flatten_with_path(dict(shapes), is_leaf=lambda node: isinstance(node, tuple))
    drawn = []
    for number, (path, shape) in enumerate(leaves):
        *layer, name = (entry.key for entry in path)
        own_key = jax.random.fold_in(key, number)
        drawn.append(jnp.zeros(shape) if name == "bias" else kernel(own_key, "/".join(layer), shape))
    return jax.tree_util.tree_unflatten(tree, drawn)
