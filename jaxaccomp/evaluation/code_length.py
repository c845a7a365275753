"""What the real bass and drums cost, given the melody: the one figure that compares any two checkpoints.

With the surrogate s(z | melody) as the prior, E_q[NLL of bass and drums] + KL(q(z | trio) ‖ s) bounds their negative
log-likelihood given the melody. Silence does not lower it, nor do free bits or the size of z; it falls only when the
melody explains more of the band, or the decoders need less to be told.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxaccomp.arrays import BAND
from jaxaccomp.config import MusicVAEConfig
from jaxaccomp.evaluation import agreement, likelihood
from jaxaccomp.models.musicvae import Posterior


def code_length(
    config: MusicVAEConfig,
    params: Mapping[str, Any],
    tokens_NLP: Int[np.ndarray, "N L P"],
    posterior: Posterior,
    guess: Posterior,
    seed: int = 0,
    batch_size: int = 64,
    dtype: Any = None,
    correlation: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Nats a window, means over windows.

    Args:
        config: sizes of the MusicVAE.
        params: its parameters.
        tokens_NLP: the windows.
        posterior: what the encoder says of them.
        guess: what the surrogate says of them.
        seed: of the draws of z, one for each window.
        batch_size: windows decoded at once.
        dtype: what the decoders' products are rounded to; None keeps float32.
        correlation: parameters of `models.correlation`, if the surrogate has them.

    Returns:
        `bass` and `drums`, their NLL at a draw from the encoder's posterior; `kl_to_surrogate`; and `total`.
    """
    noise_NZ = np.random.default_rng([seed, 4]).standard_normal(posterior.mean_BZ.shape, np.float32)
    z_NZ = posterior.mean_BZ + posterior.scale_BZ * noise_NZ
    scored = likelihood.teacher_forced(config, params, tokens_NLP, z_NZ, BAND, batch_size, dtype)
    parts = {part: float(scored[part].nll_N.mean(dtype=np.float64)) for part in BAND}
    divergence = agreement.divergence(*posterior, *guess, correlation)
    return {**parts, "kl_to_surrogate": divergence, "total": sum(parts.values()) + divergence}
