"""How well the decoders, given some z, foretell real bass and drums: teacher-forced likelihood and accuracy."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxaccomp.arrays import PARTS
from jaxaccomp.config import MusicVAEConfig
from jaxaccomp.evaluation.batching import in_batches
from jaxaccomp.models import hits, musicvae
from jaxaccomp.models.musicvae import MusicVAE


class Likelihood(NamedTuple):
    """What one part of each window got.

    Attributes:
        nll_N: negative log-likelihood of the window's 256 tokens, in nats.
        right_N: tokens that were the likeliest; for these three see `Hits`.
        onsets_N: tokens that begin something.
        onsets_right_N: those of them that were the likeliest.
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
    rows = tokens_NLP.astype(np.int32), z_NZ.astype(np.float32)
    found = in_batches(lambda *batch: score(params, *batch), batch_size, *rows)
    return {part: found[part] for part in parts}  # JAX sorts names


@lru_cache(maxsize=8)
def _scorer(config: MusicVAEConfig, parts: tuple[str, ...], dtype: Any) -> Any:
    model = MusicVAE(config, dtype)

    @jax.jit
    def score(params: Any, tokens_BLP: Array, z_BZ: Array) -> dict[str, Likelihood]:
        logits = model.apply({"params": params}, tokens_BLP, z_BZ, parts, method="logits")
        scored = {}
        for part in parts:
            tokens_BL = tokens_BLP[:, :, PARTS.index(part)]
            found = hits.count(part, jnp.argmax(logits[part], axis=-1), tokens_BL)
            scored[part] = Likelihood(musicvae.nll_BL(logits[part], tokens_BL).sum(1), *found)
        return scored

    return score
