"""Steps of LSTMs as machine code: what a CPU spends its time on, without what hands it out.

A step of 128 units is a few microseconds of arithmetic, less than XLA takes to start its operations. At 1,024 units
XLA's products of 32 rows reach three quarters of what a core can do, these all of it: weights lie in the order in which
they are read, and each core has its own part or rows. `scan` and `decode` run all steps in one call. numba
compiles them when they are first called, and keeps them on disk. A row's numbers do not depend on its company, to the
last bit: see `vectors`.
"""

import numpy as np

from jaxaccomp.generate.decoding import vectors
from jaxaccomp.machine_code import compiled

EDITION = 4
"""Counted up with each change of `vectors`, so that numba compiles these loops anew."""


@compiled
def address(array):
    """Where an array begins; signed, since sums of unsigned and signed numbers are floats to NumPy."""
    return np.int64(array.ctypes.data)


@compiled
def _panel(w, x, x_stride, x_count, y, y_stride, y_count, every, base, base_stride, out, out_stride, rows):
    """A panel's columns of all rows, in blocks; addresses in bytes, strides in numbers."""
    vectors.stay_apart()
    r = 0
    while r < rows:
        a, c, e, o = x + 4 * r * x_stride, y + 4 * r * y_stride, base + 4 * r * base_stride, out + 4 * r * out_stride
        if rows - r >= 6:
            vectors.block_6((w, a, x_stride, x_count, c, y_stride, y_count, every, e, base_stride, o, out_stride))
            r += 6
        elif rows - r >= 2:
            vectors.block_2((w, a, x_stride, x_count, c, y_stride, y_count, every, e, base_stride, o, out_stride))
            r += 2
        else:
            vectors.block_1((w, a, x_stride, x_count, c, y_stride, y_count, every, e, base_stride, o, out_stride))
            r += 1


@compiled
def lstm_step(
    weights_PXG, below_RX, below_units, own_RH, units, base_RG, base_step, cells_RH, out_RH, gates_RG, every, first
):  # fmt: skip
    """One step of a layer.

    Args:
        weights_PXG: panels of kernel rows, see `packing`.
        below_RX: what comes from the layer below.
        below_units: how many of its numbers count; 0: nothing comes from there.
        own_RH: the layer's last outputs.
        units: how many of them count; 0: the base is the gates.
        base_RG: what is added to the gates.
        base_step: 1 if each row has its own, 0 if all share the first.
        cells_RH: cells, which are overwritten.
        out_RH: where the outputs go; not where the last ones are.
        gates_RG: room for a panel of each row.
        every: 2 if even inputs are summed apart from odd ones, see `vectors`, or 1.
        first: the column of last outputs, cells and outputs where the layer's own begin.
    """
    vectors.stay_apart()
    rows, below_stride, stride, base_stride = len(own_RH), below_RX.shape[1], own_RH.shape[1], base_RG.shape[1]
    w, x, h, g = address(weights_PXG), address(below_RX), address(own_RH) + 4 * first, address(gates_RG)
    base, c, out = address(base_RG), address(cells_RH) + 4 * first, address(out_RH) + 4 * first
    panel = np.int64(64)
    for p in range(len(weights_PXG)):
        at = w + p * weights_PXG.shape[1] * 256
        b = base + 256 * p
        _panel(at, x, below_stride, below_units, h, stride, units, every, b, base_stride * base_step, g, panel, rows)
        vectors.activate((g, rows, c + 64 * p, out + 64 * p, stride))


@compiled
def dense(weights_PXV, x_RX, bias_V, out_RV, every, block):
    """`out = x @ kernel + bias`, in panels of 64 columns; each `block` of inputs is summed by itself, see `_block`."""
    vectors.stay_apart()
    rows, stride, out_stride, inputs = len(x_RX), x_RX.shape[1], out_RV.shape[1], weights_PXV.shape[1]
    w, x, out, none = address(weights_PXV), address(x_RX), address(out_RV), np.int64(0)
    for p in range(len(weights_PXV)):
        base, base_stride, o = address(bias_V) + 256 * p, none, out + 256 * p
        if inputs > block:
            for r in range(rows):
                for v in range(64 * p, 64 * p + 64):
                    out_RV[r, v] = 0.0
            base, base_stride = o, out_stride
        for first in range(0, inputs, block):
            at, count = w + (p * inputs + first) * 256, min(block, inputs - first)
            a = x + 4 * first
            _panel(at, a, stride, count, a, stride, none, every, base, base_stride, o, out_stride, rows)
        if inputs > block:
            for r in range(rows):
                for v in range(64 * p, 64 * p + 64):
                    out_RV[r, v] += bias_V[v]


@compiled
def tanh(x):
    """Takes tanh of each number of an array whose size is a multiple of `LANES`, in place."""
    vectors.stay_apart()
    vectors.tanh((address(x), x.size // 16))


@compiled
def step_keys(key, bar, part, keys_T):
    """`jax.random.fold_in` of a row's key by bar, step and part, of a bar's steps; a key is its two words in one."""
    vectors.stay_apart()
    vectors.step_keys((key, bar, part, address(keys_T)))


@compiled
def noisy_argmax(scores_V, key, temperature_1):
    """Argmax of `scores + temperature * jax.random.gumbel(key)`; temperature is more than 0, the size whole vectors."""
    vectors.stay_apart()
    return vectors.noisy_argmax((address(scores_V), scores_V.size // 16, key, address(temperature_1)))


@compiled
def _begin(state_RX, widths, cells_LRX, h_LRX):
    """Hands each layer its part of the initial state: its cells, then its outputs."""
    at = 0
    for n in range(len(widths)):
        for r in range(len(state_RX)):
            for x in range(widths[n]):
                cells_LRX[n, r, x] = state_RX[r, at + x]
                h_LRX[n, r, x] = state_RX[r, at + widths[n] + x]
        at += 2 * widths[n]


@compiled
def scan(
    table_VG, below, own, bias_G, units, initial, initial_bias, z_RZ, rows_LRP, x_NX, h_MRX, first, backward, block,
    state_RX, h_RX, cells_RX, base_NG, gates_RG,
):  # fmt: skip
    """A layer over all steps, in one direction.

    Args:
        table_VG: what tokens add to the gates.
        below: panels of what the layer below adds.
        own: panels of steps.
        bias_G: the layer's bias.
        units: how many.
        initial: panels of initial states; none: zeros.
        initial_bias: theirs.
        z_RZ: of which they are made.
        rows_LRP: rows of the table that are added up, in order; none: the layer reads the one below.
        x_NX: outputs of the layer below, all rows of a step before the next step's.
        h_MRX: where the outputs go, those of step t to t modulo M.
        first: the column where they begin, 0 where there are initial states.
        backward: whether it goes from the last step to the first.
        block: inputs that are summed at a time, but for steps.
        state_RX: room, as all that follows: it is made by the caller, since numba takes long to compile what makes it.
        h_RX: likewise.
        cells_RX: zeros.
        base_NG: room for gates of all rows of some steps.
        gates_RG: room for a panel of each row.
    """
    none, one = np.int64(0), np.int64(1)  # numbers of no type yet would be compiled each by itself
    steps, rows, tokens = rows_LRP.shape
    most, vectors_G, stride, width = len(base_NG) // rows, len(bias_G) // 16, table_VG.shape[1], base_NG.shape[1]
    table, numbers, bias, base = address(table_VG), address(rows_LRP), address(bias_G), address(base_NG)
    known = none
    if len(initial) > 0:
        dense(initial, z_RZ, initial_bias, state_RX, one, block)
        tanh(state_RX)
        for r in range(rows):
            for x in range(vectors_G * 4):  # a vector of gates is four numbers of each
                cells_RX[r, x], h_RX[r, x] = state_RX[r, x], state_RX[r, vectors_G * 4 + x]
        known = units
    for start in range(0, steps, most):
        count = min(most, steps - start)
        low = steps - start - count if backward else start
        if tokens > 0:
            for n in range(count * rows):
                here = numbers + 4 * tokens * (low * rows + n)
                vectors.row_sum((table, stride, here, tokens, bias, base + 4 * n * width, vectors_G))
        else:
            dense(below, x_NX[low * rows : (low + count) * rows], bias_G, base_NG, one, block)
        for m in range(count):
            n = count - 1 - m if backward else m
            base_RG, out_RX = base_NG[n * rows : (n + 1) * rows], h_MRX[(low + n) % len(h_MRX)]
            lstm_step(own, h_RX, none, h_RX, known, base_RG, one, cells_RX, out_RX, gates_RG, one, first)
            h_RX, known = out_RX, units


@compiled
def decode(
    initial, initial_bias, start, start_bias, table_VG, owns, biases, units, widths, output, output_bias,
    vocabulary, part,
    embedding_SRE, keys_R, bar_R, previous_R, temperature_R, bias_RLV, tokens_RL,
    state_RX, cells_LRX, h_2LRX, start_RG, base_RG, gates_RG, scores_RV, keys_RT, block,
):  # fmt: skip
    """Decodes rows of a part.

    Args:
        initial: panels of initial states, see `packing`.
        initial_bias: theirs.
        start: panels of the embedding's share of the gates.
        start_bias: theirs.
        table_VG: the previous token's share.
        owns: panels of each layer's steps.
        biases: theirs.
        units: of each layer.
        widths: the same, padded.
        output: panels of scores.
        output_bias: theirs.
        vocabulary: number of tokens.
        part: its number, for the noise.
        embedding_SRE: of bars that follow each other.
        keys_R: of which noise is made, two words in one number.
        bar_R: the first bar of each row.
        previous_R: the token before it, which is overwritten.
        temperature_R: of each row.
        bias_RLV: what is added to the scores; [1, 1, 1] where there is nothing.
        tokens_RL: where the tokens go.
        state_RX: room, as all that follows: it is made by the caller, since numba takes long to compile what makes it.
        cells_LRX: likewise.
        h_2LRX: likewise.
        start_RG: likewise.
        base_RG: likewise.
        gates_RG: likewise.
        scores_RV: likewise, of whole panels.
        keys_RT: likewise, for the keys of a bar's steps.
        block: inputs that are summed at a time, but for steps.
    """
    bars, rows, layers = len(embedding_SRE), len(tokens_RL), len(owns)
    none, one, two, everything = np.int64(0), np.int64(1), np.int64(2), np.int64(1 << 30)
    steps, now, new = tokens_RL.shape[1] // bars, 0, 1
    for s in range(bars):
        dense(initial, embedding_SRE[s], initial_bias, state_RX, one, block)
        tanh(state_RX)
        _begin(state_RX, widths, cells_LRX, h_2LRX[now])
        dense(start, embedding_SRE[s], start_bias, start_RG, one, block)
        for r in range(rows):
            step_keys(keys_R[r], bar_R[r] + s, part, keys_RT[r])
        for t in range(steps):
            for r in range(rows):
                for g in range(base_RG.shape[1]):
                    token = table_VG[previous_R[r], g] if previous_R[r] >= 0 else np.float32(0)
                    base_RG[r, g] = start_RG[r, g] + token
            h_LRX, out_LRX = h_2LRX[now], h_2LRX[new]
            below_RX, below_units, base, base_step = h_LRX[0], none, base_RG, one
            for n in range(layers):
                own = h_LRX[n]
                out = out_LRX[n]
                cells = cells_LRX[n]
                lstm_step(
                    owns[n], below_RX, below_units, own, units[n], base, base_step, cells, out, gates_RG, two, none
                )  # fmt: skip
                if n + 1 < layers:
                    below_RX, below_units, base, base_step = out, units[n], biases[n + 1], none
            dense(output, out_LRX[layers - 1], output_bias, scores_RV, two, everything)
            for r in range(rows):
                if bias_RLV.shape[1] > 1:
                    for v in range(vocabulary):
                        scores_RV[r, v] += bias_RLV[r, s * steps + t, v]
                for v in range(vocabulary, scores_RV.shape[1]):
                    scores_RV[r, v] = -np.inf
                if temperature_R[r] > 0:
                    previous_R[r] = noisy_argmax(scores_RV[r], keys_RT[r, t], temperature_R[r : r + 1])
                else:
                    row = address(scores_RV) + 4 * r * scores_RV.shape[1]
                    previous_R[r] = vectors.argmax((row, scores_RV.shape[1] // 16))
                tokens_RL[r, s * steps + t] = previous_R[r]
            now, new = new, now
