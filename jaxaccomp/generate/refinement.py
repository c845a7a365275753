"""Gradient steps on a latent: toward one that makes the melody likelier, and stays where the surrogate looks.

The surrogate guesses z in one pass; the melody's decoder can say how well a guess explains the melody. Each step climbs
log p(melody | z) + log s(z | melody), by Adam in units of the surrogate's standard deviations. A fixed number of steps,
and blocks of one size, keep every row independent of its company.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxaccomp.arrays import PARTS, Params
from jaxaccomp.generate.decoding import blocks
from jaxaccomp.models import musicvae
from jaxaccomp.models.lstm import AnyArray

RATE = 0.1
"""Standard deviations that a latent moves at a step, about."""
_DECAYS = 0.9, 0.99


def refine(
    params: Params,
    steps: int,
    melody_BL: Int[AnyArray, "B L"],
    z_BZ: Float[AnyArray, "B Z"],
    mean_BZ: Float[AnyArray, "B Z"],
    scale_BZ: Float[AnyArray, "B Z"],
) -> Float[Array, "B Z"]:
    """Latents after a number of steps, without waiting for the device.

    Args:
        params: of the MusicVAE.
        steps: how many.
        melody_BL: melody tokens.
        z_BZ: where to begin.
        mean_BZ: of the surrogate's posterior.
        scale_BZ: its standard deviations; a dimension without any, such as of a latent that is known, stays.
    """
    climb = functools.partial(_climb, params, steps)
    return blocks.in_blocks(climb, melody_BL, z_BZ, mean_BZ, scale_BZ, sizes=blocks.whole())


def log_density(
    params: Params,
    melody_BL: Int[AnyArray, "B L"],
    z_BZ: Float[AnyArray, "B Z"],
    mean_BZ: Float[AnyArray, "B Z"],
    scale_BZ: Float[AnyArray, "B Z"],
) -> Float[Array, "B"]:
    """Log p(melody | z) + log s(z | melody) of each row, but for a constant."""
    trio_BLP = jnp.zeros((*melody_BL.shape, len(PARTS)), jnp.int32).at[:, :, 0].set(melody_BL)
    logits_BLV = musicvae.logits(params, trio_BLP, z_BZ, ("melody",))["melody"]
    away_BZ = (z_BZ - mean_BZ) / jnp.where(scale_BZ > 0, scale_BZ, 1)
    return -musicvae.nll_BL(logits_BLV, jnp.asarray(melody_BL)).sum(1) - (away_BZ**2).sum(1) / 2


@functools.partial(blocks.jit, static_argnums=1)
def _climb(params: Params, steps: int, melody_BL: Any, z_BZ: Any, mean_BZ: Any, scale_BZ: Any) -> Float[Array, "B Z"]:
    slope = jax.grad(lambda z_BZ: log_density(params, melody_BL, z_BZ, mean_BZ, scale_BZ).sum())

    def step(number: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        z_BZ, first_BZ, second_BZ = carry
        slope_BZ = slope(z_BZ) * scale_BZ  # in standard deviations
        first_BZ = _DECAYS[0] * first_BZ + (1 - _DECAYS[0]) * slope_BZ
        second_BZ = _DECAYS[1] * second_BZ + (1 - _DECAYS[1]) * slope_BZ**2
        first, second = (1 - decay ** (number + 1.0) for decay in _DECAYS)
        moved_BZ = (first_BZ / first) / (jnp.sqrt(second_BZ / second) + 1e-8)
        return z_BZ + RATE * scale_BZ * moved_BZ, first_BZ, second_BZ

    nothing_BZ = jnp.zeros_like(z_BZ)
    return jax.lax.fori_loop(0, steps, step, (jnp.asarray(z_BZ), nothing_BZ, nothing_BZ))[0]
