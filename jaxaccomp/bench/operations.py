"""How many operations and bytes a window costs: the documented count behind every fraction of peak.

Counted are the multiplications and additions of matrix products, two for each weight and row, as any implementation
must do them: one-hot inputs cost nothing (a row is looked up), the conductor's constant zero input costs nothing, and
a bar embedding's share of the gates is computed once a bar. Gates, softmax and sampling are left out (under 1 % at
full size), so a fraction of peak is never flattered by them.

With L = 256 steps, S = 16 bars, H_i the width of layer i, V a part's vocabulary and E the bar embedding:

    encode       2·L · Σ_i 2 · (2·H_{i-1}[i>0] + H_i) · 4·H_i   +   2 · 2 · 2·H_last · Z
    surrogate    the same with its own widths
    conduct      2 · Z · Σ 2·H_i   +   2·S · Σ_i (H_{i-1}[i>0] + H_i) · 4·H_i
    each part    2·S · E · (Σ 2·H_i + 4·H_0)   +   2·L · (Σ_i (H_{i-1}[i>0] + H_i) · 4·H_i  +  H_last · V)

Full size: encode 68.7 GFLOP, bass and drums 14.1, all three parts 20.9.

Bytes are those of the weights that every step of a scan must read again, once for the whole batch, unless they fit in
the last-level cache: the lower bound on traffic that holds small batches down.
"""

from collections.abc import Sequence

from jaxaccomp.arrays import BARS, PARTS, STEPS, VOCABULARY
from jaxaccomp.config import MusicVAEConfig, SurrogateConfig


def encode_flops(config: MusicVAEConfig) -> int:
    """Operations of encoding one window."""
    heads = 2 * 2 * 2 * config.encoder_sizes[-1] * config.latent_size
    return 2 * STEPS * _bidirectional_weights(config.encoder_sizes) + heads


def surrogate_flops(config: SurrogateConfig) -> int:
    """Operations of guessing one window's latent from its melody."""
    heads = (2 if config.predict_scale else 1) * 2 * 2 * config.sizes[-1] * config.latent_size
    return 2 * STEPS * _bidirectional_weights(config.sizes) + heads


def decode_flops(config: MusicVAEConfig, parts: Sequence[str] = PARTS) -> int:
    """Operations of decoding one window: the conductor, then the parts asked for."""
    conductor = 2 * config.latent_size * 2 * sum(config.conductor_sizes)
    conductor += 2 * BARS * _recurrent_weights(config.conductor_sizes)
    sizes = config.decoder_sizes
    per_bar = 2 * BARS * config.embedding_size * (2 * sum(sizes) + 4 * sizes[0])
    per_step = 2 * STEPS * _recurrent_weights(sizes)
    heads = sum(2 * STEPS * sizes[-1] * VOCABULARY[part] for part in parts)
    return conductor + len(parts) * (per_bar + per_step) + heads


def encode_bytes(config: MusicVAEConfig, bytes_per_weight: int = 4) -> int:
    """Weights read by one batch's encoding, each step anew."""
    return STEPS * _bidirectional_weights(config.encoder_sizes, recurrent_only=True) * bytes_per_weight


def surrogate_bytes(config: SurrogateConfig, bytes_per_weight: int = 4) -> int:
    """Weights read by one batch's guess, each step anew."""
    return STEPS * _bidirectional_weights(config.sizes, recurrent_only=True) * bytes_per_weight


def decode_bytes(config: MusicVAEConfig, parts: Sequence[str] = PARTS, bytes_per_weight: int = 4) -> int:
    """Weights read by one batch's decoding, each step anew."""
    conductor = BARS * _recurrent_weights(config.conductor_sizes)
    heads = sum(config.decoder_sizes[-1] * VOCABULARY[part] for part in parts)
    steps = STEPS * (len(parts) * _recurrent_weights(config.decoder_sizes) + heads)
    return (conductor + steps) * bytes_per_weight


def _bidirectional_weights(sizes: Sequence[int], recurrent_only: bool = False) -> int:
    """Weights a step of a bidirectional stack meets; a layer's input is both directions of the one below."""
    below = [0, *sizes[:-1]] if not recurrent_only else [0] * len(sizes)
    return sum(2 * (2 * under + units) * 4 * units for under, units in zip(below, sizes, strict=True))


def _recurrent_weights(sizes: Sequence[int]) -> int:
    """Weights a step of a unidirectional stack meets, its own input's left out."""
    return sum((under + units) * 4 * units for under, units in zip([0, *sizes[:-1]], sizes, strict=True))
