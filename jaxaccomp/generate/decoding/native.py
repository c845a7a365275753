"""The sampler on a CPU: from latents to tokens in one call of machine code for each part.

The same tokens as `sampler.decode`: sums are taken in the order in which XLA's CPU library takes those of that program,
so that numbers are equal to the last bit where it is the library of jax 0.10 on a processor with AVX-512, and differ by
rounding elsewhere. A row depends on itself alone, whatever the batch, since each of its sums has one order. So all bars
of a few songs of a wide model, whose weights come from memory at each step, can be decoded at once, see `bar_parallel`.
Noise comes from JAX.
"""

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Key

from jaxaccomp import runtime
from jaxaccomp.arrays import BAND, BARS, PARTS, STEPS, STEPS_PER_BAR, VOCABULARY
from jaxaccomp.config import MusicVAEConfig
from jaxaccomp.generate.decoding import bar_parallel, kernels, packing, threads, vectors
from jaxaccomp.generate.decoding.native_layer import NativeLayer
from jaxaccomp.models import lstm_scan, musicvae

_BLOCK = 128
"""Inputs that XLA's CPU library sums at a time where rows of the batch are rows of the product."""
_OUTPUT = 9
"""Place of the scores' panels among a decoder's weights."""
_TASK_ROWS = 12
"""Rows of a part that one thread decodes at a time: two blocks of them, so few that all threads end together."""
_WIDE_TASK_ROWS = 64
"""The same of wide models, whose weights come from memory for each task anew."""
_WIDE_ROWS_AT_ONCE = 8
"""Up to so many songs a wide model decodes all bars at once, since each step would wait for weights from memory."""


def is_available() -> bool:
    """Whether this process can run it: on a CPU that multiplies and adds in one instruction."""
    return jax.default_backend() == "cpu" and _has_fma()


def fits(config: MusicVAEConfig) -> bool:
    """Whether a model gains by it here, and its layers are of even sizes, as its sums want."""
    sizes = (*config.conductor_sizes, *config.decoder_sizes)
    return (max(sizes) < lstm_scan.WIDE or has_long_vectors()) and not any(size % 2 for size in sizes)


def draws(keys_B: Key[Array, "B"]) -> bool:
    """Whether these keys' noise is the one that is drawn here, as JAX is set by default and by `runtime`."""
    settings = jax.config.jax_threefry_partitionable and not jax.config.jax_enable_x64  # ty: ignore[missing-attribute]
    high = getattr(jax.config, "jax_high_dynamic_range_gumbel", False)
    return bool(settings) and not high and str(jax.random.key_impl(keys_B)) == runtime.PRNG


def has_long_vectors() -> bool:
    """Whether a block's sums fit this processor's registers, so that arithmetic, too, is as fast as XLA's."""
    return "avx512f" in _features()


def _has_fma() -> bool:
    return "fma" in _features() or (hasattr(os, "uname") and os.uname().machine in ("aarch64", "arm64"))


@functools.cache
def _features() -> frozenset[str]:
    """What this processor has; nothing where LLVM does not know it."""
    import llvmlite.binding

    try:
        return frozenset(name for name, has in llvmlite.binding.get_host_cpu_features().items() if has)
    except RuntimeError:
        return frozenset()


class Conductor:
    """A conductor, its weights in the order in which they are read."""

    def __init__(self, conductor: Mapping[str, Any]):
        """Takes a MusicVAE's `conductor`."""
        layers = packing.layers(conductor)
        units = [len(layer["bias"]) // 4 for layer in layers]
        edges = np.cumsum([2 * size for size in units])[:-1]
        initial = {
            name: np.split(np.asarray(leaf), edges, axis=-1) for name, leaf in conductor["initial_state"].items()
        }
        layers[0]["kernel"] = layers[0]["kernel"][-units[0] :]  # its input is zero
        self._layers = [
            NativeLayer(
                layer,
                units[n - 1 : n],
                initial={name: leaves[n] for name, leaves in initial.items()},
                block=_BLOCK,
            )
            for n, layer in enumerate(layers)
        ]

    def __call__(self, z_BZ: Float[np.ndarray, "B Z"]) -> Float[np.ndarray, "S B X"]:
        """Embeddings of all bars; only their first E columns count."""
        z_BZ, below_SBX = _own(np.ascontiguousarray(z_BZ, np.float32)), None
        zeros_SB1 = np.zeros((BARS, len(z_BZ), 1), np.int32)
        for layer in self._layers:
            above_SBX = layer.new_outputs(BARS, len(z_BZ))
            layer(zeros_SB1, below_SBX, above_SBX, z_BZ)
            below_SBX = above_SBX
        return above_SBX


class Decoder:
    """A part's decoder, likewise."""

    def __init__(self, decoder: Mapping[str, Any], part: str):
        """Takes a MusicVAE's decoder of a part."""
        layers, vocabulary = packing.layers(decoder), VOCABULARY[part]
        units = tuple(len(layer["bias"]) // 4 for layer in layers)
        first = layers[0]["kernel"]
        self._weights = (
            *packing.initial_state(decoder["initial_state"], units),
            packing.dense(packing.gates(first[vocabulary : -units[0]])),
            packing.gates(layers[0]["bias"][None])[0],
            packing.gates(first[:vocabulary]),
            tuple(
                packing.halves(packing.gates(kernel))
                for kernel in (first[-units[0] :], *(layer["kernel"] for layer in layers[1:]))
            ),
            tuple(packing.gates(layer["bias"][None]) for layer in layers),
            units,
            packing.widths(units),
            packing.halves(np.asarray(decoder["output"]["kernel"])),
            packing.padded(decoder["output"]["bias"], vectors.PANEL),
            vocabulary,
            PARTS.index(part),
        )
        self._widths = packing.widths(units)

    def __call__(self, embedding_SBX: np.ndarray, keys_B: np.ndarray, *rows: np.ndarray) -> None:
        """Decodes rows; see `kernels.decode`."""
        count, layers, width, gates = len(keys_B), len(self._widths), max(self._widths), 4 * self._widths[0]
        panels = [self._weights[n].shape[0] * vectors.PANEL for n in (0, _OUTPUT)]
        empty = functools.partial(np.empty, dtype=np.float32)
        kernels.decode(
            *self._weights,
            embedding_SBX,
            keys_B,
            *rows,
            empty((count, panels[0])),
            empty((layers, count, width)),
            empty((2, layers, count, width)),
            empty((count, gates)),
            empty((count, gates)),
            empty((count, vectors.PANEL)),
            empty((count, panels[1])),
            np.empty((count, vectors.LANES), np.int64),
            _BLOCK,
        )


class NativeDecoders:
    """A MusicVAE's decoding half; each piece is packed when it is first asked for."""

    def __init__(self, params: Mapping[str, Any]):
        """Takes a MusicVAE's parameters."""
        self._params = params
        self._conductor: Conductor | None = None
        self._decoders: dict[str, Decoder] = {}

    def compile(self, latent_size: int, parts: Sequence[str] = BAND) -> None:
        """Compiles everything, or fetches it, by decoding a row of zeros; asks JAX for nothing, so any thread may.

        Args:
            latent_size: of the model.
            parts: those that are going to be decoded.
        """
        embedding_SBX = self._packed_conductor()(np.zeros((1, latent_size), np.float32))
        keys_B, heat_B, bias_BLV = np.zeros(1, np.int64), np.zeros(1, np.float32), np.zeros((1, 1, 1), np.float32)
        for part in parts:
            rows = (keys_B, np.zeros(1, np.int64), _nothing(1), heat_B, bias_BLV, np.empty((1, STEPS), np.int32))
            self._packed_decoder(part)(embedding_SBX, *rows)

    def _packed_conductor(self) -> Conductor:
        if self._conductor is None:
            self._conductor = Conductor(self._params["conductor"])
        return self._conductor

    def _packed_decoder(self, part: str) -> Decoder:
        if part not in self._decoders:
            self._decoders[part] = Decoder(self._params[musicvae.decoder_name(part)], part)
        return self._decoders[part]

    def decode(
        self,
        z_BZ: Float[Array | np.ndarray, "B Z"],
        keys_B: Key[Array, "B"],
        temperature_BP: Float[np.ndarray, "B parts"],
        bias: Mapping[str, Float[Array | np.ndarray, "B L _"]],
        parts: Sequence[str],
    ) -> Int[np.ndarray, "B L parts"]:
        """Tokens of latents; see `sampler.sample`."""
        rows = len(z_BZ)
        words_B2 = np.asarray(jax.random.key_data(keys_B)).astype(np.int64)
        batch = _Batch(
            [self._packed_decoder(part) for part in parts],
            self._conduct(np.asarray(z_BZ)),
            words_B2[:, 0] << 32 | words_B2[:, 1],
            temperature_BP,
            [np.asarray(bias[part], np.float32) if part in bias else None for part in parts],
        )
        if self.decodes_bars_at_once(rows):
            return bar_parallel.converge(batch.launch_bars, rows, len(parts)).tokens_BLP
        tokens_PBL = np.empty((len(parts), rows, STEPS), np.int32)
        size = _task_rows(rows * len(parts), self._is_wide)
        song_B, bar_B, before_B = np.arange(rows), np.zeros(rows, np.int64), _nothing(rows)
        tasks = [
            (p, tokens_PBL[p], slice(first, first + size), song_B, bar_B, before_B)
            for first in range(0, rows, size)
            for p in reversed(range(len(parts)))
        ]
        threads.share(batch.decode, tasks)
        return np.ascontiguousarray(tokens_PBL.transpose(1, 2, 0))

    def decodes_bars_at_once(self, rows: int) -> bool:
        """Whether so many rows are decoded by `bar_parallel`."""
        return self._is_wide and rows <= _WIDE_ROWS_AT_ONCE

    @functools.cached_property
    def _is_wide(self) -> bool:
        """Whether a core's cache is too small for a decoder's weights."""
        decoders = [decoder for name, decoder in self._params.items() if name.startswith("decoder_")]
        layers = [layer for decoder in decoders for name, layer in decoder.items() if name.startswith("layer_")]
        return max(layer["bias"].shape[0] // 4 for layer in layers) >= lstm_scan.WIDE

    def _conduct(self, z_BZ: np.ndarray) -> Float[np.ndarray, "S B X"]:
        """Embeddings of all bars, by all threads if that is worth it."""
        conductor = self._packed_conductor()
        pieces = np.array_split(z_BZ, min(len(z_BZ), threads.count()) if self._is_wide else 1)
        found: list[Any] = [None] * len(pieces)

        def task(n: int) -> None:
            found[n] = conductor(pieces[n])

        threads.share(task, [(n,) for n in range(len(pieces))])
        return np.concatenate(found, axis=1) if len(found) > 1 else found[0]


class _Batch(NamedTuple):
    """Songs to decode, and what decodes each part."""

    decoders: Sequence[Decoder]
    embedding_SBX: np.ndarray
    keys_B: np.ndarray
    temperature_BP: np.ndarray
    biases: Sequence[np.ndarray | None]

    def decode(
        self, p: int, tokens_NL: np.ndarray, here: slice, song_N: np.ndarray, bar_N: np.ndarray, before_N: np.ndarray
    ) -> None:
        """Decodes rows of a part, each a song's bar or the whole song, into their places.

        Args:
            p: number of the part.
            tokens_NL: the places of all rows.
            here: which of them.
            song_N: each row's song.
            bar_N: each row's first bar.
            before_N: the token before it.
        """
        song_N, bar_N, length = song_N[here], bar_N[here], tokens_NL.shape[1]
        bars = np.arange(length // STEPS_PER_BAR)[:, None] + bar_N
        bias_BLV, bias_NLV = self.biases[p], np.zeros((1, 1, 1), np.float32)
        if bias_BLV is not None:
            bias_NLV = bias_BLV.reshape(len(bias_BLV), STEPS // length, length, -1)[song_N, bar_N]
        self.decoders[p](
            self.embedding_SBX[bars, song_N],
            self.keys_B[song_N],
            bar_N,
            before_N[here].copy(),
            np.ascontiguousarray(self.temperature_BP[song_N, p]),
            bias_NLV,
            tokens_NL[here],
        )

    def launch_bars(
        self, p: int, song_N: np.ndarray, bar_N: np.ndarray, before_N: np.ndarray
    ) -> Callable[[], np.ndarray]:
        """Lets threads decode bars, see `bar_parallel.converge`."""
        tokens_NT = np.empty((len(song_N), STEPS_PER_BAR), np.int32)
        size, bar_N = _task_rows(len(song_N), is_wide=True), bar_N.astype(np.int64)
        places = [slice(first, first + size) for first in range(0, len(song_N), size)]
        started = threads.start(self.decode, [(p, tokens_NT, here, song_N, bar_N, before_N) for here in places])

        def fetch() -> np.ndarray:
            for done in started:
                done.result()
            return tokens_NT

        return fetch


def _task_rows(rows: int, is_wide: bool) -> int:
    return max(1, min(_WIDE_TASK_ROWS if is_wide else _TASK_ROWS, -(-rows // threads.count())))


def _nothing(rows: int) -> Int[np.ndarray, "B"]:
    """The token before the first."""
    return np.full(rows, musicvae.NO_TOKEN, np.int32)


def _own(array: np.ndarray) -> np.ndarray:
    """One that may be written: numba would compile its loops once more for JAX's own, which may not."""
    return array if array.flags.writeable else array.copy()
