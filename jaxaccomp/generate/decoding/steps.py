"""A bar of one part: its decoder's steps, the noise that belongs to each, and the tokens it picks."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Key

from jaxaccomp.arrays import PARTS, STEPS_PER_BAR, VOCABULARY
from jaxaccomp.models import lstm, musicvae
from jaxaccomp.models.lstm import AnyArray

_COLDEST = 1e-6
"""Stands in for temperature 0 where probabilities are asked for."""


@functools.partial(jax.jit, static_argnames="dtype")
def prepare(decoder: Mapping[str, Any], dtype: Any = None) -> dict[str, Any]:
    """A part's decoder as `decode_bar` wants it: each kernel that a step needs stands transposed.

    `kernel_GX @ state_XB` reads the weights as they lie in memory. The other way round a CPU's library first copies
    them into another order, at each step anew, and that takes as long as the product.

    Args:
        decoder: one part's parameters.
        dtype: what weights are rounded to; None keeps them.
    """
    if dtype is not None:
        decoder = jax.tree.map(lambda leaf: leaf.astype(dtype) if leaf.ndim == 2 else leaf, decoder)
    first, layers = decoder["layer_0"], range(len(decoder) - 2)
    units = first["bias"].shape[0] // 4
    prepared: dict[str, Any] = {
        f"layer_{n}": {"bias": decoder[f"layer_{n}"]["bias"], "kernel_GX": decoder[f"layer_{n}"]["kernel"].T}
        for n in layers
    }
    prepared["layer_0"] |= {"kernel": first["kernel"][:-units], "kernel_GX": first["kernel"][-units:].T}
    output = {"kernel_VH": decoder["output"]["kernel"].T, "bias": decoder["output"]["bias"]}
    return {**prepared, "initial_state": decoder["initial_state"], "output": output}


class Bar(NamedTuple):
    """What a part's decoder knows of a bar before its first step.

    Attributes:
        carries: state of each layer.
        start_GB: the first layer's gates, except for the previous token's row.
        noise_TBV: Gumbel noise of each step.
    """

    carries: tuple[tuple[AnyArray, AnyArray], ...]
    start_GB: AnyArray
    noise_TBV: AnyArray


def start_bar(
    decoder: Mapping[str, Any],
    part: str,
    embedding_BE: Float[AnyArray, "B E"],
    keys_B: Key[AnyArray, "B"],
    bar_B: Int[AnyArray, "B"],
    dtype: Any,
) -> Bar:
    """All that does not depend on tokens.

    Args:
        decoder: from `prepare`.
        part: its part.
        embedding_BE: each row's embedding of its bar.
        keys_B: each row's key.
        bar_B: each row's bar.
        dtype: see `musicvae`.
    """
    carries, start_BG = musicvae.bar_starts(decoder, VOCABULARY[part], embedding_BE, dtype)
    turned = tuple((carry.c_BH.T, carry.h_BH.T) for carry in carries)
    return Bar(turned, start_BG.T, gumbel_TBV(keys_B, bar_B, part))


def step_part(
    decoder: Mapping[str, Any],
    start_GB: Float[AnyArray, "G B"],
    carries: tuple[tuple[AnyArray, AnyArray], ...],
    previous_B: Int[AnyArray, "B"],
    dtype: Any,
) -> tuple[tuple[tuple[AnyArray, AnyArray], ...], Float[AnyArray, "B V"]]:
    """One step of one part: new states and the scores of its next token.

    Args:
        decoder: from `prepare`.
        start_GB: see `Bar`.
        carries: cell and output of each layer, [H, B].
        previous_B: previous tokens.
        dtype: see `musicvae`.
    """
    vocabulary = decoder["output"]["bias"].shape[0]
    new, below_HB = [], None
    for number, (c_HB, h_HB) in enumerate(carries):
        layer = decoder[f"layer_{number}"]
        if below_HB is None:
            row_BG = lstm.token_gates(layer["kernel"][:vocabulary], previous_B).astype(jnp.float32)
            gates_GB = start_GB + row_BG.T + lstm.matmul(layer["kernel_GX"], h_HB, dtype)
        else:  # one product for what comes from below and what comes from before
            both_XB = jnp.concatenate([below_HB, h_HB])
            gates_GB = lstm.matmul(layer["kernel_GX"], both_XB, dtype) + layer["bias"][:, None]
        c_HB, below_HB = lstm.activate_columns(gates_GB, c_HB)
        new.append((c_HB, below_HB))
    output = decoder["output"]
    return tuple(new), lstm.matmul(output["kernel_VH"], below_HB, dtype).T + output["bias"]


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
