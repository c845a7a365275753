"""Encoders as they are asked: posteriors of machine code are XLA's."""

import jax
import numpy as np
import pytest

from jaxaccomp import demos
from jaxaccomp.arrays import STEPS, VOCABULARY
from jaxaccomp.config import SurrogateConfig
from jaxaccomp.generate import encoder, latents, song
from jaxaccomp.generate.decoding import native
from jaxaccomp.models import surrogate
from jaxaccomp.music import midi
from jaxaccomp.weights import checkpoint

pytestmark = pytest.mark.skipif(not native.is_available(), reason="a CPU with fused multiplication is wanted")


@pytest.fixture(scope="module")
def shipped():
    return checkpoint.load(checkpoint.DEFAULT)[1]


@pytest.fixture(scope="module")
def melody_NL():
    songs = [song.prepare(midi.read(demos.path(name))) for name in demos.names()]
    return np.concatenate([prepared.melody_NL for prepared in songs]).astype(np.int32)


def assert_same(found, expected):
    for here, there in zip(found, expected, strict=True):
        np.testing.assert_allclose(here, there, rtol=1e-5, atol=5e-6)


def test_the_surrogate_of_real_melodies_guesses_what_xlas_does(shipped, melody_NL):
    encode = encoder.of_melody(shipped["surrogate"])
    assert encode.is_native
    assert_same(encode(melody_NL), encode._fallback(melody_NL))


def test_the_trios_encoder_of_real_melodies_reads_what_xlas_does(shipped, melody_NL):
    generator = np.random.default_rng(0)
    band = [generator.integers(0, VOCABULARY[part], melody_NL.shape, np.int32) for part in ("bass", "drums")]
    encode, trio_NLP = encoder.of_trio(shipped["musicvae"]), np.stack([melody_NL, *band], axis=-1)
    assert encode.is_native
    assert_same(encode(trio_NLP), encode._fallback(trio_NLP))


def test_a_posterior_does_not_depend_on_the_batch(shipped, melody_NL):
    encode = encoder.of_melody(shipped["surrogate"])
    eight = encode(melody_NL[:8])
    for n in range(len(melody_NL[:8])):
        for alone, together in zip(encode(melody_NL[n : n + 1]), eight, strict=True):
            np.testing.assert_array_equal(alone[0], together[n])


def test_without_a_scale_head_the_deviation_is_small():
    config = SurrogateConfig(sizes=(8, 12), latent_size=5, predict_scale=False)
    encode = encoder.of_melody(surrogate.initialize(config, jax.random.key(0)))
    posterior = encode(np.zeros((2, STEPS), np.int32))
    np.testing.assert_array_equal(posterior.scale_BZ, np.full((2, 5), surrogate.POINT_SCALE, np.float32))


def test_equal_melodies_are_read_once_and_told_to_each(shipped, melody_NL, monkeypatch):
    encode = latents.MelodyEncoder(shipped["surrogate"])
    rows_B = np.array([0, 2, 0, 1, 2, 2])
    expected = encode(melody_NL[:3])
    asked = []
    read = encode._encode._native._read
    monkeypatch.setattr(encode._encode._native, "_read", lambda rows_BLP: asked.append(len(rows_BLP)) or read(rows_BLP))
    for here, there in zip(encode(melody_NL[rows_B]), expected, strict=True):
        np.testing.assert_array_equal(here, np.asarray(there)[rows_B])
    assert asked == [3]
