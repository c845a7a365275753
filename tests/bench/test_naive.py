"""The yardstick computes the model's own numbers, so that the comparison is of speed alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxaccomp.arrays import PARTS, VOCABULARY
from jaxaccomp.bench import computations, naive
from jaxaccomp.config import PRESETS
from jaxaccomp.models import musicvae

CONFIG = PRESETS["tiny"]


@pytest.fixture(scope="module")
def params():
    return computations.random_params(musicvae.shapes(CONFIG))


@pytest.fixture(scope="module")
def tokens_BLP():
    keys = jax.random.split(jax.random.key(0), 3)
    return jnp.stack(
        [jax.random.randint(k, (2, 256), 0, v) for k, v in zip(keys, VOCABULARY.values(), strict=True)], -1
    )


def test_encoder_gives_the_same_posterior(params, tokens_BLP):
    mean_BZ, scale_BZ = jax.jit(naive.encode, static_argnums=0)(CONFIG, params, tokens_BLP)
    expected = jax.jit(musicvae.encode)(params, tokens_BLP)
    np.testing.assert_allclose(mean_BZ, expected.mean_BZ, atol=2e-5)
    np.testing.assert_allclose(scale_BZ, expected.scale_BZ, atol=2e-5)


def test_decoder_takes_the_tokens_that_teacher_forcing_finds_most_likely(params):
    z_BZ = jax.random.normal(jax.random.key(1), (2, CONFIG.latent_size))
    decode = jax.jit(naive.decode, static_argnums=(0, 4, 5))
    tokens_BLP = decode(CONFIG, params, z_BZ, jax.random.key(2), 0.0, PARTS)
    logits = jax.jit(musicvae.logits)(params, tokens_BLP, z_BZ)
    assert len(np.unique(np.asarray(tokens_BLP))) > 3  # a model that only ever says 0 would prove nothing
    for p, part in enumerate(PARTS):
        chosen = np.take_along_axis(np.asarray(logits[part]), np.asarray(tokens_BLP)[:, :, p, None], -1)[..., 0]
        np.testing.assert_allclose(chosen, np.max(logits[part], -1), atol=1e-4)


def test_teacher_forcing_gives_the_same_scores(params, tokens_BLP):
    z_BZ = jax.random.normal(jax.random.key(1), (2, CONFIG.latent_size))
    logits = jax.jit(naive.teacher_forced, static_argnums=0)(CONFIG, params, tokens_BLP, z_BZ)
    expected = jax.jit(musicvae.logits)(params, tokens_BLP, z_BZ)
    for part in PARTS:
        np.testing.assert_allclose(logits[part], expected[part], atol=1e-4)


def test_another_key_samples_other_tokens_at_temperature_one(params):
    z_BZ = jnp.zeros((1, CONFIG.latent_size))
    decode = jax.jit(naive.decode, static_argnums=(0, 4, 5))
    first, second = (decode(CONFIG, params, z_BZ, jax.random.key(k), 1.0, ("bass",)) for k in (0, 1))
    assert (first != second).any()
