"""A checkpoint's latent space: into it by encoder or surrogate, through it, and out again by the decoder.

Unless told otherwise, all rows are decoded under one key: what differs between two results is their z alone. So the
ends of an interpolation are the reconstructions of what it runs between.
"""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Float, Int

from jaxaccomp import runtime
from jaxaccomp.arrays import PARTS, WindowTokens
from jaxaccomp.config import ModelConfig, require
from jaxaccomp.errors import CheckpointError
from jaxaccomp.generate import encoder
from jaxaccomp.generate.sampler import Sampler, Temperature
from jaxaccomp.models.musicvae import Posterior
from jaxaccomp.weights import checkpoint

Latents = Float[np.ndarray, "N Z"]
Course = Literal["spherical", "linear"]

_PRIOR_KEY, _SAMPLER_KEY = 0, 1


class LatentSpace:
    """A MusicVAE, with its surrogate if it has one.

    Attributes:
        config: sizes of both.
        params: of both.
        name: what to call the checkpoint in messages.
    """

    def __init__(self, config: ModelConfig, params: Mapping[str, Any], name: str = "this checkpoint"):
        self.config = config
        self.name = name
        self.params = params
        self._sampler = Sampler(config.musicvae, params["musicvae"])
        self._encode = encoder.of_trio(params["musicvae"])
        self._guess = None if params.get("surrogate") is None else encoder.of_melody(params["surrogate"])

    def prior(self, count: int, seed: int = 0) -> Latents:
        """Draws from the prior, N(0, I); row k is the same however many there are."""
        require(count >= 1, f"count must be at least 1, got {count}")
        key = jax.random.fold_in(jax.random.key(seed, impl=runtime.PRNG), _PRIOR_KEY)
        keys_N = jax.vmap(lambda row: jax.random.fold_in(key, row))(np.arange(count))
        return np.asarray(jax.vmap(lambda key: jax.random.normal(key, (self.config.musicvae.latent_size,)))(keys_N))

    def encode(self, windows_NLP: WindowTokens) -> Posterior:
        """Posteriors of windows, all three parts of which are known."""
        return _on_host(self._encode(windows_NLP.astype(np.int32)))

    def guess(self, melody_NL: Int[np.ndarray, "N L"]) -> Posterior:
        """Posteriors of windows, of which the melody alone is known.

        Raises:
            CheckpointError: there is no surrogate.
        """
        self.require_surrogate()
        assert self._guess is not None
        return _on_host(self._guess(melody_NL.astype(np.int32)))

    def decode(
        self,
        z_NZ: Latents,
        *,
        seed: int = 0,
        temperature: Temperature = 0,
        parts: Sequence[str] = PARTS,
        shared_noise: bool = True,
    ) -> Int[np.ndarray, "N L parts"]:
        """Tokens of latents.

        Args:
            z_NZ: latents.
            seed: of the noise.
            temperature: as of `sampler.sample`; 0 takes the likeliest tokens.
            parts: what to decode, in the order of the last axis.
            shared_noise: whether it is the same for every row, or each row's own.
        """
        key = jax.random.fold_in(jax.random.key(seed, impl=runtime.PRNG), _SAMPLER_KEY)
        rows_N = np.zeros(len(z_NZ), np.int32) if shared_noise else np.arange(len(z_NZ), dtype=np.int32)
        keys_N = jax.vmap(lambda row: jax.random.fold_in(key, row))(rows_N)
        return np.asarray(self._sampler(np.asarray(z_NZ, np.float32), keys_N, temperature, tuple(parts)))

    def reconstruct(self, windows_NLP: WindowTokens, *, seed: int = 0, temperature: Temperature = 0) -> WindowTokens:
        """What the model can say of windows: decoded from the means of their posteriors."""
        return self.decode(np.asarray(self.encode(windows_NLP).mean_BZ), seed=seed, temperature=temperature)

    def require_surrogate(self) -> None:
        """Raises CheckpointError unless there is a surrogate."""
        if self.params.get("surrogate") is None:
            raise CheckpointError(f"{self.name}: holds no surrogate encoder; train one: python train.py surrogate")


def _on_host(posterior: Posterior) -> Posterior:
    return Posterior(*map(np.asarray, posterior))


def load(path_or_name: str | PathLike = checkpoint.DEFAULT) -> LatentSpace:
    """The latent space of a checkpoint, by name or by path.

    Raises:
        CheckpointError: there is no such checkpoint, or it is damaged.
    """
    config, params = checkpoint.load(path_or_name)
    return LatentSpace(config, params, str(path_or_name))


def interpolate(
    first_Z: Float[np.ndarray, " Z"], last_Z: Float[np.ndarray, " Z"], steps: int, path: Course = "spherical"
) -> Latents:
    """Points from one latent to another, both ends included.

    Draws of a normal distribution in many dimensions lie near a sphere. A straight line between two of them passes
    inside it, where no song lies; the spherical path turns from one to the other and changes its length evenly.

    Args:
        first_Z: where it begins.
        last_Z: where it ends.
        steps: how many points, at least 2.
        path: spherical or linear. Between ends in one line with the origin, spherical is linear too.
    """
    require(steps >= 2, f"steps must be at least 2, both ends included, got {steps}")
    require(path in ("spherical", "linear"), f"path must be spherical or linear, got {path!r}")
    first_Z, last_Z = (np.asarray(end, np.float64) for end in (first_Z, last_Z))
    t_N1 = np.linspace(0, 1, steps)[:, None]
    lengths = np.linalg.norm(first_Z), np.linalg.norm(last_Z)
    points_NZ = (1 - t_N1) * first_Z + t_N1 * last_Z
    if path == "spherical" and min(lengths) > 0:
        first_unit_Z, last_unit_Z = first_Z / lengths[0], last_Z / lengths[1]
        angle = np.arccos(np.clip(first_unit_Z @ last_unit_Z, -1, 1))
        if 1e-4 < angle < np.pi - 1e-4:
            weights = np.sin((1 - t_N1) * angle) / np.sin(angle), np.sin(t_N1 * angle) / np.sin(angle)
            turned_NZ = weights[0] * first_unit_Z + weights[1] * last_unit_Z
            points_NZ = turned_NZ * ((1 - t_N1) * lengths[0] + t_N1 * lengths[1])
    points_NZ[0], points_NZ[-1] = first_Z, last_Z
    return points_NZ.astype(np.float32)
