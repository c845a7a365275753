import jax
import numpy as np
import pytest

from jaxaccomp.config import GuideConfig
from jaxaccomp.errors import ConfigError
from jaxaccomp.models import guide
from jaxaccomp.music import tokens

CONFIG = GuideConfig(harmony_sizes=(8,), rhythm_sizes=(6,))


@pytest.fixture(scope="module")
def params():
    return guide.initialize(CONFIG, jax.random.key(0))


def windows(count, seed=0):
    random = np.random.default_rng(seed)
    rare = random.random((count, 256, 3)) < 0.2
    return np.where(rare, random.integers(0, [90, 90, 512], (count, 256, 3)), 0).astype(np.int32)


def test_sounding_is_that_of_music():
    melody = windows(6)[:, :, 0]
    np.testing.assert_array_equal(guide.sounding(melody), tokens.sounding(melody))


def test_features_have_the_sizes_that_shapes_say(params):
    one = windows(2)
    assert guide.harmony_features(one[:, :, 0]).shape == (2, guide.QUARTERS, guide.HARMONY_FEATURES)
    assert guide.rhythm_features(one[:, :, 0], one[:, :, 2]).shape == (2, 256, guide.RHYTHM_FEATURES)
    shapes = jax.tree.map(np.shape, params)
    assert shapes == guide.shapes(CONFIG)


def test_harmony_features_of_a_transposed_melody_are_rolled():
    melody = np.zeros((1, 256), np.int32)
    melody[0, [0, 6, 40, 250]] = [41, 44, 1, 48]
    up = np.where(melody >= 2, melody + 5, melody)
    count = (guide.HARMONY_FEATURES - 4) // 12

    def classes(melody):
        x = np.asarray(guide.harmony_features(melody))
        return np.concatenate([x[..., :-4].reshape(1, guide.QUARTERS, count, 12), x[..., None, -4:].repeat(3, -1)], 2)

    np.testing.assert_array_equal(classes(up)[:, :, :-1], np.roll(classes(melody)[:, :, :-1], 5, -1))


def test_what_lies_beyond_the_window_is_silence():
    melody = np.zeros((1, 256), np.int32)
    melody[0, 252] = 41  # sounds in the last quarter alone
    x = np.asarray(guide.harmony_features(melody))[0, :, : 12 * len(guide._BEATS)].reshape(64, -1, 12)
    at = {offset: np.flatnonzero(x[:, n].any(1)).tolist() for n, offset in enumerate(guide._BEATS)}
    assert at == {offset: [63 - offset] if offset >= 0 else [] for offset in guide._BEATS}


def test_drums_reach_the_rhythm_expert_and_not_the_harmony_expert(params):
    one = windows(1)
    quiet = np.zeros_like(one[:, :, 2])
    assert not np.allclose(
        guide.rhythm(params, one[:, :, 0], one[:, :, 2]), guide.rhythm(params, one[:, :, 0], quiet), atol=1e-3
    )
    np.testing.assert_allclose(jax.numpy.exp(guide.harmony(params, one[:, :, 0])).sum(-1), 1, rtol=1e-5)


def test_a_negative_weight_is_refused():
    with pytest.raises(ConfigError, match="harmony_weight"):
        GuideConfig(harmony_weight=-1.0)
