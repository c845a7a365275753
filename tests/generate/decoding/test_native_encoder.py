"""Encoders as machine code: XLA's numbers, whatever the sizes and the company."""

import jax
import numpy as np
import pytest

from jaxaccomp.arrays import NO_TOKEN, PARTS, VOCABULARY
from jaxaccomp.config import PRESETS, SurrogateConfig
from jaxaccomp.generate.decoding import blocks, kernels, native, native_encoder, native_layer
from jaxaccomp.models import lstm, lstm_scan, surrogate

pytestmark = pytest.mark.skipif(not native.is_available(), reason="a CPU with fused multiplication is wanted")

ROWS, STEPS = 50, 37


def layers_of(*sizes: int) -> list:
    params = surrogate.initialize(SurrogateConfig(sizes=sizes, latent_size=3), jax.random.key(len(sizes)))
    params["layer_0"]["forward"]["kernel"] *= 3
    return [params[f"layer_{n}"] for n in range(len(sizes))]


def trio_layers(*sizes: int) -> list:
    layers, generator = layers_of(*sizes), np.random.default_rng(0)
    for side, layer in layers[0].items():
        more_VG = generator.standard_normal((VOCABULARY["bass"] + VOCABULARY["drums"], 4 * sizes[0]), np.float32)
        kernel_XG = np.insert(layer["kernel"], [VOCABULARY["melody"]] * len(more_VG), more_VG, axis=0)
        layers[0][side] = {"kernel": kernel_XG, "bias": layer["bias"]}
    return layers


def tokens_of(*parts: str) -> np.ndarray:
    generator = np.random.default_rng(1)
    columns = [generator.integers(NO_TOKEN, VOCABULARY[part] + 1, (ROWS, STEPS), np.int32) for part in parts]
    return np.stack(columns, axis=-1)  # some tokens are none, some too large


@blocks.jit
def by_xla(layers, tokens_BLP):
    gates, row = dict.fromkeys(layers[0], 0), 0
    for p in range(tokens_BLP.shape[-1]):
        size = VOCABULARY[PARTS[p]]
        for side, layer in layers[0].items():
            gates[side] += lstm.token_gates(layer["kernel"][row : row + size], tokens_BLP[:, :, p].T)
        row += size
    return lstm_scan.bidirectional(layers, gates)


@pytest.mark.parametrize("sizes", [(20, 34), (16,), (5, 33, 18)])
@pytest.mark.parametrize("parts", [PARTS[:1], PARTS])
def test_what_the_heads_read_is_xlas_for_sizes_that_fill_no_vector(sizes, parts):
    layers, tokens_BLP = (layers_of if len(parts) == 1 else trio_layers)(*sizes), tokens_of(*parts)
    assert native_encoder.fits(layers)
    found = native_encoder.NativeEncoder(layers, parts)(tokens_BLP)
    assert np.abs(found).max() > 0.1
    np.testing.assert_allclose(found, by_xla(layers, tokens_BLP), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("steps", [1, 2])
def test_few_steps_are_read_like_many(steps):
    layers, tokens_BLP = layers_of(20, 34), tokens_of("melody")[:, :steps]
    found = native_encoder.NativeEncoder(layers, PARTS[:1])(tokens_BLP)
    np.testing.assert_allclose(found, by_xla(layers, tokens_BLP), rtol=1e-5, atol=2e-6)


def test_a_row_does_not_depend_on_the_batch_nor_on_threads(monkeypatch):
    encode, tokens_BLP = native_encoder.NativeEncoder(trio_layers(20, 34), PARTS), tokens_of(*PARTS)
    everything = encode(tokens_BLP)
    for rows in (slice(0, 1), slice(3, 5), slice(2, 9), slice(0, 8), slice(1, 26), slice(49, 50)):
        np.testing.assert_array_equal(encode(tokens_BLP[rows]), everything[rows])
    monkeypatch.setattr(native_encoder, "_TASK_ROWS", 3)
    monkeypatch.setattr(native_layer, "GATES_ROWS", 7)
    np.testing.assert_array_equal(encode(tokens_BLP), everything)


def test_wide_layers_are_read_in_larger_pieces_with_the_same_numbers(monkeypatch):
    layers, tokens_BLP = trio_layers(20, 34), tokens_of(*PARTS)
    expected = native_encoder.NativeEncoder(layers, PARTS)(tokens_BLP)
    monkeypatch.setattr(lstm_scan, "WIDE", 16)
    wide, pieces = native_encoder.NativeEncoder(layers, PARTS), []
    monkeypatch.setattr(wide, "_read", lambda rows, read=wide._read: pieces.append(len(rows)) or read(rows))
    monkeypatch.setattr(native_encoder.threads, "count", lambda: 1)
    np.testing.assert_array_equal(wide(np.tile(tokens_BLP, (2, 1, 1)))[-len(expected) :], expected)
    assert max(pieces) == native_encoder._WIDE_TASK_ROWS
    assert wide._directions()[0][0].units >= lstm_scan.WIDE


def test_what_is_compiled_ahead_is_all_that_reading_takes():
    encode, tokens_BLP = native_encoder.NativeEncoder(layers_of(8, 8), PARTS[:1]), tokens_of("melody")
    encode.compile()
    before = len(kernels.scan.signatures)
    assert before
    native_encoder.NativeEncoder(trio_layers(20, 34), PARTS)(tokens_of(*PARTS))
    encode(tokens_BLP[:1])
    assert len(kernels.scan.signatures) == before


def test_what_it_does_not_fit_is_left_to_xla(monkeypatch):
    wide = PRESETS["hierdec-trio_16bar"].encoder_sizes[0]
    layer = {"kernel": np.zeros((1, 4), np.float32), "bias": np.zeros(4 * wide, np.float32)}
    assert native_encoder.fits([{"forward": layer, "backward": layer}]) == native.has_long_vectors()
    layers = layers_of(8)
    assert native_encoder.fits(layers)
    assert not native_encoder.fits(jax.tree.map(lambda leaf: leaf.astype("bfloat16"), layers))
    assert jax.jit(lambda layers: np.float32(native_encoder.fits(layers)))(layers) == 0
    monkeypatch.setattr(native, "is_available", lambda: False)
    assert not native_encoder.fits(layers)
