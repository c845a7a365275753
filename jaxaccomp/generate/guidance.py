"""The experts' advice as a bias on the bass decoder's scores: a product of experts at every step.

A note-on of pitch class c at a step gets `temperature × (w_h (log h(c) − log 1/12) + w_r (log-odds of an onset given
drums and melody − log-odds given the place in the bar))`: once divided by the temperature, that multiplies the
decoder's distribution by the experts' ratios. A third rule knows the register: notes that come near the melody from
below, or lie above it, are made unlikely. Holding and ending a note are left alone. A bias is fixed before the first
bass note, so that every row depends on its own melody and drums alone, and all bars can still be decoded at once.
That is why the drums are sampled first.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxaccomp.arrays import (
    BARS,
    FIRST_NOTE_ON,
    HIGHEST_PITCH,
    LOWEST_PITCH,
    STEPS_PER_BAR,
    VOCABULARY,
    Params,
)
from jaxaccomp.config import GuideConfig
from jaxaccomp.generate.decoding import blocks
from jaxaccomp.models import guide
from jaxaccomp.models.lstm import AnyArray

NEAR = 5
"""Semitones below the melody's lowest note from which on a bass note is near it."""
LOW_MELODY = 52
"""MIDI pitch up to which a melody may lie so low that a bass crosses it as it likes."""
REGISTER_SLOPE = 0.4
"""How much less the log-odds of a note near the melody become for each semitone that the melody lies above that. (Of
470,000 real bass notes 40 % are near or above a melody below 50, 3.6 % at 55 to 59, 0.5 % at 65 to 69.)"""
_MOST = 15.0


def bass_bias(
    params: Params,
    harmony_weight: float | Float[AnyArray, ""],
    rhythm_weight: float | Float[AnyArray, ""],
    register_weight: float | Float[AnyArray, ""],
    melody_BL: Int[AnyArray, "B L"],
    drums_BL: Int[AnyArray, "B L"],
    temperature_B: Float[AnyArray, "B"],
) -> Float[Array, "B L V"]:
    """What to add to the bass decoder's scores.

    Args:
        params: of the experts, see `models.guide`.
        harmony_weight: power of the pitch class expert, 0 or more.
        rhythm_weight: power of the onset expert, 0 or more.
        register_weight: power of the rule that keeps the bass below the melody, 0 or more.
        melody_BL: melody tokens.
        drums_BL: tokens of the drums that are played.
        temperature_B: at which each row's bass is going to be sampled.
    """
    pitch_V = jnp.arange(FIRST_NOTE_ON, VOCABULARY["bass"]) - FIRST_NOTE_ON + LOWEST_PITCH
    class_V = pitch_V % guide.CLASSES
    ratio_BQC = guide.harmony(params, melody_BL) + jnp.log(float(guide.CLASSES))
    odds_BL = guide.rhythm(params, melody_BL, drums_BL) - guide.place(params)
    score_BLV = harmony_weight * jnp.repeat(ratio_BQC[:, :, class_V], 4, axis=1) + rhythm_weight * odds_BL[..., None]
    lowest_BL1 = _lowest(melody_BL)[..., None]
    register_BL1 = -REGISTER_SLOPE * jnp.clip(lowest_BL1 - LOW_MELODY, 0.0, _MOST)
    score_BLV += register_weight * jnp.where(pitch_V > lowest_BL1 - NEAR, register_BL1, 0.0)
    return jnp.pad(temperature_B[:, None, None] * score_BLV, ((0, 0), (0, 0), (FIRST_NOTE_ON, 0)))


def _lowest(melody_BL: Int[AnyArray, "B L"]) -> Int[Array, "B L"]:
    """Lowest pitch of the melody in each step's bar and the bars beside it; far above all where there is none."""
    pitch_BST = guide.sounding(melody_BL).reshape(-1, BARS, STEPS_PER_BAR)
    lowest_BS = jnp.where(pitch_BST >= 0, pitch_BST, 2 * HIGHEST_PITCH).min(2)
    padded_BS = jnp.pad(lowest_BS, ((0, 0), (1, 1)), constant_values=2 * HIGHEST_PITCH)
    around_BS = jnp.minimum(jnp.minimum(padded_BS[:, :-2], padded_BS[:, 2:]), lowest_BS)
    return jnp.repeat(around_BS, STEPS_PER_BAR, axis=1)


_of_block = blocks.jit(bass_bias)


def of_rows(
    config: GuideConfig,
    params: Params,
    melody_BL: Int[AnyArray, "B L"],
    drums_BL: Int[AnyArray, "B L"],
    temperature: float,
    weight: float = 1.0,
) -> Float[AnyArray, "B L V"]:
    """`bass_bias` of any number of rows, each the same in any batch; nothing waits for the device.

    Rows of the same melody and given drums, such as attempts at one window, cost one.

    Args:
        config: how much each expert is worth.
        params: of the experts.
        melody_BL: melody tokens.
        drums_BL: tokens of the drums that are played.
        temperature: at which the bass is going to be sampled.
        weight: a factor on both experts; 0 is no guidance.
    """
    experts = functools.partial(
        _of_block,
        params,
        np.float32(weight * config.harmony_weight),
        np.float32(weight * config.rhythm_weight),
        np.float32(weight),
    )
    numbers_R, row_B = _distinct(melody_BL, drums_BL)
    if row_B is None:
        return blocks.in_blocks(experts, melody_BL, drums_BL, np.full(len(melody_BL), temperature, np.float32))
    heat_R = np.full(len(numbers_R), temperature, np.float32)
    advice_RLV = blocks.in_blocks(experts, melody_BL[numbers_R], drums_BL[numbers_R], heat_R)
    if jax.default_backend() == "cpu":
        return np.asarray(advice_RLV)[row_B]
    return jnp.take(advice_RLV, row_B, axis=0)


def _distinct(*arrays: Int[AnyArray, "B L"]) -> tuple[Int[np.ndarray, "R"], Int[np.ndarray, "B"] | None]:
    """Numbers of rows that differ, and for each row which of them it equals; None if all differ or are not here yet."""
    everything = np.arange(len(arrays[0]))
    if not all(isinstance(array, np.ndarray) for array in arrays):
        return everything, None
    contents = (b"".join(row.tobytes() for row in rows) for rows in zip(*arrays, strict=True))
    place: dict[bytes, int] = {}
    row_B = np.array([place.setdefault(content, len(place)) for content in contents])
    numbers_R = np.unique(row_B, return_index=True)[1]
    return numbers_R, None if len(place) == len(row_B) else row_B
