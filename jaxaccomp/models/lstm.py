"""LSTM cells in TensorFlow's fused layout.

A layer is one kernel `[inputs + H, G]` and one bias `[G]` with G = 4H gates in the order i, j, f, o (input, candidate,
forget, output); 1.0 is added to the forget gate at run time. The rows of a kernel are used apart: `x @ kernel[:inputs]`
is computed for all steps at once, outside the loop (for one-hot inputs it is a gather of rows), so that a scan
(`lstm_scan`) sees ready *gates* and keeps one product with the recurrent rows per step.

Source: magenta lstm_utils / tf.contrib.rnn.LSTMBlockCell @526d3eb.
"""

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

AnyArray = Array | np.ndarray
"""What a caller may hand over."""

FORGET_BIAS = 1.0
"""Added to the forget gate at run time; never part of the stored bias."""

Layer = Mapping[str, AnyArray]
"""`kernel` [inputs + H, G] and `bias` [G] of one layer and direction."""


class Carry(NamedTuple):
    """State of one layer: cell and output."""

    c_BH: Float[AnyArray, "B H"]
    h_BH: Float[AnyArray, "B H"]


def zero_carry(batch: Any, units: int, dtype: Any = jnp.float32) -> Carry:
    """The state before the first step of an encoder layer; `batch` may be symbolic, where a program is exported."""
    return Carry(jnp.zeros((batch, units), dtype), jnp.zeros((batch, units), dtype))


def carries_from(state_BX: Float[AnyArray, "B X"], sizes: tuple[int, ...]) -> tuple[Carry, ...]:
    """Splits a concatenated state, in the order c, h of the first layer, c, h of the second, and so on."""
    edges = [0]
    for size in sizes:
        edges += [edges[-1] + size, edges[-1] + 2 * size]
    pieces = [state_BX[:, a:b] for a, b in itertools.pairwise(edges)]
    return tuple(Carry(c, h) for c, h in zip(pieces[::2], pieces[1::2], strict=True))


def matmul(x: AnyArray, kernel: AnyArray, dtype: Any = None) -> AnyArray:
    """`x @ kernel`, operands rounded to `dtype` if given, always summed as `sum_type` says."""
    if dtype is not None:
        x, kernel = x.astype(dtype), kernel.astype(dtype)
    return jnp.matmul(x, kernel, preferred_element_type=sum_type(x, kernel))


def sum_type(*arrays: AnyArray) -> Any:
    """The type of sums and cell states: float32, or float64 where JAX is told to use it and parameters have it."""
    return jnp.promote_types(jnp.result_type(*arrays), jnp.float32)


def token_gates(table_VG: Float[AnyArray, "V G"], tokens: Int[AnyArray, "*N"]) -> Float[AnyArray, "*N G"]:
    """Gates' share of a one-hot input: rows of the kernel; a token outside 0..V-1 is the zero vector.

    The gradient is a scatter-add of rows, on a CPU more than ten times faster than a product with one-hots.
    """
    unknown = table_VG.shape[0]
    return jnp.asarray(table_VG).at[jnp.where(tokens < 0, unknown, tokens)].get(mode="fill", fill_value=0)


def step(kernel_HG: Float[AnyArray, "H G"], gates_BG: Float[AnyArray, "B G"], carry: Carry, dtype: Any = None) -> Carry:
    """One cell step.

    Args:
        kernel_HG: the recurrent rows of a layer's kernel.
        gates_BG: the input's share of the gates, bias included.
        carry: state before the step.
        dtype: what the operands of the product are rounded to; None keeps them.

    Returns:
        The state after the step; the output is its `h_BH`.
    """
    return activate(gates_BG + matmul(carry.h_BH, kernel_HG, dtype), carry.c_BH)


def activate(gates_BG: Float[AnyArray, "B G"], c_BH: Float[AnyArray, "B H"]) -> Carry:
    """The nonlinear half of a step, for a caller who formed all of the gates in one product."""
    return activate_keeping_gates(gates_BG, c_BH)[0]


def activate_keeping_gates(gates_BG: AnyArray, c_BH: AnyArray) -> tuple[Carry, AnyArray]:
    """The nonlinear half of a step: new state, and the activated gates that a gradient needs.

    All four gates go through one tanh, since sigmoid(x) = (1 + tanh(x / 2)) / 2: XLA on CPUs runs a fused loop with a
    single transcendental four times as fast as one with five.
    """
    scale_G, shift_G, offset_G = _gate_constants(c_BH.shape[-1])
    activated_BG = jnp.tanh(gates_BG * scale_G + shift_G) * scale_G + offset_G
    i, j, f, o = jnp.split(activated_BG, 4, axis=-1)
    c_BH = f * c_BH + i * j
    return Carry(c_BH, o * jnp.tanh(c_BH)), activated_BG


def activate_columns(
    gates_GB: Float[AnyArray, "G B"], c_HB: Float[AnyArray, "H B"]
) -> tuple[Float[AnyArray, "H B"], Float[AnyArray, "H B"]]:
    """`activate` where each column is a row of the batch: new cell and output."""
    scale_G1, shift_G1, offset_G1 = (constant[:, None] for constant in _gate_constants(c_HB.shape[0]))
    i, j, f, o = jnp.split(jnp.tanh(gates_GB * scale_G1 + shift_G1) * scale_G1 + offset_G1, 4)
    c_HB = f * c_HB + i * j
    return c_HB, o * jnp.tanh(c_HB)


def _gate_constants(units: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    constants = np.array([[0.5, 1.0, 0.5, 0.5], [0, 0, 0.5 * FORGET_BIAS, 0], [0.5, 0, 0.5, 0.5]], np.float32)
    return tuple(np.repeat(constants, units, axis=1))
