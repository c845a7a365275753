import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxaccomp.config import PRESETS
from jaxaccomp.generate.decoding import blocks
from jaxaccomp.models import musicvae


@pytest.fixture
def fresh_sizes():
    blocks.sizes.cache_clear()
    yield
    blocks.sizes.cache_clear()


@pytest.mark.parametrize(
    ("threads", "expected"), [("1", (8, 16, 32, 64)), ("2", (8, 16, 32, 64)), ("3", (64,)), ("96", (64,))]
)
def test_a_cpu_of_many_cores_has_one_size(monkeypatch, fresh_sizes, threads, expected):
    monkeypatch.setenv("NPROC", threads)
    monkeypatch.setattr(jax, "local_device_count", lambda: 1)
    assert blocks.sizes() == expected


def test_an_xla_without_the_option_has_one_size(monkeypatch, fresh_sizes):
    monkeypatch.setattr(blocks, "_threads", lambda: 1)
    monkeypatch.setattr(blocks, "_EIGEN", {"xla_no_such_option": ""})
    blocks._options.cache_clear()
    try:
        assert blocks.sizes() == (64,)
    finally:
        blocks._options.cache_clear()


def test_the_samplers_only_size(monkeypatch, fresh_sizes):
    for threads, expected in ((1, 32), (2, 32), (4, 64)):
        monkeypatch.setattr(blocks, "_threads", lambda threads=threads: threads)
        blocks.sizes.cache_clear()
        assert blocks.whole() == (expected,)


def test_buckets(monkeypatch):
    monkeypatch.setattr(blocks, "sizes", lambda: (8, 64))
    assert [blocks.bucket(rows) for rows in (1, 8, 9, 64, 65, 1000)] == [8, 8, 64, 64, 64, 64]


@pytest.mark.parametrize("rows", [1, 8, 64, 65, 130])
def test_cutting_and_padding_change_nothing(monkeypatch, rows):
    monkeypatch.setattr(blocks, "sizes", lambda: (8, 64))
    seen = []

    def function(x_B, keys_B):
        seen.append(len(x_B))
        return {"doubled": 2 * x_B, "keys": jax.random.key_data(keys_B)}

    keys_B = jax.random.split(jax.random.key(0), rows)
    found = blocks.in_blocks(function, np.arange(rows), keys_B)
    np.testing.assert_array_equal(found["doubled"], 2 * np.arange(rows))
    np.testing.assert_array_equal(found["keys"], jax.random.key_data(keys_B))
    assert set(seen) <= {8, 64}


_COMPARE_SIZES = """
import jax, numpy as np
from jaxaccomp.config import PRESETS
from jaxaccomp.generate import sampler
from jaxaccomp.generate.decoding import blocks
from jaxaccomp.models import musicvae

assert blocks.sizes() == (8, 16, 32, 64), blocks.sizes()
generator = np.random.default_rng(0)
for inner, outer in ((24, 96), (48, 96), (256, 1024), (512, 1024), (256, 90), (256, 512), (1024, 512)):
    rows = generator.standard_normal((64, inner)).astype(np.float32)
    kernel = generator.standard_normal((inner, outer)).astype(np.float32)
    product = blocks.jit(lambda rows, kernel: jax.numpy.tanh(rows @ kernel))
    large = np.asarray(product(rows, kernel))
    for start, stop in ((0, 8), (3, 11), (0, 16), (5, 21), (48, 64), (0, 32), (31, 63)):
        assert np.array_equal(product(rows[start:stop], kernel), large[start:stop]), (inner, outer, start, stop)

config = PRESETS["trio-small"]
params = musicvae.initialize(config, jax.random.key(1))
z_BZ = jax.random.normal(jax.random.key(2), (33, config.latent_size))
keys_B = jax.random.split(jax.random.key(3), 33)
tokens_BLP = generator.integers(0, 90, (33, 256, 3), np.int32)
encode = blocks.jit(musicvae.encode)

def encoded(rows):
    return blocks.in_blocks(lambda tokens_BLP: encode(params, tokens_BLP), tokens_BLP[rows])

model = sampler.Sampler(config, params)
tokens, posterior = np.asarray(model(z_BZ, keys_B, 1.0)), encoded(slice(0, 33))  # a block of 64
for rows in (slice(0, 1), slice(1, 17), slice(2, 20)):  # blocks of 8, 16 and 32
    # The first two: all bars at once, instead of one after the other.
    assert np.array_equal(model(z_BZ[rows], keys_B[rows], 1.0), tokens[rows]), rows
    part = encoded(rows)
    assert np.array_equal(part.mean_BZ, posterior.mean_BZ[rows]), rows
    assert np.array_equal(part.scale_BZ, posterior.scale_BZ[rows]), rows
print("equal")
"""


@pytest.mark.slow
def test_all_sizes_give_the_same_rows():
    """Of products, of the encoder and of the sampler at the size that ships; on two threads, as small blocks need."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two cores")
    environment = {**os.environ, "NPROC": "2", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    run = subprocess.run([sys.executable, "-c", _COMPARE_SIZES], env=environment, capture_output=True, text=True)
    assert run.stdout.strip() == "equal", run.stderr


def test_encoder_hears_no_neighbour():
    """z, too, must not depend on the batch: else the tokens would."""
    config = PRESETS["tiny"]
    params = musicvae.initialize(config, jax.random.key(0))
    tokens_BLP = np.random.default_rng(0).integers(0, 90, (11, 256, 3), np.int32)
    encode = blocks.jit(musicvae.encode)
    together = blocks.in_blocks(lambda tokens_BLP: encode(params, tokens_BLP), tokens_BLP)
    for row in (0, 10):
        alone = blocks.in_blocks(lambda tokens_BLP: encode(params, tokens_BLP), tokens_BLP[row : row + 1])
        jax.tree.map(lambda a, b, row=row: np.testing.assert_array_equal(a[0], b[row]), alone, together)
