"""Experts that know the melody: which pitch class a bass note may have, and when one begins.

A latent of 16 bars is too small to carry their harmony, so a decoder that knows the latent alone plays in the key but
past the chords. These two small networks look at the melody around a step, and the second one at the drums as well:

* harmony: log h(pitch class of a bass note | melody), for each quarter note;
* rhythm: log-odds of a bass onset given drums, melody and the place in the bar, less the log-odds given the place
  alone, for each step: what drums and melody add to what any bass line does.

Both are added to the bass decoder's scores of note-ons, see `generate.guidance`. Features are functions of tokens that
take no parameters, so that training and playing share them.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxaccomp.arrays import BARS, FIRST_NOTE_ON, LOWEST_PITCH, NO_EVENT, STEPS, STEPS_PER_BAR
from jaxaccomp.config import GuideConfig
from jaxaccomp.models import initialization
from jaxaccomp.models.lstm import AnyArray
from jaxaccomp.music.tokens import DRUMS, KICK

Params = Mapping[str, Any]

QUARTERS = STEPS // 4
"""Quarter notes in a window (Q)."""
CLASSES = 12
_HALVES = 4
"""Half bars before and after that the harmony expert sees."""
_BEATS = (-2, -1, 0, 1, 2, 3, 4)
"""Quarter notes, relative to its own, that it sees one by one."""
_NEIGHBORS = (-2, -1, 0, 1, 2)
"""Steps, relative to its own, whose drums and melody onsets the rhythm expert sees."""

HARMONY_FEATURES = CLASSES * (len(_BEATS) + 2 * _HALVES + 1 + 1) + 4 + CLASSES
RHYTHM_FEATURES = len(_NEIGHBORS) * (DRUMS + 2) + STEPS_PER_BAR + 2 * DRUMS + 4


def shapes(config: GuideConfig) -> dict[str, Any]:
    """Shapes of all parameters, as a nested dict."""

    def stack(inputs: int, sizes: tuple[int, ...], outputs: int) -> dict[str, Any]:
        widths = (inputs, *sizes, outputs)
        return {
            f"layer_{n}": {"kernel": (widths[n], widths[n + 1]), "bias": (widths[n + 1],)}
            for n in range(len(widths) - 1)
        }

    return {
        "harmony": stack(HARMONY_FEATURES, config.harmony_sizes, CLASSES),
        "rhythm": stack(RHYTHM_FEATURES, config.rhythm_sizes, 1),
        "place": {"bias": (STEPS_PER_BAR,)},
    }


def initialize(config: GuideConfig, key: Array) -> dict[str, Any]:
    """New parameters."""
    return initialization.draw(shapes(config), key, lambda key, _, shape: initialization.dense_kernel(key, shape))


def harmony(params: Params, melody_BL: Int[AnyArray, "B L"]) -> Float[Array, "B Q 12"]:
    """Log-probability of a bass note's pitch class at each quarter note."""
    return jax.nn.log_softmax(_network(params["harmony"], harmony_features(melody_BL)))


def rhythm(params: Params, melody_BL: Int[AnyArray, "B L"], drums_BL: Int[AnyArray, "B L"]) -> Float[Array, "B L"]:
    """Log-odds of a bass onset at each step."""
    return _network(params["rhythm"], rhythm_features(melody_BL, drums_BL))[..., 0]


def place(params: Params) -> Float[Array, "L"]:
    """Log-odds of a bass onset at each step by its place in the bar alone."""
    return jnp.tile(params["place"]["bias"], BARS)


def _network(params: Params, x: Float[Array, "... F"]) -> Float[Array, "... O"]:
    for number in range(len(params)):
        layer = params[f"layer_{number}"]
        x = x @ layer["kernel"] + layer["bias"]
        x = jax.nn.relu(x) if number < len(params) - 1 else x
    return x


def sounding(tokens_BL: Int[AnyArray, "B L"]) -> Int[Array, "B L"]:
    """Pitch that sounds at each step; -1 where none does. The same as `music.tokens.sounding`."""
    tokens_BL = jnp.asarray(tokens_BL)
    last_BL = jax.lax.cummax(jnp.where(tokens_BL != NO_EVENT, jnp.arange(tokens_BL.shape[1]), 0), axis=1)
    event_BL = jnp.take_along_axis(tokens_BL, last_BL, axis=1)
    return jnp.where(event_BL >= FIRST_NOTE_ON, event_BL - FIRST_NOTE_ON + LOWEST_PITCH, -1)


def harmony_features(melody_BL: Int[AnyArray, "B L"]) -> Float[Array, "B Q F"]:
    """What the harmony expert sees: how long each pitch class of the melody sounds, near, around and in all.

    By quarter notes close by, by half bars up to two bars away, over the window; the class on the quarter itself, one
    of 12 or none; and which quarter of the bar it is.
    """
    pitch_BL = sounding(melody_BL)
    class_BLC = jax.nn.one_hot(jnp.where(pitch_BL >= 0, pitch_BL % CLASSES, -1), CLASSES)
    rows = len(pitch_BL)
    quarter_BQC = class_BLC.reshape(rows, QUARTERS, 4, CLASSES).mean(2)
    half_BHC = quarter_BQC.reshape(rows, QUARTERS // 2, 2, CLASSES).mean(2)
    whole_B1C = half_BHC.sum(1, keepdims=True) / (half_BHC.sum((1, 2), keepdims=True) + 1e-6)
    near = [_shifted(quarter_BQC, offset) for offset in _BEATS]
    around = [jnp.repeat(_shifted(half_BHC, offset), 2, axis=1) for offset in range(-_HALVES, _HALVES + 1)]
    beat_Q4 = jnp.tile(jnp.eye(4), (QUARTERS // 4, 1))
    return jnp.concatenate(
        [
            *near,
            *around,
            jnp.broadcast_to(whole_B1C, quarter_BQC.shape),
            class_BLC[:, ::4],
            jnp.broadcast_to(beat_Q4, (rows, QUARTERS, 4)),
        ],
        axis=-1,
    )


def rhythm_features(melody_BL: Int[AnyArray, "B L"], drums_BL: Int[AnyArray, "B L"]) -> Float[Array, "B L F"]:
    """What the rhythm expert sees: drums and melody at and around a step, its place, and how busy the window is."""
    melody_BL, drums_BL = jnp.asarray(melody_BL), jnp.asarray(drums_BL)
    hit_BLD = ((drums_BL[..., None] >> jnp.arange(DRUMS)) & 1).astype(jnp.float32)
    begins_BL1 = (melody_BL >= FIRST_NOTE_ON).astype(jnp.float32)[..., None]
    sounds_BL1 = (sounding(melody_BL) >= 0).astype(jnp.float32)[..., None]
    event_BLX = jnp.concatenate([hit_BLD, begins_BL1, sounds_BL1], axis=-1)
    rows = len(melody_BL)
    usual_BTD = hit_BLD.reshape(rows, BARS, STEPS_PER_BAR, DRUMS).mean(1)  # how often a drum falls on this place
    kicks_BLD = hit_BLD.mean(1, keepdims=True) * 4
    bar_BS4 = jnp.stack(
        [
            hit_BLD[..., KICK].reshape(rows, BARS, STEPS_PER_BAR).sum(-1) / 4,
            hit_BLD.any(-1).reshape(rows, BARS, STEPS_PER_BAR).sum(-1) / 8,
            begins_BL1.reshape(rows, BARS, STEPS_PER_BAR).sum(-1) / 8,
            jnp.broadcast_to(begins_BL1.mean((1, 2))[:, None] * 4, (rows, BARS)),
        ],
        axis=-1,
    )
    return jnp.concatenate(
        [
            *(_shifted(event_BLX, offset) for offset in _NEIGHBORS),
            jnp.broadcast_to(jnp.tile(jnp.eye(STEPS_PER_BAR), (BARS, 1)), (rows, STEPS, STEPS_PER_BAR)),
            jnp.tile(usual_BTD, (1, BARS, 1)),
            jnp.broadcast_to(kicks_BLD, hit_BLD.shape),
            jnp.repeat(bar_BS4, STEPS_PER_BAR, axis=1),
        ],
        axis=-1,
    )


def _shifted(x_BNX: Array, offset: int) -> Array:
    """Each place gets what stands `offset` places later, and zeros beyond the window's ends."""
    count = abs(offset)
    pad = ((0, 0), (0, offset), (0, 0)) if offset > 0 else ((0, 0), (count, 0), (0, 0))
    padded = jnp.pad(x_BNX, pad)
    return padded[:, offset:] if offset > 0 else padded[:, : x_BNX.shape[1]]
