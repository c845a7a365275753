"""The experts' advice as a bias on the bass decoder's scores: a product of experts at every step.

A note-on of pitch class c at a step gets `temperature × (w_h (log h(c) − log 1/12) + w_r (log-odds of an onset given
drums and melody − log-odds given the place in the bar))`: once divided by the temperature, that multiplies the
decoder's distribution by the experts' ratios. Holding and ending a note are left alone. A bias is fixed before the
first bass note, so that every row depends on its own melody and drums alone, and all bars can still be decoded at once.
That is why the drums are sampled first.
"""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxaccomp.arrays import FIRST_NOTE_ON, LOWEST_PITCH, VOCABULARY, Params
from jaxaccomp.config import GuideConfig
from jaxaccomp.generate.decoding import blocks
from jaxaccomp.models import guide
from jaxaccomp.models.lstm import AnyArray


def bass_bias(
    params: Params,
    harmony_weight: float | Float[AnyArray, ""],
    rhythm_weight: float | Float[AnyArray, ""],
    melody_BL: Int[AnyArray, "B L"],
    drums_BL: Int[AnyArray, "B L"],
    temperature_B: Float[AnyArray, "B"],
) -> Float[Array, "B L V"]:
    """What to add to the bass decoder's scores.

    Args:
        params: of the experts, see `models.guide`.
        harmony_weight: power of the pitch class expert, 0 or more.
        rhythm_weight: power of the onset expert, 0 or more.
        melody_BL: melody tokens.
        drums_BL: tokens of the drums that are played.
        temperature_B: at which each row's bass is going to be sampled.
    """
    class_V = (jnp.arange(FIRST_NOTE_ON, VOCABULARY["bass"]) - FIRST_NOTE_ON + LOWEST_PITCH) % guide.CLASSES
    ratio_BQC = guide.harmony(params, melody_BL) + jnp.log(float(guide.CLASSES))
    odds_BL = guide.rhythm(params, melody_BL, drums_BL) - guide.place(params)
    score_BLV = harmony_weight * jnp.repeat(ratio_BQC[:, :, class_V], 4, axis=1) + rhythm_weight * odds_BL[..., None]
    return jnp.pad(temperature_B[:, None, None] * score_BLV, ((0, 0), (0, 0), (FIRST_NOTE_ON, 0)))


_of_block = blocks.jit(bass_bias)


def of_rows(
    config: GuideConfig,
    params: Params,
    melody_BL: Int[AnyArray, "B L"],
    drums_BL: Int[AnyArray, "B L"],
    temperature: float,
    weight: float = 1.0,
) -> Float[Array, "B L V"]:
    """`bass_bias` of any number of rows, each the same in any batch; nothing waits for the device.

    Args:
        config: how much each expert is worth.
        params: of the experts.
        melody_BL: melody tokens.
        drums_BL: tokens of the drums that are played.
        temperature: at which the bass is going to be sampled.
        weight: a factor on both experts; 0 is no guidance.
    """
    experts = functools.partial(
        _of_block, params, np.float32(weight * config.harmony_weight), np.float32(weight * config.rhythm_weight)
    )
    return blocks.in_blocks(experts, melody_BL, drums_BL, np.full(len(melody_BL), temperature, np.float32))
