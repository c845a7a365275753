"""Latents under which a part that the song already has is likely, so that the other part is played to it.

The parts' decoders are independent given z, so by Bayes' rule p(z | melody, part) ∝ p(z | melody) p(part | z): draws
from the surrogate's posterior are weighted by how likely the decoder finds the given part. The surrogate itself, and
what it guesses from the melody alone, stay as they are, and nothing has to be trained.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt32

from jaxaccomp.arrays import PARTS
from jaxaccomp.generate.decoding import blocks
from jaxaccomp.models import correlation as correlations
from jaxaccomp.models import musicvae
from jaxaccomp.models.musicvae import Posterior

DRAWS = 32
"""Latents weighed for each window."""
TEMPERING = 5.0
"""What the log-likelihood is divided by: a decoder that is told the tokens before takes its 256 steps for more evidence
than they are. Of 64 windows of the first trio-small, the missing bass was likelier at 10 than at 1 or 40, and the
missing drums the likelier the less; see docs/guides/latent.md for what comes of it."""

_GIVEN_KEY = 1 << 20
"""Beyond any attempt's number, which is folded in at the same place."""


def choose(
    params: Mapping[str, Any],
    posterior: Posterior,
    given_NL: Int[np.ndarray, "N L"],
    part: str,
    key: Array,
    count: int,
    spread: float = 1.0,
    correlation: Mapping[str, Any] | None = None,
) -> Float[np.ndarray, "A N Z"]:
    """Latents of windows, without repetition the likelier the sooner.

    As everywhere in a take, the windows share their random numbers: what differs is each one's posterior and evidence.

    Args:
        params: of the MusicVAE.
        posterior: of each window, from the surrogate.
        given_NL: tokens of the given part.
        part: which one that is.
        key: of this take.
        count: how many latents of each window, at most `DRAWS`.
        spread: how far draws stray from the mean, in standard deviations.
        correlation: parameters of `models.correlation`, if there are any.
    """
    mean_NZ, scale_NZ = (np.asarray(array) for array in posterior)
    noise_KZ = jax.random.normal(jax.random.fold_in(key, 0), (DRAWS, mean_NZ.shape[1]))
    noise_KZ = np.asarray(correlations.correlate(correlation, noise_KZ))
    gumbel_K = np.asarray(jax.random.gumbel(jax.random.fold_in(key, 1), (DRAWS,)))
    z_NKZ = mean_NZ[:, None] + np.float32(spread) * scale_NZ[:, None] * noise_KZ
    surprise_NK = nll(params, z_NKZ.reshape(-1, z_NKZ.shape[-1]), np.repeat(given_NL, DRAWS, axis=0), part)
    order_NK = np.argsort(surprise_NK.reshape(len(mean_NZ), DRAWS) / TEMPERING - gumbel_K, axis=1, kind="stable")
    rows_AN = order_NK[:, np.arange(count) % DRAWS].T
    return z_NKZ[np.arange(len(mean_NZ)), rows_AN]


def take_key(seed: int, fingerprint: UInt32[np.ndarray, "2"], variation: int) -> Array:
    """The key of a take's given part."""
    key = jax.random.key(np.uint32(seed % 2**32))
    for number in (*fingerprint, variation, _GIVEN_KEY):
        key = jax.random.fold_in(key, number)
    return key


def nll(
    params: Mapping[str, Any], z_NZ: Float[np.ndarray, "N Z"], tokens_NL: Int[np.ndarray, "N L"], part: str
) -> Float[np.ndarray, " N"]:
    """How surprising one part is given each latent, in nats a window."""
    windows_NLP = np.zeros((*tokens_NL.shape, len(PARTS)), np.int32)
    windows_NLP[:, :, PARTS.index(part)] = tokens_NL
    decoder = {name: params[name] for name in ("conductor", musicvae.decoder_name(part))}
    of_block = partial(_nll_of_block, decoder, part=part)
    return np.asarray(blocks.in_blocks(of_block, windows_NLP, np.asarray(z_NZ, np.float32), sizes=blocks.whole()))


@partial(jax.jit, static_argnames="part")
def _nll_of_block(params: Mapping[str, Any], windows_NLP: Array, z_NZ: Array, *, part: str) -> Array:
    logits = musicvae.logits(params, windows_NLP, z_NZ, (part,))
    return jnp.sum(musicvae.nll_BSP(logits, windows_NLP), axis=(1, 2))
