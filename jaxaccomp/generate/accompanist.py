"""The accompanist: a melody goes in, bass and drums come out.

    band = jaxaccomp.load()
    take = band.accompany("song.mid")[0]
    take.score.write("song-with-band.mid")

How it plays is told by `PlayOptions`. Each window is decoded one or several times (attempts), a `TakeScorer` says what
each is worth, and the best is kept.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt32

from jaxaccomp import runtime
from jaxaccomp.arrays import BAND, PARTS
from jaxaccomp.config import ModelConfig, require
from jaxaccomp.errors import CheckpointError
from jaxaccomp.generate import density, given, guidance, latents, refinement, scoring
from jaxaccomp.generate.batcher import Batcher, Decoded, PendingTake
from jaxaccomp.generate.conditioning import Conditions
from jaxaccomp.generate.decoding import blocks
from jaxaccomp.generate.options import PlayOptions
from jaxaccomp.generate.sampler import Sampler, Temperature
from jaxaccomp.generate.scoring import TakeScorer
from jaxaccomp.generate.song import Song, finish, given_tokens, prepare
from jaxaccomp.generate.take import Accompaniment
from jaxaccomp.music import midi
from jaxaccomp.weights import checkpoint

BATCH = 64
"""Windows decoded at a time: what a long song, or many variations, are cut into."""


class Accompanist:
    """A MusicVAE and the surrogate that guesses its latent from a melody.

    Attributes:
        config: sizes of both.
        params: `{"musicvae": …, "surrogate": …}`.
        name: of the checkpoint, as it was asked for.
    """

    name: str = "unnamed"

    def __init__(
        self,
        config: ModelConfig,
        params: Mapping[str, Any],
        *,
        dtype: Any = None,
        devices: Sequence[jax.Device] | None = None,
        source: str | PathLike | None = None,
    ):
        """Takes both models as `checkpoint.load` gives them.

        Args:
            config: sizes of both.
            params: of both.
            dtype: what the decoder's products are rounded to, see `Sampler`.
            devices: several share the decoding among them, see `Sampler`.
            source: the checkpoint's name or path, beside which directions and the like are looked up.

        Raises:
            CheckpointError: there is no surrogate.
        """
        if config.surrogate is None or params.get("surrogate") is None:
            raise CheckpointError(
                "this checkpoint holds a MusicVAE but no surrogate encoder to guess its latent from a melody; "
                "train one: python train.py surrogate --help"
            )
        self.config = config
        self._dtype = dtype
        self.params = params
        self.source = source
        self._conditions = Conditions(params, source)
        self._sampler = Sampler(config.musicvae, params["musicvae"], dtype=dtype, devices=devices)
        self._encode_melody = latents.MelodyEncoder(params["surrogate"])
        self._correlation = params.get("correlation")

    def compile_aside(self) -> None:
        """Begins to compile what JAX does not, in a thread, so that it is ready when the first window is decoded."""

        def compile_in_order_of_use() -> None:
            self._encode_melody.compile()
            self._sampler.compile()

        threading.Thread(target=compile_in_order_of_use, name="compile encoder and sampler").start()

    def accompany(
        self,
        song: midi.Score | str | PathLike | bytes,
        seed: int = 0,
        temperature: Temperature | None = None,
        variations: int = 1,
        *,
        batch_size: int = BATCH,
        progress: Callable[[int], Any] | None = None,
        **settings: Any,
    ) -> list[Accompaniment]:
        """Plays to one song.

        Args:
            song: a Score, the path of a MIDI file, or its bytes.
            seed: another seed, another band.
            temperature: one value, or one for each part; None for the defaults; 0 takes the likeliest token.
            variations: how many takes.
            batch_size: windows decoded at a time; changes no note.
            progress: told after each batch how many more windows are settled.
            settings: any other of `PlayOptions`: melody, keep, parts, spread, …

        Returns:
            The takes, in order; take k is the same however many there are.

        Raises:
            MidiError: the song cannot be read.
            MelodyError: there is no melody in it.
            ConfigError: a setting is unknown, or out of its range.
        """
        options = PlayOptions.of(seed=seed, temperature=temperature, variations=variations, **settings)
        score = song if isinstance(song, midi.Score) else midi.read(song)
        return self.play_song(prepare(score, options), options, batch_size=batch_size, progress=progress)

    def play_song(
        self,
        song: Song,
        options: PlayOptions | None = None,
        *,
        batch_size: int = BATCH,
        progress: Callable[[int], Any] | None = None,
    ) -> list[Accompaniment]:
        """`accompany`, once the melody is found."""
        options = (options or PlayOptions()).for_checkpoint(self.config)
        takes = [
            PendingTake(song.melody_NL, song.fingerprint, variation, used_NL=song.used_NL)
            for variation in range(options.variations)
        ]
        given_NL = None
        if options.given is not None:
            given_NL = given_tokens(song, options)
            self._know(takes, given_NL, options)
        self.settle(takes, options, batch_size=batch_size, progress=progress)
        return [
            Accompaniment(
                finish(song.score, song.choice, take.tokens_NLP.astype(np.int32), options, take.variation),
                take.z_NZ,
                _with_melody(song.melody_NL, take.tokens_NLP, options.parts, options.given, given_NL),
                song.choice,
                take.variation,
                take.scores,
                song.score,
            )
            for take in takes
        ]

    @runtime.own_settings()
    def _know(self, takes: Sequence[PendingTake], given_NL: np.ndarray, options: PlayOptions) -> None:
        """Tells takes of one song their given part, and the latents that it makes likely."""
        options = options.for_checkpoint(self.config)
        posterior = self._posterior(takes[0].melody_NL, options)
        for take in takes:
            key = given.take_key(options.seed, take.fingerprint, take.variation)
            attempts = options.attempts + options.retries
            take.given_NL = given_NL
            take.known = given.choose(
                self.params["musicvae"],
                posterior,
                given_NL,
                options.given,
                key,
                attempts,
                options.spread,
                self._correlation,
            )

    def settle(
        self,
        takes: Sequence[PendingTake],
        options: PlayOptions,
        *,
        batch_size: int = BATCH,
        progress: Callable[[int], Any] | None = None,
    ) -> None:
        """Decodes takes of any songs, or of single windows, as often as the options say, and keeps what scores best."""
        require(batch_size >= 1, f"batch_size must be at least 1, got {batch_size}")
        options = options.for_checkpoint(self.config)
        batcher = Batcher(batch_size, self.scorer(options), options, scoring.drums_first(options, self.config))
        self._encode(takes, options)
        for take in takes:
            batcher.add(take)
        told, windows = 0, sum(len(take.melody_NL) for take in takes)
        while (batch := batcher.next_batch(partial=True)) is not None:
            batcher.deliver(batch, self.play(*batch.rows, options=options).fetched())
            settled = windows - sum(map(batcher.unsettled, takes))
            if progress is not None:
                progress(settled - told)
            told = settled

    @runtime.own_settings()
    def _encode(self, takes: Sequence[PendingTake], options: PlayOptions) -> None:
        """Lets the surrogate hear each window once, however often it is going to be decoded."""
        fresh = [take for take in takes if not take.is_encoded and len(take.melody_NL)]
        if not fresh:
            return
        mean_BZ, scale_BZ = self._posterior(np.concatenate([take.melody_NL for take in fresh]), options)
        mean_BZ, scale_BZ = np.asarray(mean_BZ), np.asarray(scale_BZ)
        start = 0
        for take in fresh:
            here = slice(start, start + len(take.melody_NL))
            take.encoded, start = (mean_BZ[here], scale_BZ[here]), here.stop

    def _posterior(self, melody_BL: Int[np.ndarray, "B L"], options: PlayOptions) -> Any:
        """Mean and standard deviation of each window's latent, as the options would have them."""
        posterior = self._encode_melody(melody_BL)
        return posterior if options.like is None else self._conditions.like(posterior, options, self._encode_melody)

    @runtime.own_settings()
    def play(
        self,
        melody_BL: Int[np.ndarray, "B L"],
        fingerprints_B2: UInt32[np.ndarray, "B 2"],
        windows_B: Int[np.ndarray, "B"],
        variations_B: Int[np.ndarray, "B"] | None = None,
        attempts_B: Int[np.ndarray, "B"] | None = None,
        posterior: tuple[Float[np.ndarray, "B Z"], Float[np.ndarray, "B Z"]] | None = None,
        given_BL: Int[np.ndarray, "B L"] | None = None,
        part: str | None = None,
        *,
        options: PlayOptions | None = None,
    ) -> Decoded:
        """Decodes any windows of any songs, once, without waiting for the device.

        JAX's settings of the caller's process change no note.

        Args:
            melody_BL: the melody's tokens.
            fingerprints_B2: of each row's song.
            windows_B: each row's number in its song.
            variations_B: each row's take; None: all 0.
            attempts_B: each row's attempt, see `Batcher`; None: all 0.
            posterior: mean and standard deviation of the latents, if known; None: the surrogate guesses them.
            given_BL: tokens of the part that is given, where one is.
            part: decodes this part alone, the bass to given drums; None: all that the options ask for.
            options: how to play; None: the defaults.
        """
        options = (options or PlayOptions()).for_checkpoint(self.config)
        if part is not None:
            options = options.for_part(part)
        variations_B, attempts_B = (
            np.zeros_like(windows_B) if numbers_B is None else numbers_B for numbers_B in (variations_B, attempts_B)
        )
        if posterior is None:
            posterior = self._posterior(melody_BL, options)
        if jax.default_backend() == "cpu":  # as one that is known comes; what lies on a device is another program's
            posterior = (np.asarray(posterior[0]), np.asarray(posterior[1]))
        seed, spread = np.uint32(options.seed % 2**32), np.float32(options.spread)
        z_BZ, keys_B = blocks.in_blocks(
            lambda *rows: latents.draw(seed, spread, self._correlation, *rows),
            *posterior,
            fingerprints_B2,
            windows_B,
            variations_B,
            attempts_B,
            latents.toward_prior(attempts_B, options.attempts),
        )
        if options.refine:
            z_BZ = refinement.refine(self.params["musicvae"], options.refine, melody_BL, z_BZ, *posterior)
        if options.steer:
            z_BZ = z_BZ + self._conditions.shift(options)
        return Decoded(self._decode(melody_BL, z_BZ, keys_B, given_BL, options), z_BZ, *posterior)

    def _decode(
        self, melody_BL: Any, z_BZ: Any, keys_B: Any, given_BL: Any, options: PlayOptions
    ) -> Int[Array, "B L parts"]:
        """Tokens of the parts asked for; a guided bass is decoded after the drums it is to go with."""
        guided = options.guidance > 0
        heat = options.temperatures(guided)
        bias = {
            part: bias_BLV
            for part, factor in zip(BAND, options.density, strict=True)
            if (bias_BLV := density.bias(part, factor, len(melody_BL))) is not None
        }
        if not guided or "bass" not in options.parts:
            temperatures = tuple(heat[part] for part in options.parts)
            return self._sampler(z_BZ, keys_B, temperatures, options.parts, bias=bias)
        drums_BL = given_BL if options.given == "drums" else None
        if drums_BL is None:
            drums_BL = self._sampler(z_BZ, keys_B, heat["drums"], ("drums",), bias=bias)[:, :, 0]
        advice_BLV = guidance.of_rows(
            self.config.guide, self.params["guide"], melody_BL, drums_BL, heat["bass"], options.guidance
        )
        bias["bass"] = advice_BLV + bias["bass"] if "bass" in bias else advice_BLV
        bass_BLP = self._sampler(z_BZ, keys_B, heat["bass"], ("bass",), bias=bias)
        if options.parts == ("bass",):
            return bass_BLP
        found = {"bass": bass_BLP[:, :, 0], "drums": drums_BL}
        return jnp.stack([found[part] for part in options.parts], axis=-1)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as what it was made of, arrays on the host; the devices are those of the process that reads it."""
        params = jax.tree.map(np.asarray, dict(self.params))
        return _unpickled, (self.config, params, self._dtype, self.name)

    def __repr__(self) -> str:
        count = sum(array.size for array in jax.tree.leaves(self.params))
        return f"Accompanist({self.name}, {count / 1e6:.1f} million parameters)"

    def scorer(self, options: PlayOptions) -> TakeScorer:
        """What a decoded window is worth under these options."""
        return scoring.make(options, self.config, self.params)


def load(name_or_path: str | PathLike = checkpoint.DEFAULT, *, dtype: Any = None) -> Accompanist:
    """The accompanist of a checkpoint, by name or by path.

    Compiled programs are kept between runs, see `runtime`.

    Args:
        name_or_path: of the checkpoint.
        dtype: what the decoder's products are rounded to, see `Sampler`.

    Raises:
        CheckpointError: there is no such checkpoint, it is damaged, or it holds no surrogate.
    """
    runtime.use_compilation_cache()
    config, params = checkpoint.load(name_or_path)
    try:
        band = Accompanist(config, params, dtype=dtype, source=name_or_path)
    except CheckpointError as error:
        raise CheckpointError(f"{name_or_path}: {error}") from error
    band.name = str(name_or_path)
    band.compile_aside()
    return band


def _unpickled(config: ModelConfig, params: Mapping[str, Any], dtype: Any, name: str) -> Accompanist:
    band = Accompanist(config, jax.tree.map(jax.numpy.asarray, params), dtype=dtype, source=name)
    band.name = name
    return band


def _with_melody(
    melody_NL: np.ndarray, tokens_NLP: np.ndarray, parts: Sequence[str], given: str | None, given_NL: np.ndarray | None
) -> np.ndarray:
    windows_NLP = np.zeros((*melody_NL.shape, len(PARTS)), np.int32)
    windows_NLP[:, :, 0] = melody_NL
    for p, part in enumerate(parts):
        windows_NLP[:, :, PARTS.index(part)] = tokens_NLP[:, :, p]
    if given is not None:
        windows_NLP[:, :, PARTS.index(given)] = given_NL
    return windows_NLP
