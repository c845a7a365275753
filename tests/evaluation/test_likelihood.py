import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxaccomp.arrays import PARTS, VOCABULARY
from jaxaccomp.config import PRESETS
from jaxaccomp.evaluation import likelihood
from jaxaccomp.models.musicvae import MusicVAE

TINY = PRESETS["tiny"]


@pytest.fixture(scope="module")
def z_NZ():
    return np.random.default_rng(2).normal(size=(10, TINY.latent_size)).astype(np.float32)


@pytest.fixture(scope="module")
def scored(tiny_params, trios, z_NZ):
    return likelihood.teacher_forced(TINY, tiny_params, trios, z_NZ, batch_size=4)


@pytest.mark.slow
def test_equals_a_softmax_by_hand(tiny_params, trios, z_NZ, scored):
    arrays = jnp.asarray(trios), jnp.asarray(z_NZ)
    logits = MusicVAE(TINY).apply({"params": tiny_params}, *arrays, method="logits")
    for number, part in enumerate(PARTS):
        tokens = trios[:, :, number]
        logits_NLV = np.asarray(logits[part], np.float64)
        probability = np.exp(logits_NLV) / np.exp(logits_NLV).sum(-1, keepdims=True)
        true = np.take_along_axis(probability, tokens[..., None], -1)[..., 0]
        np.testing.assert_allclose(scored[part].nll_N, -np.log(true).sum(1), rtol=1e-5)
        right = logits_NLV.argmax(-1) == tokens
        onset = tokens > (0 if part == "drums" else 1)
        np.testing.assert_array_equal(scored[part].right_N, right.sum(1))
        np.testing.assert_array_equal(scored[part].onsets_N, onset.sum(1))
        np.testing.assert_array_equal(scored[part].onsets_right_N, (right & onset).sum(1))


def test_the_last_batch_is_padded_and_what_pads_it_dropped(tiny_params, trios, z_NZ, scored):
    alone = likelihood.teacher_forced(TINY, tiny_params, trios[9:], z_NZ[9:], parts=("drums",), batch_size=4)
    assert set(alone) == {"drums"}
    np.testing.assert_allclose(alone["drums"].nll_N, scored["drums"].nll_N[9:], rtol=1e-5)
    assert len(scored["bass"].nll_N) == 10


def test_zero_weights_know_nothing(tiny_params, trios, z_NZ):
    nothing = jax.tree.map(jnp.zeros_like, tiny_params)
    scored = likelihood.teacher_forced(TINY, nothing, trios, z_NZ, batch_size=16)
    for part in PARTS:
        np.testing.assert_allclose(scored[part].nll_N, 256 * np.log(VOCABULARY[part]), rtol=1e-5)
        assert (scored[part].onsets_right_N == 0).all()  # the first class, nothing happens, is the likeliest


def test_rounded_products_score_nearly_the_same(tiny_params, trios, z_NZ, scored):
    rounded = likelihood.teacher_forced(TINY, tiny_params, trios, z_NZ, dtype="bfloat16")
    for part, exact in scored.items():
        assert (rounded[part].nll_N != exact.nll_N).any()
        np.testing.assert_allclose(rounded[part].nll_N, exact.nll_N, rtol=0.01)
