"""Latents: the surrogate's posterior of each window, and what is drawn from it.

Every random number is derived from the seed, the song's own content, the window's number in it, the variation's and the
attempt's: never from what else is in a batch, how large it is, or how many devices share it.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt32

from jaxaccomp import runtime
from jaxaccomp.generate import encoder
from jaxaccomp.generate.decoding import blocks
from jaxaccomp.models import correlation as correlations
from jaxaccomp.models.musicvae import Posterior

TOWARD_PRIOR = (0.0, 0.5, 0.75, 1.0, 1.0, 1.0)
"""How far a latent's distribution is moved from the surrogate's guess to the prior, from one retry to the next: where
the guess is silence, other random numbers alone seldom help, and the prior plays. (Of 29 songs, with the first
trio-small, bass and drums then strike in four fifths of the melody's bars in 4 after one try, 24 after three and all
after six, at 2.4 times the work; with other random numbers alone in 20, at 3.1 times.)"""

_SAMPLER_KEY, _LATENT_KEY = 0, 1


class MelodyEncoder:
    """The surrogate, which reads equal rows once."""

    def __init__(self, params: Mapping[str, Any]):
        """Takes the surrogate's parameters."""
        self._encode = encoder.of_melody(params)
        self.compile = self._encode.compile

    def __call__(self, melody_BL: Int[np.ndarray, "B L"]) -> Posterior:
        """Mean and standard deviation of each window's latent; in XLA, without waiting for the device."""
        different_RL, row_B = np.unique(melody_BL, axis=0, return_inverse=True)
        if len(different_RL) == len(melody_BL):
            return self._encode(melody_BL)
        if self._encode.is_native:  # any number of rows is alike to it, and nothing is left to wait for
            return Posterior(*(np.asarray(array)[row_B.reshape(-1)] for array in self._encode(different_RL)))
        enough = min(len(melody_BL), 1 << (len(different_RL) - 1).bit_length())  # few shapes, so few compilations
        rows_RL = np.concatenate([different_RL, np.repeat(different_RL[-1:], enough - len(different_RL), 0)])
        return Posterior(*_rows(tuple(self._encode(rows_RL)), row_B.reshape(-1)))


@jax.jit
def _rows(arrays: tuple[Array, ...], row_B: Int[Array, "B"]) -> list[Array]:
    """Rows of each array; outside of a program, JAX would compile several for it."""
    return [array[row_B] for array in arrays]


def toward_prior(attempts_B: Int[np.ndarray, "B"], candidates: int = 1) -> Float[np.ndarray, "B"]:
    """How far the posterior is moved to the prior at each attempt: not for candidates, more at each retry."""
    retries_B = np.maximum(attempts_B - candidates + 1, 0)
    return np.take(np.array(TOWARD_PRIOR, np.float32), retries_B, mode="clip")


@blocks.jit
def draw(
    seed: UInt32[Array, ""],
    spread: Float[Array, ""],
    correlation: Mapping[str, Any] | None,
    mean_BZ: Float[Array, "B Z"],
    scale_BZ: Float[Array, "B Z"],
    fingerprints_B2: UInt32[Array, "B 2"],
    windows_B: Int[Array, "B"],
    variations_B: Int[Array, "B"],
    attempts_B: Int[Array, "B"],
    toward_prior_B: Float[Array, "B"],
) -> tuple[Float[Array, "B Z"], Key[Array, "B"]]:
    """Latents and sampler keys of windows.

    The latents' noise is the same all through a take, as far as windows are played equally often, so that the band
    keeps its mood where the tune moves on; what differs from window to window is the posterior.

    Args:
        seed: of all random choices.
        spread: how many standard deviations the noise is worth.
        correlation: parameters of `models.correlation`, if there are any.
        mean_BZ: of the posterior.
        scale_BZ: of the posterior.
        fingerprints_B2: of each row's song.
        windows_B: each row's number in its song.
        variations_B: each row's take.
        attempts_B: how often each row was played before.
        toward_prior_B: how far each row's posterior is moved to the prior, 0 to 1; see `toward_prior`.
    """

    def draw_row(fingerprint_2: Array, window: Array, variation: Array, attempt: Array) -> tuple[Array, Array]:
        take = jax.random.key(seed, impl=runtime.PRNG)
        for number in (*fingerprint_2, variation, attempt):
            take = jax.random.fold_in(take, number)
        noise_Z = jax.random.normal(jax.random.fold_in(take, _LATENT_KEY), mean_BZ.shape[1:])
        return noise_Z, jax.random.fold_in(jax.random.fold_in(take, _SAMPLER_KEY), window)

    noise_BZ, keys_B = jax.vmap(draw_row)(fingerprints_B2, windows_B, variations_B, attempts_B)
    toward_prior_B1 = toward_prior_B[:, None]
    if correlation is not None:  # the prior's dimensions are independent
        joined_BZ = correlations.correlate(correlation, noise_BZ)
        noise_BZ = joined_BZ + toward_prior_B1 * (noise_BZ - joined_BZ)
    wider_BZ = scale_BZ + toward_prior_B1 * (1 - scale_BZ)
    return (1 - toward_prior_B1) * mean_BZ + spread * wider_BZ * noise_BZ, keys_B
