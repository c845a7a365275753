"""Refined latents explain the melody better, and depend on their own row alone."""

import jax
import numpy as np
import pytest

from jaxaccomp.config import PRESETS
from jaxaccomp.errors import ConfigError
from jaxaccomp.generate import refinement
from jaxaccomp.generate.decoding import blocks
from jaxaccomp.generate.options import PlayOptions, fast
from jaxaccomp.models import musicvae

ROWS = 5


@pytest.fixture(scope="module")
def rows():
    """Parameters of the tiny model, melodies, latents, means and scales."""
    config = PRESETS["tiny"]
    random = np.random.default_rng(0)
    melody_BL = np.where(random.random((ROWS, 256)) < 0.3, random.integers(2, 90, (ROWS, 256)), 0).astype(np.int32)
    z_BZ, mean_BZ = random.normal(size=(2, ROWS, config.latent_size)).astype(np.float32)
    scale_BZ = random.uniform(0.3, 1, z_BZ.shape).astype(np.float32)
    scale_BZ[:, 0] = 0
    return musicvae.initialize(config, jax.random.key(0)), melody_BL, z_BZ, mean_BZ, scale_BZ


def test_every_latent_climbs_and_what_is_known_stays(rows):
    params, melody_BL, z_BZ, *posterior = rows
    refined_BZ = np.asarray(refinement.refine(params, 4, *rows[1:]))
    before_B, after_B = (refinement.log_density(params, melody_BL, z, *posterior) for z in (z_BZ, refined_BZ))
    assert (np.asarray(after_B) > np.asarray(before_B)).all()
    np.testing.assert_array_equal(refined_BZ[:, 0], z_BZ[:, 0])
    assert np.abs(refined_BZ - z_BZ).max() < 4 * 0.5


@pytest.mark.slow
def test_a_row_alone_equals_itself_among_others_whatever_their_number(rows, monkeypatch):
    params, *arrays = rows
    together = np.asarray(refinement.refine(params, 2, *arrays))
    alone = [refinement.refine(params, 2, *(array[row : row + 1] for array in arrays)) for row in range(ROWS)]
    np.testing.assert_array_equal(np.concatenate(alone), together)
    many = [np.tile(array, (9, 1)) for array in arrays]
    assert len(many[0]) > blocks.whole()[-1] or blocks.whole()[-1] > 32
    np.testing.assert_array_equal(refinement.refine(params, 2, *many)[-ROWS:], together)


def test_no_steps_are_the_default_and_fewer_are_refused():
    assert PlayOptions().refine == fast()["refine"] == 0
    with pytest.raises(ConfigError, match="refine must lie between 0 and 100"):
        PlayOptions(refine=-1)
