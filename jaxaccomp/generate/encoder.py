"""Encoders ready to read tokens: MusicVAE's own, which hears three parts, and the surrogate, which hears the melody.

A row's posterior does not depend on the rows beside it. Narrow models' layers run as machine code of this program's own
on a CPU, see `native_encoder`, and so do wide ones where vectors are long; all else, and the heads, in XLA.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from jaxaccomp.arrays import PARTS
from jaxaccomp.generate.decoding import blocks, native_encoder
from jaxaccomp.models import lstm_scan, musicvae, surrogate
from jaxaccomp.models.musicvae import Posterior

Params = Mapping[str, Any]


class TokenEncoder:
    """An encoder with its parameters; made by `of_trio` and `of_melody`."""

    def __init__(
        self,
        layers: Sequence[Params],
        heads: Params,
        parts: Sequence[str],
        posterior: Callable,
        fallback: Callable,
    ):
        """Takes its pieces.

        Args:
            layers: of LSTMs, each with a `forward` and a `backward` one.
            heads: whatever parameters `posterior` wants.
            parts: whose tokens it reads.
            posterior: the heads, of parameters and rows, made by `blocks.jit`.
            fallback: all of it in XLA, of rows of tokens.
        """
        self._heads = {name: heads[name] for name in ("mean", "scale") if name in heads}
        self._posterior, self._fallback = posterior, fallback
        fits = native_encoder.fits(layers)
        self._native = native_encoder.NativeEncoder(layers, parts) if fits else None

    @property
    def is_native(self) -> bool:
        """Whether its layers run as machine code of this program's own."""
        return self._native is not None

    def compile(self) -> None:
        """Compiles machine code, or fetches it; asks JAX for nothing, so any thread may."""
        if self._native is not None:
            self._native.compile()

    def __call__(self, tokens: Int[np.ndarray, "B L *P"]) -> Posterior:
        """Mean and standard deviation of each row's latent; in XLA, without waiting for the device.

        Args:
            tokens: of the melody alone [B, L], or of all parts [B, L, P].
        """
        if self._native is None:
            return self._fallback(tokens)
        e_BX = self._native(np.asarray(tokens).reshape(*tokens.shape[:2], -1))
        return Posterior(*blocks.in_blocks(lambda e_BX: self._posterior(self._heads, e_BX), e_BX))


def of_trio(params: Params) -> TokenEncoder:
    """A MusicVAE's encoder, of the MusicVAE's parameters."""
    layers = [params["encoder"][f"layer_{n}"] for n in range(len(params["encoder"]))]

    def fallback(tokens_BLP: Any) -> Posterior:
        return blocks.in_blocks(lambda rows_BLP: _encode_trio(params, rows_BLP), tokens_BLP, sizes=blocks.whole())

    return TokenEncoder(layers, params, PARTS, _trio_posterior, fallback)


def of_melody(params: Params) -> TokenEncoder:
    """The surrogate, of its parameters."""
    layers = [params[f"layer_{n}"] for n in range(sum(name.startswith("layer_") for name in params))]
    units = max(len(layer["forward"]["bias"]) // 4 for layer in layers)

    def fallback(melody_BL: Any) -> Posterior:
        # Wide layers are fastest in products that agree with themselves alone, so in blocks of one size: see `blocks`.
        wide = lstm_scan.in_columns(units)
        encode, sizes = (_encode_wide, blocks.whole()) if wide else (_encode_melody, blocks.sizes())
        return blocks.in_blocks(lambda rows_BL: encode(params, rows_BL), melody_BL, sizes=sizes)

    return TokenEncoder(layers, params, PARTS[:1], _melody_posterior, fallback)


_encode_trio, _encode_wide = jax.jit(musicvae.encode), jax.jit(surrogate.encode)
_encode_melody = blocks.jit(surrogate.encode)
_trio_posterior, _melody_posterior = blocks.jit(musicvae.posterior), blocks.jit(surrogate.posterior)
