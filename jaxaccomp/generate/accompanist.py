"""The accompanist: a melody goes in, bass and drums come out.

    band = jaxaccomp.load()
    take = band.accompany("song.mid")[0]
    take.score.write("song-with-band.mid")

Every random number is derived from the seed, the tune's own content, the window's number in it, the variation's and the
attempt's: never from what else is in a batch, how large it is, or how many devices share it.
"""

import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt32

from jaxaccomp.arrays import BAND, PARTS
from jaxaccomp.config import ModelConfig, require
from jaxaccomp.errors import CheckpointError, ConfigError
from jaxaccomp.generate import coverage
from jaxaccomp.generate.batcher import Batcher, Decoded, PendingTake
from jaxaccomp.generate.decoding import blocks
from jaxaccomp.generate.sampler import Sampler, Temperature
from jaxaccomp.generate.song import Song, finish, prepare
from jaxaccomp.models import lstm_scan, surrogate
from jaxaccomp.music import melody as melodies
from jaxaccomp.music import midi, stitch
from jaxaccomp.runtime import use_compilation_cache
from jaxaccomp.weights import checkpoint

DEFAULT_TEMPERATURE = {"bass": 0.45, "drums": 0.25}
"""Sampling temperature by part. Far below these the drummer repeats one bar and the bass falls silent, far
above both get ragged; drums stand less heat than the bass."""
DEFAULT_SPREAD = 1.0
"""How far a latent strays from the surrogate's mean, in its own standard deviations. The mean of many possible
accompaniments lies near the middle, where the bass plays hardly a note; a draw from the posterior has the length of a
real song's latent."""
BATCH = 64
"""Windows decoded at a time: what a long song, or many variations, are cut into."""

_SAMPLER_KEY, _LATENT_KEY = 0, 1


@dataclass(frozen=True)
class Accompaniment:
    """One take of the band.

    Attributes:
        score: the song with bass and drums.
        z: the latent of each window [N, Z].
        windows: tokens of melody, bass and drums of each window [N, 256, 3]; a part that was not asked for is silent.
        melody: which track is the tune, and why.
        variation: number of the take, from 0.
    """

    score: midi.Score
    z: np.ndarray
    windows: np.ndarray
    melody: melodies.Choice
    variation: int = 0


class Accompanist:
    """A MusicVAE and the surrogate that guesses its latent from a melody.

    Attributes:
        config: sizes of both.
        params: `{"musicvae": …, "surrogate": …}`.
    """

    def __init__(
        self,
        config: ModelConfig,
        params: Mapping[str, Any],
        *,
        dtype: Any = None,
        devices: Sequence[jax.Device] | None = None,
    ):
        """Takes both models as `checkpoint.load` gives them.

        Args:
            config: sizes of both.
            params: of both.
            dtype: what the decoder's products are rounded to, see `Sampler`.
            devices: several share the decoding among them, see `Sampler`.

        Raises:
            CheckpointError: there is no surrogate.
        """
        if config.surrogate is None or params.get("surrogate") is None:
            raise CheckpointError(
                "this checkpoint holds a MusicVAE but no surrogate encoder to hear melodies with; "
                "train one: python train.py surrogate --help"
            )
        self.config = config
        self.params = params
        self._sampler = Sampler(config.musicvae, params["musicvae"], dtype=dtype, devices=devices)
        # Wide layers are fastest in products that agree with themselves alone, so in blocks of one size: see `blocks`.
        is_wide = lstm_scan.in_columns(max(config.surrogate.sizes))
        self._encode_melody = partial(
            blocks.in_blocks,
            partial(_encode_melody_wide if is_wide else _encode_melody, params["surrogate"]),
            sizes=blocks.whole() if is_wide else blocks.sizes(),
        )

    def accompany(
        self,
        song: midi.Score | str | PathLike | bytes,
        seed: int = 0,
        temperature: Temperature | None = None,
        variations: int = 1,
        *,
        melody: str | int = "default",
        keep: str = "melody",
        parts: Sequence[str] = BAND,
        spread: float | int = DEFAULT_SPREAD,
        batch_size: int = BATCH,
        progress: Callable[[int], Any] | None = None,
    ) -> list[Accompaniment]:
        """Plays to one song.

        Args:
            song: a Score, the path of a MIDI file, or its bytes.
            seed: another seed, another band.
            temperature: one value, or one for each part; None for the defaults; 0 takes the likeliest token.
            variations: how many takes.
            melody: the rule that finds the tune, or the track's number or name.
            keep: what stays of the original, see `stitch`.
            parts: which parts to play, of bass and drums.
            spread: how far latents stray from the surrogate's mean, in its own standard deviations; 0 is the mean.
            batch_size: windows decoded at a time; changes no note.
            progress: told after each batch how many more windows are settled.

        Returns:
            The takes, in order; take k is the same however many there are.

        Raises:
            MidiError: the song cannot be read.
            MelodyError: there is no tune in it.
            ConfigError: a setting is out of its range.
        """
        score = song if isinstance(song, midi.Score) else midi.read(song)
        return self.play_song(
            prepare(score, melody),
            seed=seed,
            temperature=temperature,
            variations=variations,
            keep=keep,
            parts=parts,
            spread=spread,
            batch_size=batch_size,
            progress=progress,
        )

    def play_song(
        self,
        song: Song,
        *,
        seed: int = 0,
        temperature: Temperature | None = None,
        variations: int = 1,
        keep: str = "melody",
        parts: Sequence[str] = BAND,
        spread: float | int = DEFAULT_SPREAD,
        batch_size: int = BATCH,
        progress: Callable[[int], Any] | None = None,
    ) -> list[Accompaniment]:
        """`accompany`, once the tune is found."""
        require(variations >= 1, f"variations must be at least 1, got {variations}")
        require(batch_size >= 1, f"batch_size must be at least 1, got {batch_size}")
        keeps = typing.get_args(stitch.Keep)
        require(keep in keeps, f"keep must be {' or '.join(keeps)}, got {keep!r}")
        takes = [PendingTake(song.melody_NL, song.fingerprint, variation) for variation in range(variations)]
        batcher = Batcher(batch_size, parts)
        for take in takes:
            batcher.add(take)
        missing = variations * len(song.melody_NL)
        while (batch := batcher.next_batch(partial=True)) is not None:
            decoded = self.play(*batch.rows, seed=seed, temperature=temperature, parts=parts, spread=spread)
            batcher.deliver(batch, decoded.fetched())
            still_missing = sum(take.missing for take in takes)
            if progress is not None:
                progress(missing - still_missing)
            missing = still_missing
        return [
            Accompaniment(
                finish(song.score, song.choice, take.tokens_NLP.astype(np.int32), parts, keep),
                take.z_NZ,
                _with_melody(song.melody_NL, take.tokens_NLP, parts),
                song.choice,
                take.variation,
            )
            for take in takes
        ]

    def play(
        self,
        melody_BL: Int[np.ndarray, "B L"],
        fingerprints_B2: UInt32[np.ndarray, "B 2"],
        windows_B: Int[np.ndarray, "B"],
        variations_B: Int[np.ndarray, "B"] | None = None,
        attempts_B: Int[np.ndarray, "B"] | None = None,
        posterior: tuple[Float[np.ndarray, "B Z"], Float[np.ndarray, "B Z"]] | None = None,
        *,
        seed: int = 0,
        temperature: Temperature | None = None,
        parts: Sequence[str] = BAND,
        spread: float | int = DEFAULT_SPREAD,
    ) -> Decoded:
        """Decodes any windows of any songs, once, without waiting for the device.

        Args:
            melody_BL: the tune's tokens.
            fingerprints_B2: of each row's song.
            windows_B: each row's number in its song.
            variations_B: each row's take; None: all 0.
            attempts_B: how often each row was played before, see `Batcher`; None: all 0.
            posterior: mean and standard deviation of the latents, if known; None: the surrogate hears the tune.
            seed: see `accompany`.
            temperature: see `accompany`.
            parts: see `accompany`.
            spread: see `accompany`.
        """
        require(0 <= spread < float("inf"), f"spread must be 0 or more, got {spread}")
        require(-(2**31) <= seed < 2**32, f"seed must fit in 32 bits, got {seed}")
        require(
            len(parts) > 0 and len(set(parts)) == len(parts) and set(parts) <= set(BAND),
            f"parts must be some of {', '.join(BAND)}, each once, got {', '.join(parts) or 'none'}",
        )
        temperatures = resolve_temperature(temperature, parts)
        nothing_B = np.zeros_like(windows_B)
        numbers = (windows_B, *(nothing_B if row is None else row for row in (variations_B, attempts_B)))
        if posterior is None:
            posterior = self._encode_melody(melody_BL)
        toward_prior_B = np.take(np.array(coverage.TOWARD_PRIOR, np.float32), numbers[-1], mode="clip")
        draw = partial(_draw, np.uint32(seed % 2**32), np.float32(spread))
        z_BZ, keys_B = blocks.in_blocks(draw, *posterior, fingerprints_B2, *numbers, toward_prior_B)
        return Decoded(self._sampler(z_BZ, keys_B, temperatures, tuple(parts)), z_BZ, *posterior)


def load(name_or_path: str | PathLike = checkpoint.DEFAULT, *, dtype: Any = None) -> Accompanist:
    """The accompanist of a checkpoint, by name or by path.

    Compiled programs are kept between runs, see `runtime`.

    Args:
        name_or_path: of the checkpoint.
        dtype: what the decoder's products are rounded to, see `Sampler`.

    Raises:
        CheckpointError: there is no such checkpoint, it is damaged, or it holds no surrogate.
    """
    use_compilation_cache()
    config, params = checkpoint.load(name_or_path)
    try:
        return Accompanist(config, params, dtype=dtype)
    except CheckpointError as error:
        raise CheckpointError(f"{name_or_path}: {error}") from error


def resolve_temperature(temperature: Temperature | None, parts: Sequence[str]) -> tuple[float, ...]:
    """One temperature for each part.

    Raises:
        ConfigError: a negative or unmeant value, or another number of them than of parts.
    """
    if temperature is None:
        return tuple(DEFAULT_TEMPERATURE[part] for part in parts)
    values = np.atleast_1d(np.asarray(temperature, np.float64))
    if len(values) == 1:
        values = np.repeat(values, len(parts))
    if len(values) != len(parts):
        raise ConfigError(f"temperature: expected one value, or one for each of {', '.join(parts)}, got {len(values)}")
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise ConfigError(f"temperature: expected 0 or more, got {', '.join(f'{value:g}' for value in values)}")
    return tuple(map(float, values))


_encode_melody, _encode_melody_wide = blocks.jit(surrogate.encode), jax.jit(surrogate.encode)


@blocks.jit
def _draw(
    seed: UInt32[Array, ""],
    spread: Float[Array, ""],
    mean_BZ: Float[Array, "B Z"],
    scale_BZ: Float[Array, "B Z"],
    fingerprints_B2: UInt32[Array, "B 2"],
    windows_B: Int[Array, "B"],
    variations_B: Int[Array, "B"],
    attempts_B: Int[Array, "B"],
    toward_prior_B: Float[Array, "B"],
) -> tuple[Float[Array, "B Z"], Key[Array, "B"]]:
    """Latents and sampler keys of windows.

    The latents' noise is the same all through a take, as far as windows are played equally often, so that the band
    keeps its mood where the tune moves on; what differs from window to window is the posterior.

    Args:
        seed: of all random choices.
        spread: how many standard deviations the noise is worth.
        mean_BZ: of the posterior.
        scale_BZ: of the posterior.
        fingerprints_B2: of each row's song.
        windows_B: each row's number in its song.
        variations_B: each row's take.
        attempts_B: how often each row was played before.
        toward_prior_B: how far each row's posterior is moved to the prior, 0 to 1; see `coverage`.
    """

    def draw(fingerprint_2: Array, window: Array, variation: Array, attempt: Array) -> tuple[Array, Array]:
        take = jax.random.key(seed)
        for number in (*fingerprint_2, variation, attempt):
            take = jax.random.fold_in(take, number)
        noise_Z = jax.random.normal(jax.random.fold_in(take, _LATENT_KEY), mean_BZ.shape[1:])
        return noise_Z, jax.random.fold_in(jax.random.fold_in(take, _SAMPLER_KEY), window)

    noise_BZ, keys_B = jax.vmap(draw)(fingerprints_B2, windows_B, variations_B, attempts_B)
    toward_prior_B1 = toward_prior_B[:, None]
    wider_BZ = scale_BZ + toward_prior_B1 * (1 - scale_BZ)
    return (1 - toward_prior_B1) * mean_BZ + spread * wider_BZ * noise_BZ, keys_B


def _with_melody(melody_NL: np.ndarray, tokens_NLP: np.ndarray, parts: Sequence[str]) -> np.ndarray:
    windows_NLP = np.zeros((*melody_NL.shape, len(PARTS)), np.int32)
    windows_NLP[:, :, 0] = melody_NL
    for p, part in enumerate(parts):
        windows_NLP[:, :, PARTS.index(part)] = tokens_NLP[:, :, p]
    return windows_NLP
