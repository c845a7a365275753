"""MusicVAE the way one writes it first, with Flax's own recurrent layers: the bench's yardstick.

One-hot inputs go through `flax.linen.RNN`, in training the decoders' too; when sampling, the decoder feeds back
concatenated one-hots through `OptimizedLSTMCell`. It computes the same numbers from the same parameters, which the
tests check; nothing but the bench uses it.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxaccomp.arrays import BARS, PARTS, STEPS, STEPS_PER_BAR, VOCABULARY
from jaxaccomp.config import MusicVAEConfig, SurrogateConfig

Params = Mapping[str, Any]


def encode(config: MusicVAEConfig, params: Params, tokens_BLP: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and scale of the posterior over z, from full-length windows."""
    sequence_BLI = jnp.concatenate(
        [jax.nn.one_hot(tokens_BLP[..., p], VOCABULARY[part]) for p, part in enumerate(PARTS)], axis=-1
    )
    summary = _bidirectional(config.encoder_sizes, params["encoder"], sequence_BLI)
    return _dense(params["mean"], summary), jax.nn.softplus(_dense(params["scale"], summary))


def guess(config: SurrogateConfig, params: Params, melody_BL: jax.Array) -> jax.Array:
    """Mean of the surrogate's posterior over z, from full-length windows."""
    summary = _bidirectional(config.sizes, params, jax.nn.one_hot(melody_BL, VOCABULARY["melody"]))
    return _dense(params["mean"], summary)


def _bidirectional(sizes: Sequence[int], params: Params, sequence_BLI: jax.Array) -> jax.Array:
    ends: list[jax.Array] = []
    for i, units in enumerate(sizes):
        layer = params[f"layer_{i}"]
        outputs = {}
        for direction in ("forward", "backward"):
            rnn = nn.RNN(nn.OptimizedLSTMCell(units), reverse=direction == "backward", keep_order=True)
            cell = _cell_params(layer[direction], sequence_BLI.shape[-1])
            outputs[direction] = rnn.apply({"params": {"cell": cell}}, sequence_BLI)
        ends = [outputs["forward"][:, -1], outputs["backward"][:, 0]]
        sequence_BLI = jnp.concatenate([outputs["forward"], outputs["backward"]], axis=-1)
    return jnp.concatenate(ends, axis=-1)


def decode(
    config: MusicVAEConfig,
    params: Params,
    z_BZ: jax.Array,
    key: jax.Array,
    temperature: float = 0.0,
    parts: Sequence[str] = ("bass", "drums"),
) -> jax.Array:
    """Samples tokens [B, 256, parts]; temperature 0 takes the most likely one."""
    bars_SBE = _conduct(config, params["conductor"], z_BZ)
    tokens = [
        _decode_part(config, params[f"decoder_{part}"], bars_SBE, jax.random.fold_in(key, p), temperature, part)
        for p, part in enumerate(parts)
    ]
    return jnp.stack(tokens, axis=-1)


def teacher_forced(
    config: MusicVAEConfig, params: Params, tokens_BLP: jax.Array, z_BZ: jax.Array
) -> dict[str, jax.Array]:
    """Logits [B, 256, V] of each part given the true previous tokens: all bars at once, through `nn.RNN`."""
    bars_SBE = _conduct(config, params["conductor"], z_BZ)
    embedding_NE = jnp.swapaxes(bars_SBE, 0, 1).reshape(-1, config.embedding_size)
    repeated_NTE = jnp.repeat(embedding_NE[:, None], STEPS_PER_BAR, axis=1)
    logits = {}
    for p, part in enumerate(PARTS):
        decoder, vocabulary = params[f"decoder_{part}"], VOCABULARY[part]
        previous_BLV = jnp.pad(jax.nn.one_hot(tokens_BLP[:, :-1, p], vocabulary), ((0, 0), (1, 0), (0, 0)))
        sequence_NTI = jnp.concatenate([previous_BLV.reshape(-1, STEPS_PER_BAR, vocabulary), repeated_NTE], axis=-1)
        carries = _initial_carries(decoder, config.decoder_sizes, embedding_NE)
        for i, (units, carry) in enumerate(zip(config.decoder_sizes, carries, strict=True)):
            cell = _cell_params(decoder[f"layer_{i}"], sequence_NTI.shape[-1])
            rnn = nn.RNN(nn.OptimizedLSTMCell(units))
            sequence_NTI = rnn.apply({"params": {"cell": cell}}, sequence_NTI, initial_carry=carry)
        logits[part] = _dense(decoder["output"], sequence_NTI).reshape(len(tokens_BLP), STEPS, vocabulary)
    return logits


def _conduct(config: MusicVAEConfig, params: Params, z_BZ: jax.Array) -> jax.Array:
    cells = _cells(params, config.conductor_sizes, 1)

    def bar(carries, _):
        carries, h = _stack(cells, carries, jnp.zeros((z_BZ.shape[0], 1)))
        return carries, h

    return jax.lax.scan(bar, _initial_carries(params, config.conductor_sizes, z_BZ), None, length=BARS)[1]


def _decode_part(
    config: MusicVAEConfig,
    params: Params,
    bars_SBE: jax.Array,
    key: jax.Array,
    temperature: float,
    part: str,
) -> jax.Array:
    vocabulary = VOCABULARY[part]
    cells = _cells(params, config.decoder_sizes, vocabulary + config.embedding_size)

    def bar(previous_BV, inputs):
        embedding_BE, first_step = inputs

        def step(carry, t):
            carries, previous_BV = carry
            carries, h = _stack(cells, carries, jnp.concatenate([previous_BV, embedding_BE], axis=-1))
            logits_BV = _dense(params["output"], h)
            if temperature:
                tokens_B = jax.random.categorical(jax.random.fold_in(key, first_step + t), logits_BV / temperature)
            else:
                tokens_B = jnp.argmax(logits_BV, axis=-1)
            return (carries, jax.nn.one_hot(tokens_B, vocabulary)), tokens_B

        start = (_initial_carries(params, config.decoder_sizes, embedding_BE), previous_BV)
        (_, previous_BV), tokens_TB = jax.lax.scan(step, start, jnp.arange(STEPS_PER_BAR))
        return previous_BV, tokens_TB

    nothing_BV = jnp.zeros((bars_SBE.shape[1], vocabulary))
    firsts_S = jnp.arange(BARS) * STEPS_PER_BAR
    tokens_STB = jax.lax.scan(bar, nothing_BV, (bars_SBE, firsts_S))[1]
    return tokens_STB.reshape(STEPS, -1).T.astype(jnp.int32)


def _cells(params: Params, sizes: Sequence[int], input_size: int) -> list:
    cells = []
    for i, units in enumerate(sizes):
        cell = {"params": _cell_params(params[f"layer_{i}"], input_size)}
        cells.append(partial(nn.OptimizedLSTMCell(units).apply, cell))
        input_size = units
    return cells


def _stack(cells: Sequence, carries: Sequence, h: jax.Array) -> tuple[list, jax.Array]:
    carried = []
    for cell, carry in zip(cells, carries, strict=True):
        carry, h = cell(carry, h)
        carried.append(carry)
    return carried, h


def _initial_carries(params: Params, sizes: Sequence[int], source: jax.Array) -> list:
    state = jnp.tanh(_dense(params["initial_state"], source))
    carries = []
    for units in sizes:
        c, h, state = jnp.split(state, (units, 2 * units), axis=-1)
        carries.append((c, h))
    return carries


def _cell_params(fused: Params, input_size: int) -> dict[str, dict[str, jax.Array]]:
    """Flax's eight kernels from a fused one: gates i, j, f, o are Flax's i, g, f, o; the forget bias is stored."""
    gates = zip("igfo", jnp.split(fused["kernel"], 4, axis=1), jnp.split(fused["bias"], 4), strict=True)
    params = {}
    for gate, kernel, bias in gates:
        params[f"i{gate}"] = {"kernel": kernel[:input_size]}
        params[f"h{gate}"] = {"kernel": kernel[input_size:], "bias": bias + (1.0 if gate == "f" else 0.0)}
    return params


def _dense(params: Params, inputs: jax.Array) -> jax.Array:
    return inputs @ params["kernel"] + params["bias"]
