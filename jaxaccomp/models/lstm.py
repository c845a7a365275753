"""LSTM cells in TensorFlow's fused layout, and scans over them that spend their time in matrix products.

A layer is one kernel `[inputs + H, G]` and one bias `[G]` with G = 4H gates in the order i, j, f, o (input, candidate,
forget, output); 1.0 is added to the forget gate at run time. The rows of a kernel are used apart: `x @ kernel[:inputs]`
is computed for all steps at once, outside the loop (for one-hot inputs it is a gather of rows), so that a scan sees
ready *gates* and keeps one product with the recurrent rows per step.

Source: magenta lstm_utils / tf.contrib.rnn.LSTMBlockCell @526d3eb.
"""

import itertools
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

AnyArray = Array | np.ndarray
"""What a caller may hand over."""

FORGET_BIAS = 1.0
"""Added to the forget gate at run time; never part of the stored bias."""

WIDE = 512
"""Layers of so many units and more are worth turning round on a CPU, see `in_columns`."""
_FEW_ROWS = 8
"""Fewer rows than this leave a product waiting for its kernel either way."""

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
    return _activate(gates_BG, c_BH)[0]


def _activate(gates_BG: AnyArray, c_BH: AnyArray) -> tuple[Carry, AnyArray]:
    """The nonlinear half of a step: new state and activated gates.

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


def _candidate_gate(units: int) -> np.ndarray:
    return np.repeat(np.array([0, 1, 0, 0], np.float32), units)


class Lane(NamedTuple):
    """One layer in one direction, waiting to be scanned.

    Attributes:
        kernel_HG: the recurrent rows of the layer's kernel.
        gates_LBG: the input's share of the gates at each step.
        share: what is added to the gates at every step alike, such as the bias: [G], or [B, G] for each row its own.
        carry: state before the first step.
        reverse: whether time runs from each row's last step to its first.
    """

    kernel_HG: AnyArray
    gates_LBG: AnyArray
    share: AnyArray
    carry: Carry
    reverse: bool = False


def scan(
    kernel_HG: Float[AnyArray, "H G"],
    gates_LBG: Float[AnyArray, "L B G"],
    carry: Carry,
    lengths_B: Int[AnyArray, "B"] | None = None,
    reverse: bool = False,
    dtype: Any = None,
    share: Float[AnyArray, "*B G"] | None = None,
) -> tuple[Carry, Float[AnyArray, "L B H"]]:
    """One layer over time.

    Args:
        kernel_HG: see `Lane`, as for all arguments not told here.
        gates_LBG: likewise.
        carry: likewise.
        lengths_B: steps that count of each row; the others leave the state as it is and give output 0. None: all count.
        reverse: likewise.
        dtype: what the operands of the products are rounded to; None keeps them.
        share: likewise; None: nothing.

    Returns:
        The last state and the outputs, in the order of the input.
    """
    share = jnp.zeros(gates_LBG.shape[-1:], gates_LBG.dtype) if share is None else share
    return scan_lanes((Lane(kernel_HG, gates_LBG, share, carry, reverse),), lengths_B, dtype)[0]


def scan_lanes(
    lanes: Sequence[Lane], lengths_B: Int[AnyArray, "B"] | None = None, dtype: Any = None
) -> tuple[tuple[Carry, AnyArray], ...]:
    """Several independent layers of equally many steps in one loop, such as two directions.

    Args:
        lanes: the layers.
        lengths_B: as in `scan`.
        dtype: as in `scan`.

    Returns:
        The last state and the outputs of each lane.
    """
    inside_LB1 = None
    if lengths_B is not None:
        inside_LB1 = (jnp.arange(lanes[0].gates_LBG.shape[0])[:, None] < lengths_B)[:, :, None]
    backwards = tuple(lane.reverse for lane in lanes)
    carries, outputs = _lockstep(dtype, backwards, tuple(lane[:4] for lane in lanes), inside_LB1)
    return tuple(zip(carries, outputs, strict=True))


def _at(x_LBX: AnyArray, t: AnyArray) -> AnyArray:
    return jax.lax.dynamic_index_in_dim(x_LBX, t, keepdims=False)


def _put(x_LBX: AnyArray, value_BX: AnyArray, t: AnyArray) -> AnyArray:
    return jax.lax.dynamic_update_index_in_dim(x_LBX, value_BX, t, 0)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _lockstep(dtype, backwards, lanes, inside_LB1):
    """Lanes in one loop, with a gradient of its own.

    Autodiff of a scan would sum the kernel's gradient in the loop and keep every intermediate. Here the activated
    gates overwrite the gates, and the kernel's gradient is one product after the loop.
    """
    rows = lanes[0][1].shape[1]
    is_wide = all(in_columns(lane[0].shape[0], dtype) for lane in lanes)
    if is_wide and (not isinstance(rows, int) or rows >= _FEW_ROWS):  # a symbolic number of rows may be any
        return _forward_columns(backwards, lanes, inside_LB1)
    carries, outputs, _, _ = _forward(dtype, backwards, lanes, inside_LB1, keep=False)
    return carries, outputs


def in_columns(units: int, dtype: Any = None) -> bool:
    """Whether, where no gradient is wanted, a layer is scanned with each row of the batch as a column.

    `kernel_GH @ h_HB` reads the kernel as it lies in memory. The other way round a CPU's library first copies it into
    another order, at each step anew. Narrow layers fit in the cache, where that costs less than turning the gates.

    Args:
        units: of the layer.
        dtype: see `scan`.
    """
    return units >= WIDE and dtype is None and jax.default_backend() == "cpu"


def _forward_columns(backwards, lanes, inside_LB1):
    steps, rows, _ = lanes[0][1].shape
    kernels = tuple(lane[0].T for lane in lanes)
    shares = tuple(jnp.atleast_2d(lane[2]).T for lane in lanes)
    blank = tuple(jnp.zeros((steps, rows, lane[0].shape[0]), lane[3].h_BH.dtype) for lane in lanes)

    def one(kernel_GH, share_GB, gates_LBG, back, carry, h_LBH, n):
        t = steps - 1 - n if back else n
        gates_GB = _at(gates_LBG, t).T + share_GB + matmul(kernel_GH, carry[1])
        new = activate_columns(gates_GB, carry[0])
        output_HB = new[1]
        if inside_LB1 is not None:
            inside_1B = _at(inside_LB1, t).T
            new = tuple(jnp.where(inside_1B, a, b) for a, b in zip(new, carry, strict=True))
            output_HB = jnp.where(inside_1B, output_HB, 0)
        return new, _put(h_LBH, output_HB.T, t)

    def body(n, state):
        of_lanes = zip(kernels, shares, lanes, backwards, *state, strict=True)
        done = [one(kernel, share, lane[1], back, *own, n) for kernel, share, lane, back, *own in of_lanes]
        return tuple(zip(*done, strict=True))

    starts = tuple((lane[3].c_BH.T, lane[3].h_BH.T) for lane in lanes)
    carries, outputs = jax.lax.fori_loop(0, steps, body, (starts, blank))
    return tuple(Carry(c_HB.T, h_HB.T) for c_HB, h_HB in carries), outputs


def _forward(dtype, backwards, lanes, inside_LB1, keep):
    steps, rows, _ = lanes[0][1].shape
    kernels = tuple(lane[0] if dtype is None else lane[0].astype(dtype) for lane in lanes)
    blank = tuple(jnp.zeros((steps, rows, lane[0].shape[0]), lane[3].h_BH.dtype) for lane in lanes)

    def one(kernel_HG, share, back, carry, buffers, n):
        gates_LBG, h_LBH, c_LBH = buffers
        t = steps - 1 - n if back else n
        gates_BG = _at(gates_LBG, t) + share + matmul(carry.h_BH, kernel_HG, dtype)
        new, activated_BG = _activate(gates_BG, carry.c_BH)
        output_BH = new.h_BH
        if inside_LB1 is not None:
            inside_B1 = _at(inside_LB1, t)
            new = Carry(*(jnp.where(inside_B1, a, b) for a, b in zip(new, carry, strict=True)))
            output_BH = jnp.where(inside_B1, output_BH, 0)
        if keep:
            gates_LBG, c_LBH = _put(gates_LBG, activated_BG, t), _put(c_LBH, new.c_BH, t)
        return new, (gates_LBG, _put(h_LBH, output_BH, t), c_LBH)

    def body(n, state):
        done = [
            one(kernel_HG, lane[2], back, carry, buffers, n)
            for kernel_HG, lane, back, carry, buffers in zip(kernels, lanes, backwards, *state, strict=True)
        ]
        return tuple(zip(*done, strict=True))

    buffers = tuple((lane[1], h_LBH, h_LBH if keep else None) for lane, h_LBH in zip(lanes, blank, strict=True))
    carries, buffers = jax.lax.fori_loop(0, steps, body, (tuple(lane[3] for lane in lanes), buffers))
    activated, outputs, cells = zip(*buffers, strict=True)
    return carries, outputs, activated, cells


def _lockstep_forward(dtype, backwards, lanes, inside_LB1):
    carries, outputs, activated, cells = _forward(dtype, backwards, lanes, inside_LB1, keep=True)
    kernels, _, shares, starts = zip(*lanes, strict=True)
    each_row = tuple(share.ndim == 2 for share in shares)
    return (carries, outputs), (kernels, starts, activated, cells, outputs, each_row, inside_LB1)


def _before(x_LBX: AnyArray, start_BX: AnyArray, back: bool, inside_LB1: AnyArray | None) -> AnyArray:
    """The state that each step started from: that of the step before, or the start."""
    if back:
        x_LBX = jnp.concatenate([x_LBX[1:], start_BX[None]])
        if inside_LB1 is not None:  # the first step that counts starts afresh
            inside_LB1 = jnp.concatenate([inside_LB1[1:], jnp.zeros_like(inside_LB1[:1])])
            x_LBX = jnp.where(inside_LB1, x_LBX, start_BX)
        return x_LBX
    return jnp.concatenate([start_BX[None], x_LBX[:-1]])


def _lockstep_backward(dtype, backwards, residuals, cotangents):
    kernels, starts, activated, cells, outputs, each_row, inside_LB1 = residuals
    d_carries, d_outputs = cotangents
    steps = activated[0].shape[0]
    transposed = tuple((kernel if dtype is None else kernel.astype(dtype)).T for kernel in kernels)
    cells_before = tuple(
        _before(c_LBH, start.c_BH, back, inside_LB1)
        for c_LBH, start, back in zip(cells, starts, backwards, strict=True)
    )

    def one(kernel_GH, a_LBG, c_LBH, c_before_LBH, d_output_LBH, back, state, n):
        d_carry, d_share_BG, d_gates_LBG = state
        t = n if back else steps - 1 - n
        a_BG, c_before_BH = _at(a_LBG, t), _at(c_before_LBH, t)
        i, j, f, o = jnp.split(a_BG, 4, axis=-1)
        tanh_c_BH = jnp.tanh(_at(c_LBH, t))
        d_h_BH, d_c_BH = d_carry.h_BH + _at(d_output_LBH, t), d_carry.c_BH
        if inside_LB1 is not None:
            inside_B1 = _at(inside_LB1, t)
            d_h_BH, d_c_BH = jnp.where(inside_B1, d_h_BH, 0), jnp.where(inside_B1, d_c_BH, 0)
        d_c_BH = d_c_BH + d_h_BH * o * (1 - tanh_c_BH * tanh_c_BH)
        # (1 - a)(a + 1) is the slope of tanh, (1 - a)a that of sigmoid, in terms of their values.
        slope_BG = (1 - a_BG) * (a_BG + _candidate_gate(tanh_c_BH.shape[-1]))
        d_gates_BG = (
            jnp.concatenate([d_c_BH, d_c_BH, d_c_BH, d_h_BH], axis=-1)
            * jnp.concatenate([j, i, c_before_BH, tanh_c_BH], axis=-1)
            * slope_BG
        )
        d_before = Carry(d_c_BH * f, matmul(d_gates_BG, kernel_GH, dtype))
        if inside_LB1 is not None:
            d_before = Carry(*(jnp.where(inside_B1, a, b) for a, b in zip(d_before, d_carry, strict=True)))
        return d_before, d_share_BG + d_gates_BG, _put(d_gates_LBG, d_gates_BG, t)

    def body(n, states):
        of_lanes = zip(transposed, activated, cells, cells_before, d_outputs, backwards, states, strict=True)
        return tuple(one(*of_lane, n) for of_lane in of_lanes)

    states = tuple(
        (d_carry, jnp.zeros_like(a_LBG[0]), jnp.zeros_like(a_LBG))
        for d_carry, a_LBG in zip(d_carries, activated, strict=True)
    )
    states = jax.lax.fori_loop(0, steps, body, states)
    d_lanes = []
    for (d_carry, d_share_BG, d_gates_LBG), h_LBH, start, back, own in zip(
        states, outputs, starts, backwards, each_row, strict=True
    ):
        before_LBH = _before(h_LBH, start.h_BH, back, inside_LB1)
        d_kernel_HG = matmul(_rows(before_LBH).T, _rows(d_gates_LBG))
        d_lanes.append((d_kernel_HG, d_gates_LBG, d_share_BG if own else _sum_rows(d_share_BG), d_carry))
    return tuple(d_lanes), None


_lockstep.defvjp(_lockstep_forward, _lockstep_backward)


def _rows(x_LBX: AnyArray) -> AnyArray:
    return x_LBX.reshape(-1, x_LBX.shape[-1])


def _sum_rows(x_BX: AnyArray) -> AnyArray:
    """Sum over rows as a product: XLA on CPUs is slow at reductions over a leading dimension."""
    return jnp.ones(x_BX.shape[0], x_BX.dtype) @ x_BX


def bidirectional(
    layers: Sequence[Mapping[str, Layer]],
    gates: Mapping[str, Float[AnyArray, "L B G"]],
    lengths_B: Int[AnyArray, "B"] | None = None,
    dtype: Any = None,
) -> Float[AnyArray, "B X"]:
    """A stack of bidirectional layers, from zero states.

    Both directions read each row's own length: the backward one starts at its last step. A layer hears both directions
    of the one below. A row of length 0 gives zeros.

    Args:
        layers: each with a `forward` and a `backward` layer.
        gates: `forward` and `backward` gates of the first layer's input, without the bias.
        lengths_B: steps that count of each row; None: all.
        dtype: what the operands of the products are rounded to; None keeps them.

    Returns:
        The top layer's last forward state (at the last step) and last backward state (at step 0), side by side.
    """
    rows = gates["forward"].shape[1]
    h_LBX = None
    for layer in layers:
        lanes = []
        for side in ("forward", "backward"):
            kernel, bias_G = layer[side]["kernel"], layer[side]["bias"]
            units = bias_G.shape[0] // 4
            gates_LBG = gates[side] if h_LBX is None else matmul(h_LBX, kernel[:-units], dtype)
            carry = zero_carry(rows, units, sum_type(bias_G))
            lanes.append(Lane(kernel[-units:], gates_LBG, bias_G, carry, side == "backward"))
        done = scan_lanes(lanes, lengths_B, dtype)
        h_LBX = jnp.concatenate([h_LBH for _, h_LBH in done], axis=-1)
    return jnp.concatenate([last.h_BH for last, _ in done], axis=-1)
