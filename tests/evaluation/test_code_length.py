"""The code length of the band: its three terms, by another way of computing them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxaccomp.arrays import PARTS
from jaxaccomp.config import PRESETS
from jaxaccomp.evaluation.code_length import code_length
from jaxaccomp.models import musicvae
from jaxaccomp.models.musicvae import Posterior

TINY = PRESETS["tiny"]


@pytest.fixture(scope="module")
def posteriors(trios):
    random = np.random.default_rng(2)
    shape = (len(trios), TINY.latent_size)
    draw = lambda: random.standard_normal(shape).astype(np.float32)  # noqa: E731
    return Posterior(draw(), np.exp(0.1 * draw())), Posterior(draw(), np.exp(0.1 * draw()))


def test_total_is_nll_of_a_draw_and_divergence(trios, tiny_params, posteriors):
    q, s = posteriors
    found = code_length(TINY, tiny_params, trios, q, s, seed=3, batch_size=4)
    z_NZ = q.mean_BZ + q.scale_BZ * np.random.default_rng([3, 4]).standard_normal(q.mean_BZ.shape, np.float32)
    logits = musicvae.logits(tiny_params, jnp.asarray(trios), jnp.asarray(z_NZ))
    for part in ("bass", "drums"):
        log_p = np.asarray(jax.nn.log_softmax(logits[part]), np.float64)
        real = np.take_along_axis(log_p, trios[:, :, PARTS.index(part), None], -1)[..., 0]
        assert found[part] == pytest.approx(-real.sum(1).mean(), rel=1e-5)
    assert found["total"] == pytest.approx(found["bass"] + found["drums"] + found["kl_to_surrogate"], rel=1e-9)


def test_a_surrogate_that_is_the_encoder_costs_nothing_more(trios, tiny_params, posteriors):
    q, s = posteriors
    alike, other = (code_length(TINY, tiny_params, trios, q, guess, batch_size=4) for guess in (q, s))
    assert alike["kl_to_surrogate"] == pytest.approx(0.0, abs=1e-4)
    assert alike["bass"] == other["bass"]
    assert other["total"] > alike["total"]
