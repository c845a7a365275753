import dataclasses

import jax
import numpy as np
import pytest

from jaxaccomp.arrays import PARTS, VOCABULARY
from jaxaccomp.config import PRESETS
from jaxaccomp.models import musicvae

CONFIG = PRESETS["tiny"]


@pytest.fixture(scope="module")
def fast():
    return jax.tree.map(np.asarray, musicvae.initialize(CONFIG, jax.random.key(0)))


def test_fast_keeps_recurrent_kernels_orthogonal_for_each_gate(fast):
    for layer in (fast["encoder"]["layer_1"]["forward"], fast["conductor"]["layer_0"], fast["decoder_bass"]["layer_1"]):
        units = layer["bias"].shape[0] // 4
        for gate in np.split(layer["kernel"][-units:], 4, axis=1):
            np.testing.assert_allclose(gate @ gate.T, np.eye(units), atol=1e-5)


def test_fast_draws_rows_by_what_they_hear(fast):
    embedding = CONFIG.embedding_size
    for part in PARTS:
        kernel = fast[f"decoder_{part}"]["layer_0"]["kernel"]
        tokens = VOCABULARY[part]
        assert kernel[:tokens].std() == pytest.approx(0.6, rel=0.05)
        assert kernel[tokens : tokens + embedding].std() == pytest.approx(2 / embedding**0.5, rel=0.1)
        assert fast[f"decoder_{part}"]["initial_state"]["kernel"].std() == pytest.approx(2 / embedding**0.5, rel=0.1)
    assert fast["encoder"]["layer_0"]["forward"]["kernel"][:692].std() == pytest.approx(0.6, rel=0.05)
    assert fast["mean"]["kernel"].std() == pytest.approx(1 / 32**0.5, rel=0.15)


def test_reference_is_the_originals():
    config = dataclasses.replace(CONFIG, initialization="reference")
    drawn = musicvae.initialize(config, jax.random.key(0))
    for path, leaf in jax.tree_util.tree_leaves_with_path(drawn):
        names = [entry.key for entry in path]
        if names[-1] == "bias":
            assert not leaf.any()
        elif names[0] in ("mean", "scale") or names[-2] == "initial_state":
            assert float(leaf.std()) == pytest.approx(0.001, rel=0.2)
        else:
            limit = (6 / sum(leaf.shape)) ** 0.5
            assert 0.9 * limit < float(abs(leaf).max()) <= limit


def test_a_key_gives_the_same_parameters_by_any_method(fast):
    again = musicvae.initialize(CONFIG, jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, again, fast)
    other = musicvae.initialize(CONFIG, jax.random.key(1))
    assert not np.array_equal(other["mean"]["kernel"], fast["mean"]["kernel"])
