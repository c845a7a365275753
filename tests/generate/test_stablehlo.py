"""The exported programs: the package's own numbers, in a process that has none of the package."""

import json
import subprocess
import sys
import zipfile

import jax
import numpy as np
import pytest

from jaxaccomp import cli
from jaxaccomp.generate import sampler, stablehlo
from jaxaccomp.models import musicvae, surrogate
from jaxaccomp.weights import checkpoint

BARE = """
import sys
for name in ("jaxaccomp", "flax", "orbax", "optax", "note_seq"):
    sys.modules[name] = None  # an import fails
import zipfile
import jax, jax.export, numpy as np
inputs, out = dict(np.load(sys.argv[2])), {}
with zipfile.ZipFile(sys.argv[1]) as file:
    names = [name for name in file.namelist() if not name.endswith(".json")]
    programs = {name: jax.export.deserialize(bytearray(file.read(name))) for name in names}
for rows in map(int, sys.argv[4].split()):
    out[f"tokens_{rows}"] = programs["sample"].call(*(inputs[name][:rows] for name in ("z", "keys", "temperature")))
out["mean"], out["scale"] = programs["encode"].call(inputs["tokens"])
if "surrogate" in programs:
    out["guessed_mean"], out["guessed_scale"] = programs["surrogate"].call(inputs["tokens"][:, :, 0])
np.savez(sys.argv[3], **out)
"""


def made_up_inputs(latent_size: int, rows: int = 5) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    keys_B = jax.random.split(jax.random.key(7), rows)
    return {
        "z": random.standard_normal((rows, latent_size)).astype(np.float32),
        "keys": np.asarray(jax.random.key_data(keys_B)),
        "temperature": np.tile(np.float32([0.6, 0.3]), (rows, 1)),
        "tokens": np.stack([random.integers(0, v, (rows, 256)) for v in (90, 90, 512)], -1).astype(np.int32),
    }


def run_bare(archive, folder, inputs, batch_sizes):
    """Calls the programs in a process that cannot import the package."""
    np.savez(folder / "inputs.npz", **inputs)
    command = [sys.executable, "-c", BARE, str(archive), str(folder / "inputs.npz"), str(folder / "outputs.npz")]
    command.append(" ".join(map(str, batch_sizes)))
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return dict(np.load(folder / "outputs.npz"))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_programs_agree_with_the_package(tiny_checkpoint, tmp_path, dtype):
    config, params = checkpoint.load(tiny_checkpoint)
    path = checkpoint.save(tmp_path / "model", config, params, dtype=dtype)
    config, params = checkpoint.load(path)
    assert cli.main(["export", str(path), "--format", "stablehlo", "--out", str(tmp_path / "trio.zip")]) == 0
    inputs = made_up_inputs(config.musicvae.latent_size)
    batch_sizes = (1, 5) if dtype == "float32" else (5,)
    found = run_bare(tmp_path / "trio.zip", tmp_path, inputs, batch_sizes)

    keys_B = jax.random.wrap_key_data(inputs["keys"])
    expected = sampler.sample(config.musicvae, params["musicvae"], inputs["z"], keys_B, inputs["temperature"])
    for rows in batch_sizes:
        np.testing.assert_array_equal(found[f"tokens_{rows}"], expected[:rows])
    posterior = musicvae.encode(params["musicvae"], inputs["tokens"])
    guessed = surrogate.encode(params["surrogate"], inputs["tokens"][:, :, 0])
    for name, array in zip(("mean", "scale", "guessed_mean", "guessed_scale"), (*posterior, *guessed), strict=True):
        np.testing.assert_allclose(found[name], array, atol=1e-5, err_msg=name)


def test_the_file_tells_versions_and_what_programs_take(tiny_checkpoint, tmp_path):
    stablehlo.write(tiny_checkpoint, tmp_path / "trio.zip")
    with zipfile.ZipFile(tmp_path / "trio.zip") as file:
        told = json.loads(file.read(stablehlo.METADATA))
        names = set(file.namelist()) - {stablehlo.METADATA}
    assert told["programs"].keys() == names == {"encode", "surrogate", "sample"}
    assert told["fingerprint"] == checkpoint.fingerprint(tiny_checkpoint)
    assert told["versions"]["jax"] == jax.__version__
    assert told["platforms"] == ["cpu", "cuda", "tpu"]


def test_a_correlation_is_a_program_of_its_own(tiny_checkpoint):
    config, params = checkpoint.load(tiny_checkpoint)
    root_ZZ = np.linalg.cholesky(np.corrcoef(np.random.default_rng(1).standard_normal((8, 20)))).astype(np.float32)
    programs = stablehlo.programs(config.musicvae, params | {"surrogate": None, "correlation": {"kernel": root_ZZ}})
    assert programs.keys() == {"encode", "sample", "correlate"}
    noise_BZ = np.random.default_rng(2).standard_normal((3, 8)).astype(np.float32)
    np.testing.assert_allclose(programs["correlate"].call(noise_BZ), noise_BZ @ root_ZZ.T, rtol=1e-5, atol=1e-6)


def test_a_file_of_wide_layers_is_no_more_than_twice_the_weights(tmp_path):
    """At sizes where weights, not instructions, are most of a file; and layers wide enough to be turned round."""
    config, params = wide()
    path = checkpoint.save(tmp_path / "model", config, params)
    stablehlo.write(path, tmp_path / "trio.zip")
    weights = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    assert (tmp_path / "trio.zip").stat().st_size <= 2 * weights


def wide():
    from jaxaccomp.config import MusicVAEConfig

    config = MusicVAEConfig(encoder_sizes=(512,), conductor_sizes=(64,), decoder_sizes=(64,), latent_size=16)
    random = np.random.default_rng(0)
    shapes = musicvae.shapes(config)
    draw = lambda shape: (0.05 * random.standard_normal(shape)).astype(np.float32)  # noqa: E731
    return config, jax.tree.map(draw, shapes, is_leaf=lambda leaf: isinstance(leaf, tuple))
