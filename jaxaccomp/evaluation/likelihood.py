"""How well the decoders, given some z, foretell real bass and drums: teacher-forced likelihood and accuracy."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxaccomp.arrays import FIRST_NOTE_ON, PARTS
from jaxaccomp.config import MusicVAEConfig
from jaxaccomp.models import musicvae
from jaxaccomp.models.musicvae import MusicVAE


class Likelihood(NamedTuple):
    """What one part of each window got.

    Attributes:
        nll_N: negative log-likelihood of the window's 256 tokens, in nats.
        right_N: tokens that were the likeliest.
        onsets_N: tokens that begin something: a note, or any drum.
        onsets_right_N: those of them that were the likeliest. "Nothing ever happens" is right most of the time, and
            never here.
    """

    nll_N: Float[np.ndarray, " N"]
    right_N: Int[np.ndarray, " N"]
    onsets_N: Int[np.ndarray, " N"]
    onsets_right_N: Int[np.ndarray, " N"]


def teacher_forced(
    config: MusicVAEConfig,
    params: Mapping[str, Any],
    tokens_NLP: Int[np.ndarray, "N L P"],
    z_NZ: Float[np.ndarray, "N Z"],
    parts: Sequence[str] = PARTS,
    batch_size: int = 64,
    dtype: Any = None,
) -> dict[str, Likelihood]:
    """Scores real windows under the decoders.

    Args:
        config: sizes of the MusicVAE.
        params: its parameters.
        tokens_NLP: the windows.
        z_NZ: the latent each is decoded from.
        parts: parts to score.
        batch_size: windows decoded at once; the last batch is filled up, and what fills it dropped.
        dtype: what the operands of matrix products are rounded to; None keeps float32.

    Returns:
        By part.
    """
    score = _scorer(config, tuple(parts), dtype)
    rows = []
    for first in range(0, len(tokens_NLP), batch_size):
        count = min(batch_size, len(tokens_NLP) - first)
        index_B = np.minimum(np.arange(first, first + batch_size), len(tokens_NLP) - 1)
        scored = score(params, tokens_NLP[index_B].astype(np.int32), z_NZ[index_B].astype(np.float32))
        rows.append(jax.tree.map(lambda array_B, n=count: np.asarray(array_B)[:n], scored))
    return {
        part: Likelihood(*(np.concatenate(column) for column in zip(*(row[part] for row in rows), strict=True)))
        for part in parts
    }


def onset_mask(part: str, tokens: Int[Any, "*shape"]) -> Any:
    """Which tokens of a part begin a note, or hit any drum."""
    return tokens > 0 if part == "drums" else tokens >= FIRST_NOTE_ON


@lru_cache(maxsize=8)
def _scorer(config: MusicVAEConfig, parts: tuple[str, ...], dtype: Any) -> Any:
    model = MusicVAE(config, dtype)

    @jax.jit
    def score(params: Any, tokens_BLP: Array, z_BZ: Array) -> dict[str, tuple[Array, ...]]:
        logits = model.apply({"params": params}, tokens_BLP, z_BZ, parts, method="logits")
        scored = {}
        for part in parts:
            tokens_BL = tokens_BLP[:, :, PARTS.index(part)]
            right_BL = jnp.argmax(logits[part], axis=-1) == tokens_BL
            onset_BL = onset_mask(part, tokens_BL)
            nll_BL = musicvae.nll_BL(logits[part], tokens_BL)
            scored[part] = nll_BL.sum(1), right_BL.sum(1), onset_BL.sum(1), (right_BL & onset_BL).sum(1)
        return scored

    return score
