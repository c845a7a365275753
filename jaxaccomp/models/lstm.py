"""LSTM cells in TensorFlow's fused layout, and scans over them that spend their time in matrix products.

A layer is one kernel `[inputs + H, G]` and one bias `[G]` with G = 4H gates in the order i, j, f, o (input, candidate,
forget, output); 1.0 is added to the forget gate at run time. The rows of a kernel are used apart: `x @ kernel[:inputs]`
is computed for all steps at once, outside the loop (for one-hot inputs it is a gather of rows), so that a scan sees
ready *gates* and keeps one product with the recurrent rows per step.

Source: magenta lstm_utils / tf.contrib.rnn.LSTMBlockCell @526d3eb.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

FORGET_BIAS = 1.0
"""Added to the forget gate at run time; never part of the stored bias."""

Layer = dict[str, Array]
"""`kernel` [inputs + H, G] and `bias` [G] of one layer and direction."""


class Carry(NamedTuple):
    """State of one layer: cell and output."""

    c_BH: Float[Array, "B H"]
    h_BH: Float[Array, "B H"]


def zero_carry(batch: int, units: int) -> Carry:
    """The state before the first step of an encoder layer."""
    return Carry(jnp.zeros((batch, units)), jnp.zeros((batch, units)))


def carries_from(state_BX: Float[Array, "B X"], sizes: tuple[int, ...]) -> tuple[Carry, ...]:
    """Splits a concatenated state, in the order c, h of the first layer, c, h of the second, …"""
    edges = [0]
    for size in sizes:
        edges += [edges[-1] + size, edges[-1] + 2 * size]
    pieces = [state_BX[:, a:b] for a, b in zip(edges, edges[1:], strict=False)]
    return tuple(Carry(c, h) for c, h in zip(pieces[::2], pieces[1::2], strict=True))


def matmul(x: Array, kernel: Array, dtype: Any = None) -> Array:
    """`x @ kernel`, operands rounded to `dtype` if given, always summed in float32."""
    if dtype is not None:
        x, kernel = x.astype(dtype), kernel.astype(dtype)
    return jnp.matmul(x, kernel, preferred_element_type=jnp.float32)


def token_gates(table_VG: Float[Array, "V G"], tokens: Int[Array, "*N"]) -> Float[Array, "*N G"]:
    """Gates' share of a one-hot input: rows of the kernel; a token outside 0..V-1 is the zero vector.

    The gradient is a scatter-add of rows, on a CPU more than ten times faster than a product with one-hots.
    """
    unknown = table_VG.shape[0]
    return table_VG.at[jnp.where(tokens < 0, unknown, tokens)].get(mode="fill", fill_value=0)


def step(kernel_HG: Float[Array, "H G"], gates_BG: Float[Array, "B G"], carry: Carry, dtype: Any = None) -> Carry:
    """One cell step.

    Args:
        kernel_HG: the recurrent rows of a layer's kernel.
        gates_BG: the input's share of the gates, bias included.
        carry: state before the step.
        dtype: what the operands of the product are rounded to; None keeps them.

    Returns:
        The state after the step; the output is its `h_BH`.
    """
    return _activate(gates_BG + matmul(carry.h_BH, kernel_HG, dtype), carry.c_BH)[0]


def _activate(gates_BG: Array, c_BH: Array) -> tuple[Carry, Array, Array]:
    """The nonlinear half of a step: new state, activated gates, tanh of the new cell.

    All four gates go through one tanh, since sigmoid(x) = (1 + tanh(x / 2)) / 2: XLA on CPUs runs a fused loop with a
    single transcendental four times as fast as one with five.
    """
    scale_G, shift_G, offset_G = _gate_constants(c_BH.shape[-1])
    activated_BG = jnp.tanh(gates_BG * scale_G + shift_G) * scale_G + offset_G
    i, j, f, o = jnp.split(activated_BG, 4, axis=-1)
    c_BH = f * c_BH + i * j
    tanh_c_BH = jnp.tanh(c_BH)
    return Carry(c_BH, o * tanh_c_BH), activated_BG, tanh_c_BH


def _gate_constants(units: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    constants = np.array([[0.5, 1.0, 0.5, 0.5], [0, 0, 0.5 * FORGET_BIAS, 0], [0.5, 0, 0.5, 0.5]], np.float32)
    return tuple(np.repeat(constants, units, axis=1))


def _candidate_gate(units: int) -> np.ndarray:
    return np.repeat(np.array([0, 1, 0, 0], np.float32), units)


def scan(
    kernel_HG: Float[Array, "H G"],
    gates_LBG: Float[Array, "L B G"],
    carry: Carry,
    lengths_B: Int[Array, "B"] | None = None,
    reverse: bool = False,
    dtype: Any = None,
) -> tuple[Carry, Float[Array, "L B H"]]:
    """One layer over time.

    Args:
        kernel_HG: the recurrent rows of the layer's kernel.
        gates_LBG: the input's share of the gates at each step, bias included.
        carry: state before the first step.
        lengths_B: steps that count of each row; the others leave the state as it is and give output 0. None: all count.
        reverse: whether time runs from each row's last step to its first.
        dtype: what the operands of the products are rounded to; None keeps them.

    Returns:
        The last state and the outputs, in the order of the input.
    """
    (last,), (h_LBH,) = scan_lanes((kernel_HG,), (gates_LBG,), (carry,), lengths_B, (reverse,), dtype)
    return last, h_LBH


def scan_lanes(
    kernels: tuple[Array, ...],
    gates: tuple[Array, ...],
    carries: tuple[Carry, ...],
    lengths_B: Int[Array, "B"] | None = None,
    reverse: tuple[bool, ...] | None = None,
    dtype: Any = None,
) -> tuple[tuple[Carry, ...], tuple[Array, ...]]:
    """Several independent layers of equally many steps in one loop: two directions, or several parts.

    Arguments and results are those of `scan`, one for each lane.
    """
    reverse = reverse or (False,) * len(kernels)
    masks = (None,) * len(kernels)
    if lengths_B is not None:
        inside_LB1 = (jnp.arange(gates[0].shape[0])[:, None] < lengths_B)[:, :, None]
        masks = tuple(_flip(inside_LB1, back) for back in reverse)
    flipped = tuple(_flip(lane, back) for lane, back in zip(gates, reverse, strict=True))
    carries, outputs = _lockstep(dtype, tuple(kernels), flipped, tuple(carries), masks)
    return carries, tuple(_flip(h_LBH, back) for h_LBH, back in zip(outputs, reverse, strict=True))


def _flip(x_L: Array, back: bool) -> Array:
    return x_L[::-1] if back else x_L


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _lockstep(dtype, kernels, gates, carries, masks):
    """Lanes in one scan. Written with its own gradient, which keeps activations and sums dkernel after the loop."""
    carries, (outputs, _) = _forward(dtype, kernels, gates, carries, masks, keep=False)
    return carries, outputs


def _forward(dtype, kernels, gates, carries, masks, keep):
    if dtype is not None:
        kernels = tuple(kernel.astype(dtype) for kernel in kernels)

    def lane(kernel_HG, gates_BG, carry, inside_B1):
        new, activated_BG, tanh_c_BH = _activate(gates_BG + matmul(carry.h_BH, kernel_HG, dtype), carry.c_BH)
        output = new.h_BH
        if inside_B1 is not None:
            new = Carry(*(jnp.where(inside_B1, a, b) for a, b in zip(new, carry, strict=True)))
            output = jnp.where(inside_B1, output, 0)
        return new, output, (activated_BG, tanh_c_BH, *carry) if keep else ()

    def body(carries, inputs):
        lanes = [lane(*of_lane) for of_lane in zip(kernels, inputs[0], carries, inputs[1], strict=True)]
        new, outputs, saved = zip(*lanes, strict=True)
        return new, (outputs, saved)

    return jax.lax.scan(body, carries, (gates, masks))


def _lockstep_forward(dtype, kernels, gates, carries, masks):
    last, (outputs, saved) = _forward(dtype, kernels, gates, carries, masks, keep=True)
    return (last, outputs), (kernels, saved, masks)


def _lockstep_backward(dtype, residuals, cotangents):
    kernels, saved, masks = residuals
    d_last, d_outputs = cotangents
    transposed = tuple((kernel if dtype is None else kernel.astype(dtype)).T for kernel in kernels)

    def lane(kernel_GH, saved_of_step, inside_B1, d_output_BH, d_carry):
        a_BG, tanh_c, c_before, _ = saved_of_step
        i, j, f, o = jnp.split(a_BG, 4, axis=-1)
        d_h, d_c = d_carry.h_BH, d_carry.c_BH
        if inside_B1 is not None:
            passed_h, passed_c = jnp.where(inside_B1, 0, d_h), jnp.where(inside_B1, 0, d_c)
            d_h, d_c = jnp.where(inside_B1, d_h + d_output_BH, 0), jnp.where(inside_B1, d_c, 0)
        else:
            d_h = d_h + d_output_BH
        d_c = d_c + d_h * o * (1 - tanh_c * tanh_c)
        # (1 - a)(a + 1) is the slope of tanh, (1 - a)a that of sigmoid, in terms of their values.
        slope_BG = (1 - a_BG) * (a_BG + _candidate_gate(tanh_c.shape[-1]))
        d_activated_BG = jnp.concatenate([d_c, d_c, d_c, d_h], axis=-1) * jnp.concatenate(
            [j, i, c_before, tanh_c], axis=-1
        )
        d_gates_BG = d_activated_BG * slope_BG
        d_before = Carry(d_c * f, matmul(d_gates_BG, kernel_GH, dtype))
        if inside_B1 is not None:
            d_before = Carry(d_before.c_BH + passed_c, d_before.h_BH + passed_h)
        return d_before, d_gates_BG

    def body(d_carries, inputs):
        lanes = [lane(*of_lane) for of_lane in zip(transposed, *inputs, d_carries, strict=True)]
        return tuple(zip(*lanes, strict=True))

    d_carries, d_gates = jax.lax.scan(body, d_last, (saved, masks, d_outputs), reverse=True)
    d_kernels = tuple(
        jnp.matmul(_rows(of_lane[3]).T, _rows(d_gates_LBG), preferred_element_type=jnp.float32)
        for of_lane, d_gates_LBG in zip(saved, d_gates, strict=True)
    )
    return d_kernels, d_gates, d_carries, None


def _rows(x_LBX: Array) -> Array:
    return x_LBX.reshape(-1, x_LBX.shape[-1])


_lockstep.defvjp(_lockstep_forward, _lockstep_backward)


def bidirectional(
    layers: list[dict[str, Layer]],
    gates: dict[str, Float[Array, "L B G"]],
    lengths_B: Int[Array, "B"] | None = None,
    dtype: Any = None,
) -> Float[Array, "B X"]:
    """A stack of bidirectional layers, from zero states.

    Both directions read each row's own length: the backward one starts at its last step. A layer hears both directions
    of the one below. A row of length 0 gives zeros.

    Args:
        layers: each with a `forward` and a `backward` layer.
        gates: `forward` and `backward` input gates of the first layer, bias included.
        lengths_B: steps that count of each row; None: all.
        dtype: what the operands of the products are rounded to; None keeps them.

    Returns:
        The top layer's last forward state (at the last step) and last backward state (at step 0), side by side.
    """
    for number, layer in enumerate(layers):
        units = [layer[side]["bias"].shape[0] // 4 for side in ("forward", "backward")]
        kernels = tuple(
            layer[side]["kernel"][-size:] for side, size in zip(("forward", "backward"), units, strict=True)
        )
        if number > 0:
            gates = {side: matmul(h_LBX, layer[side]["kernel"][: h_LBX.shape[-1]], dtype) + layer[side]["bias"]
                     for side in ("forward", "backward")}  # fmt: skip
        carries = tuple(zero_carry(gates[side].shape[1], size) for side, size in zip(gates, units, strict=True))
        last, outputs = scan_lanes(
            kernels, (gates["forward"], gates["backward"]), carries, lengths_B, (False, True), dtype
        )
        h_LBX = jnp.concatenate(outputs, axis=-1)
    return jnp.concatenate([last[0].h_BH, last[1].h_BH], axis=-1)
