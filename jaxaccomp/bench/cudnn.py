"""MusicVAE's encoder through cuDNN's LSTM, NVIDIA's own kernel for it: a yardstick for our scan on such a GPU.

cuDNN takes all layers' weights in one flat array, gates in the order i, f, g, o, and has no forget bias of its own. It
reads one-hot inputs as a product. Nothing but the bench uses it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxaccomp.arrays import PARTS, VOCABULARY
from jaxaccomp.errors import JaxAccompError
from jaxaccomp.models import lstm, musicvae

TOLERANCE = 0.05
"""Largest difference of a posterior's mean from ours, relative to its largest value: room for TF32 over 512 steps."""


def is_available() -> bool:
    """Whether JAX runs on an NVIDIA GPU."""
    return jax.default_backend() == "gpu" and "cuda" in jax.local_devices()[0].client.platform_version.lower()


def pack(layers: Sequence[Mapping[str, lstm.Layer]]) -> Float[Array, "N"]:
    """The flat weights of a bidirectional stack that cuDNN takes.

    Args:
        layers: each with a `forward` and a `backward` layer, all of one width.
    """
    kernels, biases = [], []
    for layer in layers:
        for side in ("forward", "backward"):
            kernel, bias_G = layer[side]["kernel"], layer[side]["bias"]
            units = bias_G.shape[0] // 4
            i, g, f, o = jnp.split(jnp.asarray(kernel), 4, axis=1)
            kernel_GX = jnp.concatenate([i, f, g, o], axis=1).T
            kernels += [kernel_GX[:, :-units].ravel(), kernel_GX[:, -units:].ravel()]
            i, g, f, o = jnp.split(jnp.asarray(bias_G), 4)
            biases += [jnp.concatenate([i, f + lstm.FORGET_BIAS, g, o]), jnp.zeros_like(bias_G)]
    return jnp.concatenate([*kernels, *biases])


def encode(
    params: Mapping[str, Any], weights_N: Float[Array, "N"], tokens_BLP: Int[Array, "B L P"], run: Any = None
) -> musicvae.Posterior:
    """`musicvae.encode` of full-length windows.

    Args:
        params: the model's parameters, of which the heads are used, and the shapes of the encoder.
        weights_N: from `pack`.
        tokens_BLP: melody, bass, drums.
        run: what computes the layers; None: `jax.experimental.rnn.lstm`, which needs an NVIDIA GPU.
    """
    from jax.experimental import rnn

    one_hot_BLI = jnp.concatenate(
        [jax.nn.one_hot(tokens_BLP[..., p], VOCABULARY[part]) for p, part in enumerate(PARTS)], axis=-1
    )
    layers = len(params["encoder"])
    units = params["encoder"]["layer_0"]["forward"]["bias"].shape[0] // 4
    batch, steps, inputs = one_hot_BLI.shape
    zeros = jnp.zeros((2 * layers, batch, units), one_hot_BLI.dtype)
    lengths_B = jnp.full(batch, steps, jnp.int32)
    sizes = (inputs, units, layers, 0.0, True)
    _, last, _ = (run or rnn.lstm)(one_hot_BLI, zeros, zeros, weights_N, lengths_B, *sizes)
    return musicvae.posterior(params, jnp.concatenate([last[-2], last[-1]], axis=-1))


def require_same(ours: musicvae.Posterior, theirs: musicvae.Posterior) -> None:
    """That both encoders say the same, as far as rounding goes: else the rates cannot be compared.

    Raises:
        JaxAccompError: they do not.
    """
    differs = float(jnp.max(jnp.abs(ours.mean_BZ - theirs.mean_BZ)) / jnp.max(jnp.abs(ours.mean_BZ)))
    if not differs <= TOLERANCE:
        raise JaxAccompError(f"cuDNN's encoder differs from ours by {differs:.1%} of the largest mean; it is not timed")
