"""How the dimensions of z go together where the surrogate errs: one correlation matrix for all melodies.

The surrogate gives each dimension a mean and a standard deviation of its own. What it cannot know, such as how busy the
band is, shows in several dimensions at once; drawn each for itself, they contradict each other. With R = L Lᵀ, the
correlation of the standardized errors, z = mean + scale × (L noise) is a draw of a normal distribution with the same
means and deviations that keeps together what goes together.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxaccomp.config import CorrelationConfig
from jaxaccomp.models.lstm import AnyArray
from jaxaccomp.models.musicvae import Posterior, posterior_divergence_B

Params = Mapping[str, Any]


def shapes(config: CorrelationConfig) -> dict[str, Any]:
    """Shapes of all parameters: `kernel`, the lower triangular L."""
    return {"kernel": (config.latent_size, config.latent_size)}


def fit(target: Posterior, guess: Posterior) -> dict[str, Any]:
    """The correlation under which the encoder's posteriors are likeliest, given the surrogate's.

    Args:
        target: the encoder's posteriors of windows.
        guess: the surrogate's.

    Returns:
        Parameters.
    """
    error_NZ = (np.asarray(target.mean_BZ, np.float64) - guess.mean_BZ) / guess.scale_BZ
    spread_NZ = np.asarray(target.scale_BZ, np.float64) / guess.scale_BZ
    covariance_ZZ = error_NZ.T @ error_NZ / len(error_NZ) + np.diag((spread_NZ**2).mean(0))
    deviation_Z = np.sqrt(np.diag(covariance_ZZ))
    root_ZZ = np.linalg.cholesky(covariance_ZZ / np.outer(deviation_Z, deviation_Z))
    return {"kernel": root_ZZ.astype(np.float32)}


def correlate(params: Params | None, noise_BZ: Float[AnyArray, "B Z"]) -> Float[AnyArray, "B Z"]:
    """Standard normal noise with the dimensions' correlation, in an array of its kind; as it is where there is none."""
    if params is None:
        return noise_BZ
    root_ZZ = params["kernel"]
    return noise_BZ @ (np.asarray(root_ZZ) if isinstance(noise_BZ, np.ndarray) else root_ZZ).T


def divergence_B(params: Params | None, target: Posterior, guess: Posterior) -> Float[AnyArray, " B"]:
    """KL(target ‖ guess), nats, summed over z, the guess being correlated."""
    if params is None:
        return posterior_divergence_B(target, guess)
    root_ZZ = jnp.asarray(params["kernel"], jnp.float32)
    inverse_ZZ = jnp.linalg.inv(root_ZZ)
    ratio_BZ = target.scale_BZ / guess.scale_BZ
    offset_BZ = ((target.mean_BZ - guess.mean_BZ) / guess.scale_BZ) @ inverse_ZZ.T
    # the trace of R⁻¹ diag(ratio²), whose weights are the column norms of L⁻¹
    trace_B = (ratio_BZ**2) @ (inverse_ZZ**2).sum(0)
    volume = jnp.log(jnp.abs(jnp.diagonal(root_ZZ))).sum()
    size = ratio_BZ.shape[1]
    return 0.5 * (trace_B + (offset_BZ**2).sum(1) - size) - jnp.log(ratio_BZ).sum(1) + volume
