"""How near the surrogate's posterior comes to the encoder's, latent by latent."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from jaxaccomp.models import correlation
from jaxaccomp.models.musicvae import Posterior

Latents = Float[np.ndarray, "N Z"]

ACTIVE_VARIANCE = 0.01
"""A dimension of z says something if its posterior mean varies by more than this (Burda et al. 2016, §5.1)."""


def active(mean_NZ: Latents) -> Bool[np.ndarray, "Z"]:
    """Which dimensions the encoder uses."""
    return mean_NZ.var(0) > ACTIVE_VARIANCE


def r_squared(guess_NZ: Latents, mean_NZ: Latents) -> float | None:
    """Share of the means' variance, summed over dimensions, that the guess explains; None if there is none."""
    total = ((mean_NZ - mean_NZ.mean(0)) ** 2).sum()
    return float(1 - ((mean_NZ - guess_NZ) ** 2).sum() / total) if total > 0 else None


def cosine(guess_NZ: Latents, mean_NZ: Latents) -> float | None:
    """Mean cosine of the angle between guess and mean; None if all are zero."""
    norm_N = np.linalg.norm(guess_NZ, axis=1) * np.linalg.norm(mean_NZ, axis=1)
    counts_N = norm_N > 0
    return float(((guess_NZ * mean_NZ).sum(1)[counts_N] / norm_N[counts_N]).mean()) if counts_N.any() else None


def divergence(
    mean_NZ: Latents,
    scale_NZ: Latents,
    guess_NZ: Latents,
    guess_scale_NZ: Latents,
    correlated: Mapping[str, Any] | None = None,
) -> float:
    """Mean KL(encoder ‖ surrogate), in nats, summed over dimensions; the surrogate's may be correlated."""
    target, guess = Posterior(mean_NZ, scale_NZ), Posterior(guess_NZ, guess_scale_NZ)
    return float(correlation.divergence_B(correlated, target, guess).mean())


def calibration(
    mean_NZ: Latents, scale_NZ: Latents, guess_NZ: Latents, guess_scale_NZ: Latents
) -> dict[str, float | None]:
    """Whether the surrogate's scale tells how wrong its mean is.

    With z drawn from the encoder's posterior, (z − guess) / guess_scale of an honest surrogate has mean square 1 and
    lies within ±1 and ±2 in 68.3 % and 95.4 % of all cases; both are computed exactly, without drawing.

    Returns:
        `mean_square`, `within_1`, `within_2`; None where there are no dimensions.
    """
    if not mean_NZ.size:
        return {"mean_square": None, "within_1": None, "within_2": None}
    offset_NZ, spread_NZ = (mean_NZ - guess_NZ) / guess_scale_NZ, scale_NZ / guess_scale_NZ

    def within(bound: float) -> float:
        inside_NZ = _normal((bound - offset_NZ) / spread_NZ) - _normal((-bound - offset_NZ) / spread_NZ)
        return float(inside_NZ.mean())

    return {
        "mean_square": float((offset_NZ**2 + spread_NZ**2).mean()),
        "within_1": within(1.0),
        "within_2": within(2.0),
    }


_normal = np.vectorize(lambda x: 0.5 * math.erfc(-x / math.sqrt(2)), otypes=[float])
"""Distribution function of the standard normal; NumPy has none."""
