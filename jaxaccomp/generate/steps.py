"""A bar of one part: its decoder's steps, the noise that belongs to each, and the tokens it picks."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Key

from jaxaccomp.arrays import PARTS, STEPS_PER_BAR, VOCABULARY
from jaxaccomp.models import lstm, musicvae
from jaxaccomp.models.lstm import AnyArray

_COLDEST = 1e-6
"""Stands in for temperature 0 where probabilities are asked for."""


def step_part(
    decoder: Mapping[str, Any],
    start_BG: Float[AnyArray, "B G"],
    carries: tuple[lstm.Carry, ...],
    previous_B: Int[AnyArray, "B"],
    dtype: Any,
) -> tuple[tuple[lstm.Carry, ...], Float[AnyArray, "B V"]]:
    """One step of one part: new states and the scores of its next token.

    Args:
        decoder: the part's parameters.
        start_BG: the first layer's gates, except for the previous token's row.
        carries: state of each layer.
        previous_B: previous tokens.
        dtype: see `musicvae`.
    """
    vocabulary = decoder["output"]["bias"].shape[0]
    new, gates_BG, h_BH = [], start_BG, None
    for number, carry in enumerate(carries):
        layer, units = decoder[f"layer_{number}"], carry.h_BH.shape[1]
        if h_BH is None:
            gates_BG = gates_BG + lstm.token_gates(layer["kernel"][:vocabulary], previous_B).astype(jnp.float32)
            carry = lstm.step(layer["kernel"][-units:], gates_BG, carry, dtype)
        else:  # one product for what comes from below and what comes from before
            both_BX = jnp.concatenate([h_BH, carry.h_BH], axis=-1)
            gates_BG = lstm.matmul(both_BX, layer["kernel"], dtype) + layer["bias"]
            carry = lstm.activate(gates_BG, carry.c_BH)
        h_BH = carry.h_BH
        new.append(carry)
    return tuple(new), musicvae.dense(decoder["output"], h_BH, dtype)


def gumbel_TBV(keys_B: Key[AnyArray, "B"], bar_B: Int[AnyArray, "B"], part: str) -> Float[AnyArray, "T B V"]:
    """Noise of a bar of each row: a function of the row's key, the bar, the step and the part."""

    def draw(key: AnyArray, bar: AnyArray, step: AnyArray) -> AnyArray:
        for number in (bar, step, PARTS.index(part)):
            key = jax.random.fold_in(key, number)
        return jax.random.gumbel(key, (VOCABULARY[part],))

    return jax.vmap(jax.vmap(draw, (0, 0, None)), (None, None, 0))(keys_B, bar_B, jnp.arange(STEPS_PER_BAR))


def pick(
    logits_BV: Float[AnyArray, "B V"],
    noise_BV: Float[AnyArray, "B V"],
    temperature_B1: Float[AnyArray, "B 1"],
    top_p: Float[AnyArray, ""] | None,
) -> Int[AnyArray, "B"]:
    """The token: a sample of softmax(logits / temperature), by Gumbel's trick; at temperature 0 the most likely."""
    scores_BV = logits_BV + temperature_B1 * noise_BV
    if top_p is not None:
        scores_BV = jnp.where(nucleus(logits_BV, temperature_B1, top_p), scores_BV, -jnp.inf)
    return jnp.argmax(scores_BV, axis=-1).astype(jnp.int32)


def nucleus(
    logits_BV: Float[AnyArray, "B V"], temperature_B1: Float[AnyArray, "B 1"], top_p: Float[AnyArray, ""]
) -> Bool[AnyArray, "B V"]:
    """Which tokens are among the most likely ones that together reach the probability `top_p`."""
    p_BV = jax.nn.softmax(logits_BV / jnp.maximum(temperature_B1, _COLDEST), axis=-1)
    sorted_BV = jnp.sort(p_BV, axis=-1)[:, ::-1]
    before_BV = jnp.cumsum(sorted_BV, axis=-1) - sorted_BV
    least_B1 = jnp.min(jnp.where(before_BV < top_p, sorted_BV, jnp.inf), axis=-1, keepdims=True)
    return p_BV >= least_B1
