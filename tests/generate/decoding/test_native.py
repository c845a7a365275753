import jax
import numpy as np
import pytest

from jaxaccomp.arrays import PARTS, STEPS, VOCABULARY
from jaxaccomp.bench import computations
from jaxaccomp.config import PRESETS, MusicVAEConfig
from jaxaccomp.generate import sampler
from jaxaccomp.generate.decoding import kernels, native, packing
from jaxaccomp.models import lstm_scan, musicvae

pytestmark = pytest.mark.skipif(not native.is_available(), reason="a CPU with fused multiplication is wanted")


@pytest.fixture(scope="module")
def model():
    """Three layers of different sizes: neither whole vectors nor whole panels."""
    config = MusicVAEConfig(encoder_sizes=(8,), conductor_sizes=(20, 34), decoder_sizes=(36, 18, 50), latent_size=7)
    params = musicvae.initialize(config, jax.random.key(1))
    for part in PARTS:
        params[f"decoder_{part}"]["layer_0"]["kernel"] *= 4
    z_BZ = np.asarray(jax.random.normal(jax.random.key(2), (21, config.latent_size)))
    return sampler.Sampler(config, params), z_BZ, jax.random.split(jax.random.key(3), 21)


def test_tokens_are_xlas(model, monkeypatch):
    decode, z_BZ, keys_B = model
    bias = {"drums": np.asarray(jax.random.normal(jax.random.key(4), (21, STEPS, VOCABULARY["drums"])))}
    calls = [{"temperature": 0.0, "parts": PARTS}, {"temperature": (1.0, 0.3), "bias": bias}]
    assert decode._is_native(keys_B)
    found = [np.asarray(decode(z_BZ, keys_B, **call)) for call in calls]
    monkeypatch.setattr(native, "is_available", lambda: False)
    for call, here in zip(calls, found, strict=True):
        there = np.asarray(decode(z_BZ, keys_B, **call))
        # Where a token falls to the other side of a rounding, what follows in that row may be another.
        assert (here == there).all((1, 2)).sum() >= 20


def test_what_is_compiled_aside_is_all_that_decoding_takes(model):
    decode, z_BZ, keys_B = model
    native.NativeDecoders(decode._params).compile(z_BZ.shape[1])
    before = [len(loop.signatures) for loop in (kernels.scan, kernels.decode)]
    assert all(before)
    biases = {part: jax.numpy.zeros((21, STEPS, VOCABULARY[part])) for part in PARTS}
    for rows in (1, 21):
        decode(z_BZ[:rows], keys_B[:rows], 1.0, PARTS, bias={part: bias[:rows] for part, bias in biases.items()})
        decode(jax.numpy.asarray(z_BZ[:rows]), keys_B[:rows], 0.0)
    assert [len(loop.signatures) for loop in (kernels.scan, kernels.decode)] == before


def test_a_row_does_not_depend_on_the_batch_nor_on_threads(model, monkeypatch):
    decode, z_BZ, keys_B = model
    everything = np.asarray(decode(z_BZ, keys_B, 1.0, PARTS))
    for rows in (slice(0, 1), slice(3, 5), slice(2, 9), slice(0, 8), slice(1, 21)):
        np.testing.assert_array_equal(decode(z_BZ[rows], keys_B[rows], 1.0, PARTS), everything[rows])
    monkeypatch.setattr(native, "_TASK_ROWS", 4)
    np.testing.assert_array_equal(decode(z_BZ, keys_B, 1.0, PARTS), everything)


def test_of_wide_models_few_rows_are_decoded_all_bars_at_once_and_the_tokens_are_the_same(model, monkeypatch):
    narrow, z_BZ, keys_B = model
    bias = {"drums": jax.random.normal(jax.random.key(4), (21, STEPS, VOCABULARY["drums"]))}
    expected = np.asarray(narrow(z_BZ, keys_B, 1.0, PARTS, bias=bias))
    monkeypatch.setattr(lstm_scan, "WIDE", 16)
    monkeypatch.setattr(native, "has_long_vectors", lambda: True)
    wide = sampler.Sampler(narrow.config, narrow._params)
    for rows in (1, 4, 9, 21):
        assert wide.decodes_bars_at_once(rows) == (rows < 9)
        few = {"drums": bias["drums"][:rows]}
        found = wide(z_BZ[:rows], keys_B[:rows], 1.0, PARTS, bias=few)
        np.testing.assert_array_equal(found, expected[:rows])


@pytest.mark.skipif(not native.has_long_vectors(), reason="a CPU with AVX-512 is wanted")
def test_tokens_of_a_wide_model_are_xlas(monkeypatch):
    config = MusicVAEConfig(encoder_sizes=(8,), conductor_sizes=(512,), decoder_sizes=(512, 512), latent_size=8)
    params = computations.random_params({k: v for k, v in musicvae.shapes(config).items() if k != "encoder"})
    decode, keys_B = sampler.Sampler(config, params), jax.random.split(jax.random.key(3), 12)
    z_BZ = np.asarray(jax.random.normal(jax.random.key(2), (12, 8)))
    assert decode._is_native(keys_B)
    few, many = (np.asarray(decode(z_BZ[:rows], keys_B[:rows], 0.5)) for rows in (2, 12))
    np.testing.assert_array_equal(few, many[:2])
    monkeypatch.setattr(native, "is_available", lambda: False)
    assert (np.asarray(decode(z_BZ, keys_B, 0.5)) == many).all((1, 2)).sum() >= 11  # rounding may flip a token


def _number(key):
    high, low = map(int, jax.random.key_data(key))
    return np.uint64(high << 32 | low).view(np.int64)


@pytest.mark.parametrize("number", [0, 7, 2**31])
def test_keys_of_a_bars_steps_are_jaxs(number):
    key, found = jax.random.fold_in(jax.random.key(5), number), np.empty(16, np.int64)
    kernels.step_keys(_number(key), np.int64(9), np.int64(2), found)
    bar = jax.random.fold_in(key, 9)
    expected = [_number(jax.random.fold_in(jax.random.fold_in(bar, step), 2)) for step in range(16)]
    assert found.tolist() == expected


@pytest.mark.parametrize("size", [96, 512])
@pytest.mark.parametrize("temperature", [0.01, 0.45, 3.0])
def test_a_token_is_the_largest_of_its_scores_with_jaxs_noise(size, temperature):
    """Also where most scores are out of reach, which are passed over, and where scores are equal."""
    random, heat_1 = np.random.default_rng(size), np.array([temperature], np.float32)
    keys = jax.random.split(jax.random.key(6), 200)
    noise_KV = np.asarray(jax.vmap(lambda key: jax.random.gumbel(key, (size,)))(keys))
    found, expected = [], []
    for k, (key, noise_V) in enumerate(zip(keys, noise_KV, strict=True)):
        scores_V = random.normal(size=size).astype(np.float32) * np.float32(10.0 ** (k % 4 - 2))
        scores_V = scores_V.round() if k % 2 else scores_V
        scores_V[-6:] = -np.inf
        expected.append(int(np.argmax(scores_V + heat_1 * noise_V)))
        found.append(int(kernels.noisy_argmax(scores_V, _number(key), heat_1)))
    assert np.mean(np.array(found) == expected) >= 0.99, "but for a sum that is rounded otherwise"


def test_tanh():
    x = np.linspace(-30, 30, 1 << 14, dtype=np.float32)
    y = x[None].copy()
    kernels.tanh(y)
    np.testing.assert_allclose(y[0], np.tanh(x.astype(np.float64)), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("rows", [1, 2, 5, 7, 12])
@pytest.mark.parametrize("every", [1, 2])
def test_dense(rows, every):
    generator = np.random.default_rng(rows)
    x = generator.standard_normal((rows, 30)).astype(np.float32)
    kernel, bias = generator.standard_normal((30, 70)).astype(np.float32), packing.padded(np.arange(70), 64)
    panels = (packing.halves if every == 2 else packing.dense)(kernel)
    for block in (1 << 30, 8) if every == 1 else (1 << 30,):
        out = np.empty((rows, 128), np.float32)
        kernels.dense(panels, x, bias, out, np.int64(every), np.int64(block))
        np.testing.assert_allclose(out[:, :70], x @ kernel + np.arange(70), rtol=1e-4, atol=1e-4)


def test_what_it_does_not_fit_is_left_to_xla(model):
    decode, _, keys_B = model
    assert native.fits(PRESETS["trio-small"])
    assert native.fits(PRESETS["hierdec-trio_16bar"]) == native.has_long_vectors()
    assert not native.fits(MusicVAEConfig(decoder_sizes=(15,), conductor_sizes=(16,)))
    assert not sampler.Sampler(decode.config, decode._params, dtype="bfloat16")._is_native(keys_B)
    assert not native.draws(jax.random.split(jax.random.key(0, impl="rbg"), 2))
    with jax.threefry_partitionable(False):
        assert not native.draws(keys_B)
