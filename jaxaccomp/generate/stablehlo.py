"""The models as compiled-anywhere programs: a file that a process with nothing but JAX can run.

    import json, zipfile, jax.export
    with zipfile.ZipFile("trio.zip") as file:
        surrogate, sample = (jax.export.deserialize(file.read(name)) for name in ("surrogate", "sample"))
    mean_BZ, scale_BZ = surrogate.call(melody_BL)
    tokens_BLP = sample.call(z_BZ, jax.random.key_data(keys_B), temperature_BP)

Each program is portable StableHLO made by `jax.export`, with the weights inside and any number of rows (a symbolic
batch size), for CPUs, CUDA GPUs and TPUs alike.
"""

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt32

from jaxaccomp.arrays import PARTS, STEPS
from jaxaccomp.config import MusicVAEConfig
from jaxaccomp.generate import sampler
from jaxaccomp.generate.decoding import steps
from jaxaccomp.models import correlation, musicvae, surrogate
from jaxaccomp.weights import checkpoint, export

PLATFORMS = ("cpu", "cuda", "tpu")
"""What the programs run on."""
PARTS_SAMPLED = ("bass", "drums")
"""Parts of the sample program, in the order of its tokens' last axis."""
METADATA = "export.json"
"""Entry of the file that tells versions, identity, and what each program takes and gives."""

_SIGNATURES = {
    "encode": {
        "arguments": {"tokens_BLP": f"int32 [B, {STEPS}, {len(PARTS)}], {', '.join(PARTS)} at each sixteenth"},
        "results": {"mean_BZ": "float32 [B, Z]", "scale_BZ": "float32 [B, Z], standard deviation"},
    },
    "surrogate": {
        "arguments": {"melody_BL": f"int32 [B, {STEPS}], melody tokens at each sixteenth"},
        "results": {"mean_BZ": "float32 [B, Z]", "scale_BZ": "float32 [B, Z], standard deviation"},
    },
    "correlate": {
        "arguments": {"noise_BZ": "float32 [B, Z], standard normal"},
        "results": {"noise_BZ": "float32 [B, Z], correlated: z = mean + scale × it is a draw of the surrogate's"},
    },
    "sample": {
        "arguments": {
            "z_BZ": "float32 [B, Z]",
            "keys_BK": "uint32 [B, 2], jax.random.key_data of one threefry key a row",
            "temperature_BP": f"float32 [B, {len(PARTS_SAMPLED)}], of {' and '.join(PARTS_SAMPLED)}; 0 is argmax",
        },
        "results": {"tokens_BLP": f"int32 [B, {STEPS}, {len(PARTS_SAMPLED)}], {' and '.join(PARTS_SAMPLED)}"},
    },
}


def write(path_or_name: str | os.PathLike, out: Path) -> dict[str, int]:
    """Writes a checkpoint's programs: a zip file of `encode`, `sample`, METADATA, and what it has of the others.

    Args:
        path_or_name: of the checkpoint.
        out: the file; replaced if it is there.

    Returns:
        Bytes of each program.

    Raises:
        CheckpointError: there is no such checkpoint, or the file cannot be written.
    """
    config, params = checkpoint.load(path_or_name)
    told = export.describe(path_or_name)
    exported = programs(config.musicvae, params, checkpoint.DTYPES[told["dtype"]])
    serialized = {name: bytes(program.serialize()) for name, program in exported.items()}
    told |= {
        "platforms": list(PLATFORMS),
        "calling_convention_version": next(iter(exported.values())).calling_convention_version,
        "programs": {name: _SIGNATURES[name] for name in serialized},
    }

    def fill(file: Any) -> None:
        with zipfile.ZipFile(file, "w") as archive:  # weights do not shrink by packing
            archive.writestr(METADATA, json.dumps(told, indent=1))
            for name, program in serialized.items():
                archive.writestr(name, program)

    export.write(out, fill)
    return {name: len(program) for name, program in serialized.items()}


def programs(config: MusicVAEConfig, params: dict[str, Any], stored: Any = jnp.float32) -> dict[str, Any]:
    """The exported programs by name.

    Args:
        config: the MusicVAE's sizes.
        params: `{"musicvae": …, "surrogate": … or None}`, with `correlation` if there is one.
        stored: type in which the checkpoint keeps its arrays, and the programs theirs; they compute in float32.
    """
    batch = jax.export.symbolic_shape("B")[0]

    def shaped(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((batch, *shape), dtype)

    def finish(function: Callable, *arguments: Any) -> Any:
        return jax.export.export(jax.jit(function), platforms=PLATFORMS)(*arguments)

    vae = jax.tree.map(lambda leaf: jnp.asarray(leaf).astype(stored), params["musicvae"])
    decoders = [steps.prepare(vae[musicvae.decoder_name(part)]) for part in PARTS_SAMPLED]
    conductor = {"conductor": vae["conductor"]}
    encoder = {name: vae[name] for name in ("encoder", "mean", "scale")}

    def encode(tokens_BLP: Int[Array, "B L P"]) -> tuple[Array, Array]:
        return tuple(musicvae.encode(_exact(encoder), tokens_BLP))

    def sample(
        z_BZ: Float[Array, "B Z"], keys_BK: UInt32[Array, "B K"], temperature_BP: Float[Array, "B parts"]
    ) -> Int[Array, "B L parts"]:
        embedding_BSE = sampler.conduct(_exact(conductor), z_BZ)
        keys_B = jax.random.wrap_key_data(keys_BK, impl="threefry2x32")
        return sampler.decode(_exact(decoders), None, embedding_BSE, keys_B, temperature_BP, parts=PARTS_SAMPLED)

    found = {
        "encode": finish(encode, shaped((STEPS, len(PARTS)), jnp.int32)),
        "sample": finish(
            sample,
            shaped((config.latent_size,), jnp.float32),
            shaped((2,), jnp.uint32),
            shaped((len(PARTS_SAMPLED),), jnp.float32),
        ),
    }
    if params.get("surrogate") is not None:
        guesser = jax.tree.map(lambda leaf: jnp.asarray(leaf).astype(stored), params["surrogate"])

        def guess(melody_BL: Int[Array, "B L"]) -> tuple[Array, Array]:
            return tuple(surrogate.encode(_exact(guesser), melody_BL))

        found["surrogate"] = finish(guess, shaped((STEPS,), jnp.int32))
    if params.get("correlation") is not None:
        root = jax.tree.map(lambda leaf: jnp.asarray(leaf).astype(stored), params["correlation"])

        def correlate(noise_BZ: Float[Array, "B Z"]) -> Float[Array, "B Z"]:
            return correlation.correlate(_exact(root), noise_BZ)

        found["correlate"] = finish(correlate, shaped((config.latent_size,), jnp.float32))
    return found


def _exact(params: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)
