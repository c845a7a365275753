"""Into the latent space, through it, and out again."""

import jax
import numpy as np
import pytest

from jaxaccomp import latent
from jaxaccomp.errors import CheckpointError, ConfigError
from jaxaccomp.generate import sampler
from jaxaccomp.latent.space import LatentSpace

PATHS = ("spherical", "linear")


@pytest.fixture
def windows():
    random = np.random.default_rng(3)
    rows = np.stack([random.integers(0, size, (2, 256)) for size in (90, 90, 512)], axis=-1)
    return np.where(random.random(rows.shape) < 0.3, rows, 0).astype(np.int32)


@pytest.mark.parametrize("path", PATHS)
def test_the_ends_of_an_interpolation_are_the_reconstructions(space, windows, path):
    first_Z, last_Z = space.encode(windows).mean_BZ
    points_NZ = latent.interpolate(first_Z, last_Z, 5, path)
    played_NLP = space.decode(points_NZ, seed=4, temperature=0.7)
    said_NLP = space.reconstruct(windows, seed=4, temperature=0.7)
    np.testing.assert_array_equal(played_NLP[[0, -1]], said_NLP)


@pytest.mark.parametrize("path", PATHS)
def test_every_step_leads_farther_from_the_beginning_and_nearer_to_the_end(path):
    random = np.random.default_rng(0)
    for _ in range(20):
        first_Z, last_Z = random.standard_normal((2, 32))
        points_NZ = latent.interpolate(first_Z, last_Z, 9, path)
        np.testing.assert_array_equal(points_NZ[[0, -1]], np.float32([first_Z, last_Z]))
        assert (np.diff(np.linalg.norm(points_NZ - points_NZ[0], axis=1)) > 0).all()
        assert (np.diff(np.linalg.norm(points_NZ - points_NZ[-1], axis=1)) < 0).all()


def test_a_spherical_path_keeps_the_length_that_a_straight_one_loses():
    first_Z, last_Z = np.array([3.0, 0, 0]), np.array([0, 3.0, 0])
    lengths = {path: np.linalg.norm(latent.interpolate(first_Z, last_Z, 5, path), axis=1) for path in PATHS}
    np.testing.assert_allclose(lengths["spherical"], 3, rtol=1e-6)
    assert lengths["linear"][2] < 2.2


@pytest.mark.parametrize("last_Z", [[-2.0, 0], [4.0, 0], [0.0, 0]])
def test_ends_in_one_line_with_the_origin_are_joined_by_it(last_Z):
    found = latent.interpolate(np.array([2.0, 0]), np.array(last_Z), 3)
    np.testing.assert_allclose(found[1], (np.array([2.0, 0]) + last_Z) / 2)


def test_prior_draws_are_standard_normal_and_do_not_depend_on_their_number(space):
    many_NZ = space.prior(2000, seed=1)
    np.testing.assert_array_equal(space.prior(3, seed=1), many_NZ[:3])
    assert abs(many_NZ.mean()) < 0.03
    assert abs(many_NZ.std() - 1) < 0.03
    assert not (space.prior(3, seed=2) == many_NZ[:3]).any()


def test_decoding_is_the_sampler_under_one_key_or_each_rows_own(space):
    z_NZ = np.repeat(space.prior(1), 3, axis=0)
    shared_NLP = space.decode(z_NZ, temperature=1.0)
    assert (shared_NLP == shared_NLP[:1]).all()
    own_NLP = space.decode(z_NZ, temperature=1.0, shared_noise=False)
    assert (own_NLP[1] != own_NLP[0]).any()
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 1), 0)
    params = space.params["musicvae"]
    expected = sampler.sample(space.config.musicvae, params, z_NZ[:1], key[None], 1.0, ("melody", "bass", "drums"))
    np.testing.assert_array_equal(shared_NLP[:1], expected)


def test_without_a_surrogate_melodies_have_no_place(space, windows):
    alone = LatentSpace(space.config, {"musicvae": space.params["musicvae"], "surrogate": None}, "alone")
    with pytest.raises(CheckpointError, match="alone: holds no surrogate"):
        alone.guess(windows[:, :, 0])


def test_impossible_paths_are_refused(space):
    with pytest.raises(ConfigError, match="at least 2"):
        latent.interpolate(np.zeros(2), np.ones(2), 1)
    with pytest.raises(ConfigError, match="at least 1"):
        space.prior(0)
