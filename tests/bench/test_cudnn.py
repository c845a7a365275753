"""cuDNN itself needs a GPU: JAX's reference of it is what checks the order of weights, gates and directions here."""

import functools

import jax
import numpy as np
import pytest
from jax.experimental import rnn

from jaxaccomp.arrays import VOCABULARY
from jaxaccomp.bench import computations, cudnn, models
from jaxaccomp.bench.settings import ModelsConfig
from jaxaccomp.config import PRESETS
from jaxaccomp.errors import JaxAccompError
from jaxaccomp.models import musicvae

CONFIG = PRESETS["tiny"]
LAYERS = range(len(CONFIG.encoder_sizes))


@pytest.fixture(scope="module")
def params():
    return computations.random_params(musicvae.shapes(CONFIG))


@pytest.fixture(scope="module")
def weights_N(params):
    return cudnn.pack([params["encoder"][f"layer_{n}"] for n in LAYERS])


def _reference(x, h_0, c_0, weights_N, lengths_B, inputs, units, layers, dropout, bidirectional):
    unpacked = rnn.unpack_lstm_weights(weights_N, inputs, units, layers, bidirectional)
    return rnn.lstm_ref(x, h_0, c_0, *unpacked, lengths_B, inputs, units, layers, dropout, bidirectional)


def test_packed_weights_give_the_encoders_posterior(params, weights_N):
    tokens_BLP = computations._windows(2)
    found = jax.jit(functools.partial(cudnn.encode, run=_reference))(params, weights_N, tokens_BLP)
    expected = jax.jit(musicvae.encode)(params, tokens_BLP)
    np.testing.assert_allclose(found.mean_BZ, expected.mean_BZ, atol=2e-5)
    np.testing.assert_allclose(found.scale_BZ, expected.scale_BZ, atol=2e-5)
    cudnn.require_same(expected, found)


def test_packed_weights_are_as_many_as_cudnn_asks_for(weights_N):
    inputs = sum(VOCABULARY.values())
    count = rnn.get_num_params_in_lstm(inputs, CONFIG.encoder_sizes[0], len(CONFIG.encoder_sizes), True)
    assert weights_N.shape == (count,)


@pytest.mark.parametrize("preset", ["tiny", "hierdec-trio_16bar"])
def test_the_program_for_cudnn_has_the_posteriors_shape(preset, monkeypatch):
    # How much scratch memory cuDNN wants is asked of its own library, which is not here.
    monkeypatch.setattr(rnn.gpu_rnn, "compute_rnn_workspace_reserve_space_sizes", lambda *_: (0, 1), raising=False)
    config = PRESETS[preset]
    shapes = jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(shape, np.float32),
        musicvae.shapes(config),
        is_leaf=lambda node: isinstance(node, tuple),
    )
    weights = jax.eval_shape(cudnn.pack, [shapes["encoder"][f"layer_{n}"] for n in LAYERS])
    found = jax.eval_shape(cudnn.encode, shapes, weights, jax.ShapeDtypeStruct((64, 256, 3), np.int32))
    assert found.mean_BZ.shape == found.scale_BZ.shape == (64, config.latent_size)


def test_another_encoder_is_not_timed():
    ours = musicvae.Posterior(np.ones((2, 4)), np.ones((2, 4)))
    with pytest.raises(JaxAccompError, match="differs from ours by 10"):
        cudnn.require_same(ours, musicvae.Posterior(0.9 * np.ones((2, 4)), np.ones((2, 4))))


def test_a_row_that_fails_or_needs_a_gpu_is_left_out_with_a_sentence(monkeypatch):
    def fail(ours, batch):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory\nand more")

    monkeypatch.setattr(computations.Workbench, "_latents", fail)
    rows = ("decode", "encode", "cudnn_encode")
    results = models.measure(ModelsConfig(preset="tiny", batch_size=(1,), quick=True, rows=rows))
    assert [row["name"] for row in results["rows"]] == ["encode"]
    assert results["left_out"] == [
        "cudnn_encode: it needs float32 and an NVIDIA GPU, with JAX for CUDA",
        "decode at batch 1: RESOURCE_EXHAUSTED: Out of memory",
    ]
    assert "Left out: cudnn_encode" in models.table(results)
