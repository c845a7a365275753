"""The surrogate's network: MusicVAE's own encoder, once it is deaf to bass and drums."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxaccomp.arrays import VOCABULARY
from jaxaccomp.config import PRESETS, SurrogateConfig
from jaxaccomp.models import musicvae, surrogate

TINY = PRESETS["tiny"]


@pytest.fixture(scope="module")
def encoder():
    return musicvae.initialize(TINY, jax.random.key(0))


@pytest.fixture(scope="module")
def melody_BL():
    return jax.random.randint(jax.random.key(1), (3, 256), 0, VOCABULARY["melody"])


def test_started_from_the_encoder_it_hears_a_constant_band(encoder, melody_BL):
    """With bass and drums always the same token, the average row is that token's row: both give one posterior."""
    frequencies = {
        part: np.eye(VOCABULARY[part], dtype=np.float32)[token] for part, token in (("bass", 7), ("drums", 5))
    }
    params = surrogate.from_encoder(encoder, frequencies)
    tokens_BLP = jnp.stack([melody_BL, jnp.full_like(melody_BL, 7), jnp.full_like(melody_BL, 5)], axis=-1)
    guess, truth = jax.jit(surrogate.encode)(params, melody_BL), jax.jit(musicvae.encode)(encoder, tokens_BLP)
    np.testing.assert_allclose(guess.mean_BZ, truth.mean_BZ, atol=1e-5)
    np.testing.assert_allclose(guess.scale_BZ, truth.scale_BZ, atol=1e-5)


def test_it_fits_the_configuration_that_matches(encoder):
    uniform = {part: np.full(VOCABULARY[part], 1 / VOCABULARY[part], np.float32) for part in ("bass", "drums")}
    started = surrogate.from_encoder(encoder, uniform)
    drawn = surrogate.initialize(surrogate.matching(TINY), jax.random.key(0))
    assert jax.tree.map(jnp.shape, started) == jax.tree.map(jnp.shape, drawn)


def test_padding_is_not_heard(melody_BL):
    config = SurrogateConfig(sizes=(8,), latent_size=4)
    model = surrogate.SurrogateEncoder(config)
    lengths_B = jnp.array([256, 100, 1])
    params = model.init(jax.random.key(0), melody_BL, lengths_B)["params"]
    apply = jax.jit(model.apply)
    inside_BL = jnp.arange(256) < lengths_B[:, None]
    heard = apply({"params": params}, melody_BL, lengths_B)
    same = apply({"params": params}, jnp.where(inside_BL, melody_BL, 33), lengths_B)
    other = apply({"params": params}, jnp.where(inside_BL, 33, melody_BL), lengths_B)
    np.testing.assert_array_equal(heard.mean_BZ, same.mean_BZ)
    assert (jnp.abs(heard.mean_BZ - other.mean_BZ).max(axis=1) > 1e-3).all()


@pytest.mark.slow
def test_a_mean_alone_has_a_point_for_a_scale(melody_BL):
    config = SurrogateConfig(latent_size=4, **surrogate.SWOPE2020)
    params = surrogate.initialize(config, jax.random.key(0))
    assert set(params) == {"layer_0", "layer_1", "mean"}
    guess = jax.jit(surrogate.encode)(params, melody_BL)
    np.testing.assert_array_equal(guess.scale_BZ, np.float32(surrogate.POINT_SCALE))
