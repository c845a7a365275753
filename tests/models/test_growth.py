"""A model that grew computes what it did, and its new units learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxaccomp.config import ModelConfig, MusicVAEConfig, SurrogateConfig
from jaxaccomp.errors import ConfigError
from jaxaccomp.models import growth, musicvae, surrogate


def sizes(encoder, conductor, decoder, latent, guess) -> ModelConfig:
    vae = MusicVAEConfig(
        encoder_sizes=encoder, conductor_sizes=conductor, decoder_sizes=decoder, latent_size=latent,
        initialization="fast",
    )  # fmt: skip
    return ModelConfig(musicvae=vae, surrogate=SurrogateConfig(sizes=guess, latent_size=latent))


SMALL = sizes((4, 3), (5, 4), (6, 5), 3, (4, 2))
WIDE = sizes((6, 7), (5, 9), (8, 5), 5, (4, 6))


@pytest.fixture(scope="module")
def small():
    key = jax.random.key(0)
    return {
        "musicvae": jax.jit(musicvae.initialize, static_argnums=0)(SMALL.musicvae, key),
        "surrogate": jax.jit(surrogate.initialize, static_argnums=0)(SMALL.surrogate, key),
    }


@pytest.fixture(scope="module")
def wide(small):
    return growth.grow(SMALL, small, WIDE, jax.random.key(1))


@pytest.fixture(scope="module")
def tokens_BLP():
    random = np.random.default_rng(0)
    return jnp.asarray(random.integers(0, 90, (2, 256, 3)), jnp.int32)


def test_shapes_are_those_of_the_wider_sizes(wide):
    for model, module, config in (("musicvae", musicvae, WIDE.musicvae), ("surrogate", surrogate, WIDE.surrogate)):
        found = jax.tree.map(jnp.shape, wide[model])
        assert found == module.shapes(config)


def test_posteriors_keep_their_old_dimensions(small, wide, tokens_BLP):
    for model, read in (("musicvae", musicvae.encode), ("surrogate", lambda p, t: surrogate.encode(p, t[..., 0]))):
        read = jax.jit(read)
        before, after = read(small[model], tokens_BLP), read(wide[model], tokens_BLP)
        for old, new in zip(before, after, strict=True):
            np.testing.assert_allclose(new[:, :3], old, rtol=1e-5, atol=1e-6)


def test_logits_stay_whatever_the_new_dimensions_of_z_say(small, wide, tokens_BLP):
    z_BZ = jax.random.normal(jax.random.key(2), (2, 5))
    before = jax.jit(musicvae.logits)(small["musicvae"], tokens_BLP, z_BZ[:, :3])
    after = jax.jit(musicvae.logits)(wide["musicvae"], tokens_BLP, z_BZ)
    for part in before:
        np.testing.assert_allclose(after[part], before[part], rtol=1e-4, atol=1e-5)


def test_what_leaves_new_units_gets_a_gradient(wide, tokens_BLP):
    def loss(params):
        posterior = musicvae.encode(params, tokens_BLP)
        return sum(jnp.sum(x**2) for x in musicvae.logits(params, tokens_BLP, posterior.mean_BZ).values())

    gradient = jax.jit(jax.grad(loss))(wide["musicvae"])
    # Of the top layer's new forward units, on to the old dimensions; no decoder hears the new ones yet.
    assert float(jnp.abs(gradient["mean"]["kernel"][3:7, :3]).min()) > 0
    assert float(jnp.abs(gradient["conductor"]["initial_state"]["kernel"][3:]).max()) > 0


def test_nothing_shrinks(small):
    with pytest.raises(ConfigError, match=r"decoder_sizes 6, 4: the checkpoint has 6, 5"):
        growth.grow(SMALL, small, sizes((4, 3), (5, 4), (6, 4), 3, (4, 2)), jax.random.key(0))
