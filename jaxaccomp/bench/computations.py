"""What `bench models` times: each computation of the model with its inputs, operations and bytes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxaccomp.arrays import BARS, PARTS, STEPS, VOCABULARY
from jaxaccomp.bench import cudnn, naive, operations
from jaxaccomp.bench.settings import ModelsConfig
from jaxaccomp.config import PRESETS, ModelConfig, SurrogateConfig
from jaxaccomp.errors import CheckpointError
from jaxaccomp.generate import encoder
from jaxaccomp.generate.accompanist import Accompanist
from jaxaccomp.generate.decoding import blocks
from jaxaccomp.generate.sampler import Sampler
from jaxaccomp.models import lstm_scan, musicvae, surrogate
from jaxaccomp.weights import checkpoint

BASS_AND_DRUMS = ("bass", "drums")
CUDNN_ENCODE = "cudnn_encode"
"""The row that only an NVIDIA GPU has."""
TEMPERATURE = 0.5
"""Of the timed sampling; its value changes no speed."""
_BYTES = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True, kw_only=True)
class Computation:
    """Something to time.

    Attributes:
        name: its key in the results.
        flops: operations for each window.
        streamed_bytes: weights that all steps of a batch read, one after the other.
        start: makes the inputs of a batch size, and gives what is to be timed.
        parts: the parts it decodes, if it decodes.
        share_read: how much of `streamed_bytes` a batch of so many windows reads at least.
    """

    name: str
    flops: int
    streamed_bytes: int
    start: Callable[[int], Callable[[], Any]]
    parts: Sequence[str] | None = None
    share_read: Callable[[int], float] = lambda _: 1.0


def random_params(shapes: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    """Parameters that keep the variance of their input, drawn fast: at full size an initialization takes minutes."""
    generator = np.random.default_rng(seed)

    def draw(node: Any) -> Any:
        if isinstance(node, dict):
            return {name: draw(child) for name, child in node.items()}
        drawn = generator.standard_normal(node, np.float32)
        return jnp.asarray(drawn / np.float32(node[0]) ** 0.5 if len(node) == 2 else 0.1 * drawn)

    return draw(shapes)


class Workbench:
    """The models of one run of the bench.

    Attributes:
        config: sizes of MusicVAE and surrogate.
        weights: where the parameters come from: a checkpoint's name, or `random`.
        devices: what a batch is spread over.
    """

    def __init__(self, settings: ModelsConfig):
        """Loads or draws the parameters and places them on the devices.

        Args:
            settings: preset, weights, dtype and devices.
        """
        self.config, self.params, self.weights = _models(settings)
        self.devices = jax.local_devices()[: settings.devices]
        self._dtype = None if settings.dtype == "float32" else jnp.dtype(settings.dtype)
        self._width = _BYTES[settings.dtype]
        self._sampler = Sampler(self.config.musicvae, self.params["musicvae"], dtype=self._dtype, devices=self.devices)
        self._mesh = jax.sharding.Mesh(np.array(self.devices), ("rows",))
        self._placed: dict[str, Any] = {}

    def computations(self, with_naive: bool) -> list[Computation]:
        """All that is timed, in the order of the table.

        Args:
            with_naive: whether the model in Flax's own layers follows; cuDNN's encoder comes last, where there is one.
        """
        band = [
            self._encode(),
            self._guess(),
            self._decode("decode", BASS_AND_DRUMS),
            self._decode("decode_all", PARTS),
        ]
        return [*band, self._accompany(), *(self._naive() if with_naive else ()), *self._cudnn()]

    def _encode(self) -> Computation:
        reader = encoder.of_trio(self.params["musicvae"])
        encode = jax.jit(partial(musicvae.encode, dtype=self._dtype))
        return Computation(
            name="encode",
            flops=operations.encode_flops(self.config.musicvae),
            streamed_bytes=operations.encode_bytes(self.config.musicvae, self._width),
            start=self._reading(reader, _windows) or self._calling(encode, "musicvae", _windows),
        )

    def _guess(self) -> Computation:
        reader = encoder.of_melody(self.params["surrogate"])
        guess = partial(surrogate.encode, dtype=self._dtype)
        in_columns = lstm_scan.in_columns(max(self._surrogate.sizes), self._dtype)
        return Computation(
            name="surrogate",
            flops=operations.surrogate_flops(self._surrogate),
            streamed_bytes=operations.surrogate_bytes(self._surrogate, self._width),
            start=self._reading(reader, _melodies)
            or self._calling((jax.jit if in_columns else blocks.jit)(guess), "surrogate", _melodies),
        )

    def _decode(self, name: str, parts: Sequence[str]) -> Computation:
        def start(batch: int) -> Callable[[], Any]:
            z_BZ, keys_B = self._latents(batch), jax.random.split(jax.random.key(0), batch)
            return lambda: self._sampler(z_BZ, keys_B, TEMPERATURE, parts)

        return Computation(
            name=name,
            flops=operations.decode_flops(self.config.musicvae, parts),
            streamed_bytes=operations.decode_bytes(self.config.musicvae, parts, self._width),
            start=start,
            parts=parts,
            share_read=lambda batch: 1 / BARS if self._sampler.decodes_bars_at_once(batch) else 1.0,
        )

    def _accompany(self) -> Computation:
        """Surrogate and decoder as one draw of the accompanist runs them."""
        band = Accompanist(self.config, self.params, dtype=self._dtype, devices=self.devices)
        guess, decode = self._guess(), self._decode("decode", BASS_AND_DRUMS)

        def start(batch: int) -> Callable[[], Any]:
            numbers_B = np.arange(batch, dtype=np.int32)
            hashes_B2 = np.stack([numbers_B, numbers_B], -1).astype(np.uint32)
            melody_BL = _melodies(batch)
            return lambda: np.asarray(band.play(melody_BL, hashes_B2, numbers_B).tokens_BLP)

        read_by_steps = guess.streamed_bytes + decode.streamed_bytes
        return Computation(
            name="end_to_end",
            flops=guess.flops + decode.flops,
            streamed_bytes=read_by_steps,
            start=start,
            parts=BASS_AND_DRUMS,
            share_read=lambda batch: (
                (guess.streamed_bytes + decode.streamed_bytes * decode.share_read(batch)) / read_by_steps
            ),
        )

    def _naive(self) -> list[Computation]:
        config, key = self.config.musicvae, jax.random.key(0)
        encode = jax.jit(partial(naive.encode, config))
        decode = jax.jit(lambda params, z_BZ: naive.decode(config, params, z_BZ, key, TEMPERATURE, BASS_AND_DRUMS))
        whole = jax.jit(
            lambda params, melody_BL: naive.decode(
                config,
                params["musicvae"],
                naive.guess(self._surrogate, params["surrogate"], melody_BL),
                key,
                TEMPERATURE,
                BASS_AND_DRUMS,
            )
        )

        def start_whole(batch: int) -> Callable[[], Any]:
            melody_BL = jnp.asarray(_melodies(batch))
            params = {model: self.params[model] for model in ("musicvae", "surrogate")}
            return lambda: whole(params, melody_BL)

        ours = (self._encode(), self._decode("decode", BASS_AND_DRUMS), self._accompany())
        starts = (
            self._calling(encode, "musicvae", _windows),
            self._calling(decode, "musicvae", self._latents),
            start_whole,
        )
        return [
            Computation(
                name=f"naive_{own.name}",
                flops=own.flops,
                streamed_bytes=own.streamed_bytes,
                start=start,
                parts=own.parts,
            )
            for own, start in zip(ours, starts, strict=True)
        ]

    def _cudnn(self) -> list[Computation]:
        """The encoder in cuDNN's LSTM, where there is one and it has a kernel for these sizes."""
        if len(set(self.config.musicvae.encoder_sizes)) > 1 or self._dtype is not None or not cudnn.is_available():
            return []
        ours, encode = self._encode(), jax.jit(cudnn.encode)

        def start(batch: int) -> Callable[[], Any]:
            params = jax.device_put(self.params["musicvae"], self.devices[0])
            layers = [params["encoder"][f"layer_{number}"] for number in range(len(params["encoder"]))]
            weights_N, tokens_BLP = jax.jit(cudnn.pack)(layers), jnp.asarray(_windows(batch))
            few_BLP = tokens_BLP[:8]
            cudnn.require_same(jax.jit(musicvae.encode)(params, few_BLP), encode(params, weights_N, few_BLP))
            return lambda: encode(params, weights_N, tokens_BLP)

        own = (ours.flops, ours.streamed_bytes)
        return [Computation(name=CUDNN_ENCODE, flops=own[0], streamed_bytes=own[1], start=start)]

    @property
    def _surrogate(self) -> SurrogateConfig:
        assert self.config.surrogate is not None
        return self.config.surrogate

    def _latents(self, batch: int) -> jax.Array:
        return jax.random.normal(jax.random.key(0), (batch, self.config.musicvae.latent_size))

    def _reading(
        self, encode: encoder.TokenEncoder, inputs: Callable[[int], np.ndarray]
    ) -> Callable[[int], Callable[[], Any]] | None:
        """An encoder of rows, where it is machine code of this program's own; XLA's is timed without its blocks."""
        if not encode.is_native or self._dtype is not None or len(self.devices) > 1:
            return None

        def start(batch: int) -> Callable[[], Any]:
            rows = inputs(batch)
            return lambda: encode(rows)

        return start

    def _calling(
        self, function: Callable, model: str, inputs: Callable[[int], Any]
    ) -> Callable[[int], Callable[[], Any]]:
        """A function of parameters and rows, with both where the devices want them."""
        whole, rows = (
            jax.sharding.NamedSharding(self._mesh, jax.sharding.PartitionSpec(*axes)) for axes in ((), ("rows",))
        )

        def start(batch: int) -> Callable[[], Any]:
            if model not in self._placed:
                self._placed[model] = jax.device_put(self.params[model], whole)
            params, ready = self._placed[model], jax.device_put(inputs(batch), rows)
            return lambda: function(params, ready)

        return start


def _models(settings: ModelsConfig) -> tuple[ModelConfig, dict[str, Any], str]:
    """The checkpoint named like the preset, where it is wanted and there is one, else random weights."""
    if settings.weights == "shipped" and settings.surrogate_sizes is None:
        try:
            config, params = checkpoint.load(settings.preset)
        except CheckpointError:
            pass
        else:
            if config.surrogate is not None:
                return config, params, settings.preset
    sizes = PRESETS[settings.preset]
    guess = surrogate.matching(sizes)
    if settings.surrogate_sizes:
        guess = SurrogateConfig(sizes=settings.surrogate_sizes, latent_size=sizes.latent_size)
    shapes = {"musicvae": musicvae.shapes(sizes), "surrogate": surrogate.shapes(guess)}
    return ModelConfig(musicvae=sizes, surrogate=guess), random_params(shapes), "random"


def _windows(batch: int) -> np.ndarray:
    generator = np.random.default_rng(batch)
    return np.stack([generator.integers(0, VOCABULARY[part], (batch, STEPS), np.int32) for part in PARTS], -1)


def _melodies(batch: int) -> np.ndarray:
    return _windows(batch)[:, :, 0]
