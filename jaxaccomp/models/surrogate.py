"""The surrogate encoder: hears the melody alone and guesses the latent of the whole song.

A stack of bidirectional LSTMs as in MusicVAE's encoder, whose input is one one-hot instead of three, and the same two
heads. It can therefore start as the encoder itself, deaf to bass and drums: `from_encoder`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxaccomp.arrays import PARTS, VOCABULARY
from jaxaccomp.config import MusicVAEConfig, SurrogateConfig
from jaxaccomp.models import initialization, lstm, lstm_scan, musicvae
from jaxaccomp.models.lstm import AnyArray
from jaxaccomp.models.musicvae import Posterior

Params = Mapping[str, Any]

SWOPE2020 = {"sizes": (128, 128), "predict_scale": False}
"""The network of the write-up this project began with; the baseline to beat."""
POINT_SCALE = 1e-3
"""Standard deviation given by a surrogate that predicts a mean alone: draws from it are that mean."""


def shapes(config: SurrogateConfig) -> dict[str, Any]:
    """Shapes of all parameters, as a nested dict: `layer_{i}/{forward,backward}`, `mean` and, if predicted, `scale`."""
    layers: dict[str, Any] = {}
    width = VOCABULARY["melody"]
    for number, size in enumerate(config.sizes):
        layer = {"kernel": (width + size, 4 * size), "bias": (4 * size,)}
        layers[f"layer_{number}"] = {"forward": dict(layer), "backward": dict(layer)}
        width = 2 * size
    for head in ("mean", "scale")[: 1 + config.predict_scale]:
        layers[head] = {"kernel": (width, config.latent_size), "bias": (config.latent_size,)}
    return layers


def _kernel(key: Array, path: str, shape: tuple[int, int]) -> Array:
    if not path.startswith("layer_"):
        return initialization.dense_kernel(key, shape)
    units = shape[1] // 4
    tokens = VOCABULARY["melody"] if path.startswith("layer_0/") else 0
    return initialization.lstm_kernel(key, tokens, shape[0] - tokens - units, units)


def initialize(config: SurrogateConfig, key: Array) -> dict[str, Any]:
    """New parameters."""
    return initialization.draw(shapes(config), key, _kernel)


def matching(config: MusicVAEConfig) -> SurrogateConfig:
    """The surrogate of the same sizes as a MusicVAE's encoder, which can start from its weights."""
    return SurrogateConfig(sizes=config.encoder_sizes, latent_size=config.latent_size)


def from_encoder(params: Params, frequencies: Mapping[str, Float[AnyArray, "V"]]) -> dict[str, Any]:
    """A MusicVAE's encoder that hears the melody, and the average of everything else.

    Args:
        params: the MusicVAE's parameters.
        frequencies: how often each token of `bass` and of `drums` occurs, summing to 1: their rows of the first
            kernel, so weighted, go into its bias.

    Returns:
        Parameters of a surrogate of the `matching` configuration.
    """
    encoder = jax.tree.map(jnp.asarray, dict(params["encoder"]))
    first = {}
    for side, layer in encoder["layer_0"].items():
        kernel, bias_G, row = layer["kernel"], layer["bias"], 0
        for part in PARTS:
            table_VG = kernel[row : row + VOCABULARY[part]]
            if part != "melody":
                bias_G = bias_G + jnp.asarray(frequencies[part]) @ table_VG
            row += VOCABULARY[part]
        first[side] = {"kernel": jnp.concatenate([kernel[: VOCABULARY["melody"]], kernel[row:]]), "bias": bias_G}
    return {
        **encoder,
        "layer_0": first,
        **{head: jax.tree.map(jnp.asarray, dict(params[head])) for head in ("mean", "scale")},
    }


def encode(
    params: Params, melody_BL: Int[AnyArray, "B L"], lengths_B: Int[AnyArray, "B"] | None = None, dtype: Any = None
) -> Posterior:
    """Guesses the posterior of z from the melody.

    Args:
        params: the surrogate's parameters.
        melody_BL: melody tokens; any number of steps.
        lengths_B: steps that count of each row; None: all.
        dtype: what the operands of matrix products are rounded to; None keeps float32.

    Returns:
        Mean and standard deviation of z; without a scale head the deviation is `POINT_SCALE`.
    """
    layers: Sequence[Any] = [params[f"layer_{n}"] for n in range(sum(name.startswith("layer_") for name in params))]
    tokens_LB = melody_BL.T
    gates = {
        side: lstm.token_gates(layer["kernel"][: VOCABULARY["melody"]], tokens_LB) for side, layer in layers[0].items()
    }
    return posterior(params, lstm_scan.bidirectional(layers, gates, lengths_B, dtype), dtype)


def posterior(params: Params, e_BX: Float[AnyArray, "B X"], dtype: Any = None) -> Posterior:
    """The heads: see `musicvae.posterior`; without a scale head the deviation is `POINT_SCALE`."""
    if "scale" in params:
        return musicvae.posterior(params, e_BX, dtype)
    mean_BZ = musicvae.dense(params["mean"], e_BX, dtype)
    return Posterior(mean_BZ, jnp.full_like(mean_BZ, POINT_SCALE))


class SurrogateEncoder(nn.Module):
    """The model as a Flax module: `model.apply({"params": params}, melody_BL, lengths_B)` → `Posterior`.

    Attributes:
        config: layer sizes.
        dtype: what the operands of matrix products are rounded to; None keeps float32.
    """

    config: SurrogateConfig
    dtype: Any = None

    @nn.compact
    def __call__(self, melody_BL: Int[AnyArray, "B L"], lengths_B: Int[AnyArray, "B"] | None = None) -> Posterior:
        """See `encode`."""
        layers = {
            name: self.param(name, lambda key, n=name, s=shape: initialization.draw({n: s}, key, _kernel)[n])
            for name, shape in shapes(self.config).items()
        }
        return encode(layers, melody_BL, lengths_B, self.dtype)
