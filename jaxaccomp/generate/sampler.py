"""From latents to tokens: the conductor once, then 16 bars of 16 steps for the parts that are wanted.

What does not depend on the sampled tokens is computed before them: the bar embeddings of a song, and the initial states
and the embedding's share of the gates of a bar. A step picks one row of the first kernel by the previous token, and has
one product for each part and layer. Parts never hear each other, so leaving one out changes none. Where a few rows on a
CPU would spend their time in 256 steps of waiting for weights, all bars are decoded at once, see `bar_parallel`.
Machine code of this program's own does most of that there, see `native`.

Noise is Gumbel noise under a key for each (row, bar, step, part), and the token is the argmax of `logits + temperature
* noise`: a sample from softmax(logits / temperature), and at temperature 0 the most likely token. A row depends on its
latent, its key and its own temperatures alone: see `blocks` for what that takes.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int, Key

from jaxaccomp.arrays import BARS, PARTS, STEPS, VOCABULARY
from jaxaccomp.config import MusicVAEConfig, require
from jaxaccomp.generate.decoding import bar_parallel, blocks, native, steps
from jaxaccomp.models import musicvae

__all__ = ["Sampler", "sample"]

DEFAULT_TEMPERATURE = 0.1

Temperature = float | int | np.number | Sequence[float | int] | Array | np.ndarray
"""One number for all, or several; see `sample`."""


class Sampler:
    """A model ready to decode: its parameters are checked, rounded and placed on the devices once.

    Attributes:
        config: the model's sizes.
        devices: those over which blocks are spread.
    """

    def __init__(
        self,
        config: MusicVAEConfig,
        params: Mapping[str, Any],
        *,
        dtype: Any = None,
        devices: Sequence[jax.Device] | None = None,
    ):
        """Takes a model.

        Args:
            config: its sizes.
            params: a MusicVAE's parameters.
            dtype: what the operands of matrix products are rounded to, such as bfloat16; None: float32. Cell states
                and sums stay in float32.
            devices: several share the blocks among them; None: the default device.
        """
        self.config = config
        self.devices = tuple(devices or ())
        self._dtype = None if dtype is None or jnp.dtype(dtype) == jnp.float32 else jnp.dtype(dtype)
        self._params = params
        self._mesh = Mesh(np.array(self.devices), ("rows",)) if len(self.devices) > 1 else None
        conductor = {"conductor": params["conductor"]}
        if self._dtype is not None:
            conductor = jax.tree.map(lambda leaf: leaf.astype(self._dtype) if leaf.ndim == 2 else leaf, conductor)
        self._conductor = self._place(conductor)
        self._decoders: dict[str, Any] = {}
        self._native = native.NativeDecoders(params)

    def compile(self) -> None:
        """Compiles machine code, or fetches it, if it has any; asks JAX for nothing, so any thread may."""
        if self._may_be_native():
            self._native.compile(self.config.latent_size)

    def _is_native(self, keys_B: Any) -> bool:
        """Whether machine code of our own decodes these rows."""
        return self._may_be_native() and native.draws(keys_B)

    def _may_be_native(self) -> bool:
        if self._dtype is not None or any(device.platform != "cpu" for device in self.devices):
            return False
        return native.fits(self.config) and native.is_available()

    def decodes_bars_at_once(self, rows: int) -> bool:
        """Whether so many rows are decoded by `bar_parallel`, without a `top_p`."""
        if self._may_be_native():
            return self._native.decodes_bars_at_once(rows)
        return self._mesh is None and self._is_for_bars_at_once(rows)

    def _is_for_bars_at_once(self, rows: int) -> bool:
        return jax.default_backend() == "cpu" and rows <= bar_parallel.ROWS

    def _place(self, tree: Any) -> Any:
        if self._mesh is not None:
            return jax.device_put(tree, jax.sharding.NamedSharding(self._mesh, PartitionSpec()))
        return jax.device_put(tree, self.devices[0]) if self.devices else tree

    def _decoder(self, part: str) -> Any:
        """A part's decoder, prepared when it is first asked for."""
        if part not in self._decoders:
            decoder = self._params[musicvae.decoder_name(part)]
            self._decoders[part] = self._place(steps.prepare(decoder, self._dtype))
        return self._decoders[part]

    def __call__(
        self,
        z_BZ: Float[Array | np.ndarray, "B Z"],
        keys_B: Key[Array, "B"],
        temperature: Temperature = DEFAULT_TEMPERATURE,
        parts: Sequence[str] = ("bass", "drums"),
        top_p: float | None = None,
        bias: Mapping[str, Float[Array | np.ndarray, "B L _"]] | None = None,
    ) -> Int[Array, "B L parts"]:
        """Decodes latents, waiting for the device only if they are few; see `sample`."""
        parts = tuple(parts)
        require(
            len(parts) > 0 and len(set(parts)) == len(parts) and set(parts) <= set(PARTS),
            f"parts must be some of {', '.join(PARTS)}, each once, got {', '.join(parts) or 'none'}",
        )
        require(
            z_BZ.shape[1] == self.config.latent_size,
            f"the model's latent has {self.config.latent_size} dimensions, got {z_BZ.shape[1]}",
        )
        require(len(keys_B) == len(z_BZ), f"expected one key for each of {len(z_BZ)} latents, got {len(keys_B)}")
        require(top_p is None or 0 < top_p <= 1, f"top_p must lie in (0, 1], got {top_p}")
        biased, biases = _biases(bias, parts, len(z_BZ))
        if not len(z_BZ):
            return jnp.zeros((0, STEPS, len(parts)), jnp.int32)
        if any(
            isinstance(leaf, jax.core.Tracer)
            for leaf in jax.tree.leaves((self._params, z_BZ, keys_B, temperature, biases))
        ):
            return self._traced(z_BZ, keys_B, temperature, parts, top_p, biased, biases)
        temperature_BP = _temperatures(temperature, len(z_BZ), len(parts))
        nucleus = None if top_p is None else np.float32(top_p)
        if top_p is None and self._is_native(keys_B):
            biases_by_part = dict(zip(biased, biases, strict=True))
            tokens_BLP = self._native.decode(z_BZ, keys_B, temperature_BP, biases_by_part, parts)
            return jax.device_put(tokens_BLP, self.devices[0] if self.devices else None)
        decoders = tuple(map(self._decoder, parts))
        if self._mesh is not None:
            return self._share(decoders, nucleus, parts, biased, z_BZ, keys_B, temperature_BP, *biases)
        embedding_BSE = functools.partial(_conduct, self._conductor, dtype=self._dtype)
        decode = functools.partial(_decode, decoders, nucleus, parts=parts, biased=biased, dtype=self._dtype)
        if self._is_for_bars_at_once(len(z_BZ)):
            embedding_BSE = blocks.in_blocks(embedding_BSE, z_BZ, sizes=blocks.whole())
            rows = (embedding_BSE, keys_B, temperature_BP, dict(zip(biased, biases, strict=True)))
            decoded = bar_parallel.decode(decoders, nucleus, *rows, parts=parts, dtype=self._dtype)
            return jax.device_put(decoded.tokens_BLP, self.devices[0] if self.devices else None)
        return blocks.in_blocks(
            lambda z_BZ, *rows: decode(embedding_BSE(z_BZ), *rows),
            z_BZ,
            keys_B,
            temperature_BP,
            *biases,
            sizes=blocks.whole(),
        )

    def _traced(
        self,
        z_BZ: Any,
        keys_B: Any,
        temperature: Any,
        parts: tuple[str, ...],
        top_p: Any,
        biased: tuple[str, ...],
        biases: Sequence[Any],
    ) -> Array:
        """As a piece of a caller's own program, whose shapes and compiler options are the caller's."""
        decoders = [steps.prepare(self._params[musicvae.decoder_name(part)], self._dtype) for part in parts]
        temperature_BP = jnp.broadcast_to(jnp.asarray(temperature, jnp.float32), (len(z_BZ), len(parts)))
        embedding_BSE = conduct(self._conductor, z_BZ, dtype=self._dtype)
        rows = (embedding_BSE, keys_B, temperature_BP, *biases)
        return decode(decoders, top_p, *rows, parts=parts, biased=biased, dtype=self._dtype)

    def _share(
        self, decoders: Any, nucleus: Any, parts: tuple[str, ...], biased: tuple[str, ...], *rows: Any
    ) -> Int[Array, "B L parts"]:
        """Gives each device blocks of its own, of the size that one device alone would use."""
        total, count = len(rows[0]), len(self.devices)
        size = blocks.bucket(math.ceil(total / count), blocks.whole())
        conductor, decode = _sharded(self._mesh, parts, biased, self._dtype, nucleus is None)
        results = []
        for start in range(0, total, size * count):
            z_BZ, *others = (blocks._pad(array[start : start + size * count], size * count) for array in rows)
            results.append(decode(decoders, nucleus, conductor(self._conductor, z_BZ), *others))
        return jnp.concatenate(results)[:total] if len(results) > 1 else results[0][:total]


def sample(
    config: MusicVAEConfig,
    params: Mapping[str, Any],
    z_BZ: Float[Array | np.ndarray, "B Z"],
    keys_B: Key[Array, "B"],
    temperature: Temperature = DEFAULT_TEMPERATURE,
    parts: Sequence[str] = ("bass", "drums"),
    *,
    top_p: float | None = None,
    bias: Mapping[str, Float[Array | np.ndarray, "B L _"]] | None = None,
    dtype: Any = None,
    devices: Sequence[jax.Device] | None = None,
) -> Int[Array, "B L parts"]:
    """Decodes latents to tokens.

    A row depends on its own latent, key and temperatures alone: its tokens are the same to the last one in any batch,
    on any number of devices of a kind, and whatever other parts are decoded. (With `dtype`, that holds on accelerators
    and for batches of the same block size elsewhere. And inside a caller's own `jax.jit`, where it is a part of that
    program, products are rounded as that program rounds them, which may now and then flip a token.)

    Args:
        config: the model's sizes.
        params: a MusicVAE's parameters.
        z_BZ: latents.
        keys_B: one typed key for each row.
        temperature: one for all, one for each part, or [B, 1] or [B, parts] for each row; 0 is argmax. Changing it
            compiles nothing.
        parts: what to decode, in the order of the result's last axis.
        top_p: only the most likely tokens that make up this probability; None: all. Changing it compiles nothing.
        bias: for any of the parts, what is added to its scores at each step, before noise and `top_p`; None or absent:
            nothing.
        dtype: see `Sampler`.
        devices: see `Sampler`.

    Returns:
        int32 tokens; the device may still be computing them.

    Raises:
        ConfigError: an argument is out of its range or does not fit the others.

    Source: magenta lstm_models.HierarchicalLstmDecoder.sample @526d3eb.
    """
    return Sampler(config, params, dtype=dtype, devices=devices)(z_BZ, keys_B, temperature, parts, top_p, bias)


def _temperatures(temperature: Any, rows: int, parts: int) -> np.ndarray:
    values = np.asarray(temperature, np.float32)
    allowed = values.shape in ((), (parts,), (rows, 1), (rows, parts))
    require(
        allowed and bool(np.isfinite(values).all()) and bool((values >= 0).all()),
        f"temperature must be 0 or more, one for all, for each of {parts} parts, or for each of {rows} rows, "
        f"got {values.tolist() if values.size < 8 else f'{values.shape} values'}",
    )
    return np.ascontiguousarray(np.broadcast_to(values, (rows, parts)))


def conduct(params: Mapping[str, Any], z_BZ: Float[Array, "B Z"], *, dtype: Any = None) -> Float[Array, "B S E"]:
    """`musicvae.conduct`: a program of its own, so that both ways to decode start from the same bits."""
    return musicvae.conduct(params, z_BZ, dtype)


def decode(
    decoders: Sequence[Mapping[str, Any]],
    top_p: Float[Array, ""] | None,
    embedding_BSE: Float[Array, "B S E"],
    keys_B: Key[Array, "B"],
    temperature_BP: Float[Array, "B parts"],
    *biases: Float[Array, "B L _"],
    parts: Sequence[str],
    biased: Sequence[str] = (),
    dtype: Any = None,
) -> Int[Array, "B L parts"]:
    """`sample`, once conducted, as one pure function of one block of rows.

    Args:
        decoders: of the parts, from `steps.prepare`.
        top_p: see `sample`.
        embedding_BSE: from `conduct`.
        keys_B: see `sample`.
        temperature_BP: see `sample`.
        biases: what is added to the scores of the `biased` parts, in their order.
        parts: see `sample`.
        biased: which parts have a bias.
        dtype: see `Sampler`.
    """
    batch = embedding_BSE.shape[0]
    bias_STBV = {
        part: jnp.transpose(bias_BLV, (1, 0, 2)).reshape(BARS, -1, batch, bias_BLV.shape[2])
        for part, bias_BLV in zip(biased, biases, strict=True)
    }

    def bar(previous_PB: tuple[Array, ...], inputs: Any) -> tuple[tuple[Array, ...], Array]:
        number, embedding_BE, bias_TBV = inputs
        bar_B = jnp.broadcast_to(number, batch)
        bars = [
            steps.start_bar(decoder, part, embedding_BE, keys_B, bar_B, dtype)
            for decoder, part in zip(decoders, parts, strict=True)
        ]

        def step(state: Any, of_step: tuple[list[Array], dict[str, Array]]) -> tuple[Any, Array]:
            noise_of_step, bias_of_step = of_step
            carries, tokens = [], []
            for p, decoder in enumerate(decoders):
                carry, previous_B = state[0][p], state[1][p]
                carry, logits_BV = steps.step_part(decoder, bars[p].start_GB, carry, previous_B, dtype)
                carries.append(carry)
                if parts[p] in bias_of_step:
                    logits_BV = logits_BV + bias_of_step[parts[p]]
                tokens.append(steps.pick(logits_BV, noise_of_step[p], temperature_BP[:, p, None], top_p))
            return (tuple(carries), tuple(tokens)), jnp.stack(tokens, axis=-1)

        carries = tuple(start.carries for start in bars)
        noise = [start.noise_TBV for start in bars]
        (_, previous_PB), tokens_TBP = jax.lax.scan(step, (carries, previous_PB), (noise, bias_TBV))
        return previous_PB, tokens_TBP

    nothing_B = jnp.full(batch, musicvae.NO_TOKEN, jnp.int32)
    embedding_SBE = jnp.transpose(embedding_BSE, (1, 0, 2))
    _, tokens_STBP = jax.lax.scan(bar, (nothing_B,) * len(parts), (jnp.arange(BARS), embedding_SBE, bias_STBV))
    return jnp.transpose(tokens_STBP, (2, 0, 1, 3)).reshape(batch, STEPS, len(parts))


_conduct = blocks.jit_by_dtype(conduct, static_argnames="dtype")
_decode = blocks.jit_by_dtype(decode, static_argnames=("parts", "biased", "dtype"))


@functools.cache
def _sharded(
    mesh: Mesh, parts: tuple[str, ...], biased: tuple[str, ...], dtype: Any, everything: bool
) -> tuple[Any, Any]:
    rows, whole = PartitionSpec("rows"), PartitionSpec()

    def shared(function: Any, *specs: Any) -> Any:
        jit = jax.jit if dtype is None else blocks.jit
        return jit(jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=rows, check_vma=False))

    conductor = shared(functools.partial(conduct, dtype=dtype), whole, rows)
    specs = (whole, None if everything else whole, *(rows,) * (3 + len(biased)))
    return conductor, shared(functools.partial(decode, parts=parts, biased=biased, dtype=dtype), *specs)


def _biases(
    bias: Mapping[str, Any] | None, parts: tuple[str, ...], rows: int
) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """The parts that have a bias, in the order of `parts`, and their biases."""
    bias = bias or {}
    biased = tuple(part for part in parts if bias.get(part) is not None)
    for part in biased:
        expected, got = (rows, STEPS, VOCABULARY[part]), tuple(bias[part].shape)
        require(got == expected, f"the bias of {part} must have shape {list(expected)}, got {list(got)}")
    return biased, tuple(bias[part] for part in biased)
