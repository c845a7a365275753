"""LSTM layers over time: scans that spend their time in matrix products, with a gradient of their own.

Several independent layers, such as two directions, advance in one loop. Where no gradient is wanted, wide layers are
scanned with each row of the batch as a column; see `in_columns`.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxaccomp.models.lstm import (
    AnyArray,
    Carry,
    Layer,
    activate_columns,
    activate_keeping_gates,
    matmul,
    sum_type,
    zero_carry,
)

WIDE = 512
"""Layers of so many units and more are worth turning round on a CPU, see `in_columns`."""
_FEW_ROWS = 8
"""Fewer rows than this leave a product waiting for its kernel either way."""


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
        new, activated_BG = activate_keeping_gates(gates_BG, carry.c_BH)
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


def _candidate_gate(units: int) -> np.ndarray:
    return np.repeat(np.array([0, 1, 0, 0], np.float32), units)
