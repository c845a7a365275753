"""Latents chosen for a given part: likelier ones first, each window by itself, and the same in any company."""

import jax
import numpy as np
import pytest

from jaxaccomp.generate import given
from jaxaccomp.models import musicvae
from jaxaccomp.models.musicvae import Posterior
from jaxaccomp.weights import checkpoint


@pytest.fixture(scope="module")
def params(tiny_checkpoint):
    return checkpoint.load(tiny_checkpoint)[1]["musicvae"]


@pytest.fixture(scope="module")
def windows():
    random = np.random.default_rng(0)
    posterior = Posterior(*(random.random((5, 8)).astype(np.float32) for _ in range(2)))
    return posterior, random.integers(0, 512, (5, 256)).astype(np.int32)


def test_surprise_is_the_decoders_own(params, windows):
    posterior, drums_NL = windows
    found = given.nll(params, posterior.mean_BZ, drums_NL, "drums")
    windows_NLP = np.zeros((5, 256, 3), np.int32)
    windows_NLP[:, :, 2] = drums_NL
    logits = musicvae.logits(params, windows_NLP, posterior.mean_BZ, ("drums",))
    expected = musicvae.nll_BSP(logits, windows_NLP).sum((1, 2))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_likelier_latents_come_first_and_none_twice(params, windows, monkeypatch):
    monkeypatch.setattr(given, "TEMPERING", 1e-6)  # the evidence alone decides
    posterior, drums_NL = windows
    posterior = Posterior(posterior.mean_BZ, 100 * posterior.scale_BZ)  # a model that has learned nothing cares little
    chosen_ANZ = given.choose(params, posterior, drums_NL, "drums", jax.random.key(0), given.DRAWS)
    surprise_AN = np.stack([given.nll(params, z_NZ, drums_NL, "drums") for z_NZ in chosen_ANZ])
    assert (np.diff(surprise_AN, axis=0) >= 0).all()
    for n in range(5):
        assert len({z_Z.tobytes() for z_Z in chosen_ANZ[:, n]}) == given.DRAWS


def test_a_window_does_not_depend_on_its_company(params, windows):
    posterior, drums_NL = windows
    together = given.choose(params, posterior, drums_NL, "drums", jax.random.key(1), 3)
    alone = given.choose(params, Posterior(*(a[2:3] for a in posterior)), drums_NL[2:3], "drums", jax.random.key(1), 3)
    np.testing.assert_array_equal(together[:, 2:3], alone)


def test_takes_have_keys_of_their_own():
    prints = np.array([3, 4], np.uint32)
    keys = [given.take_key(seed, prints, variation) for seed in (0, 1) for variation in (0, 1)]
    assert len({jax.random.key_data(key).tobytes() for key in keys}) == 4


def test_latents_to_choose_from_are_correlated_as_the_surrogates_errors_are(params, windows):
    posterior, drums_NL = windows
    size = posterior.mean_BZ.shape[1]
    root_ZZ = np.linalg.cholesky(np.corrcoef(np.random.default_rng(0).standard_normal((size, 3 * size))))
    settings = (params, posterior, drums_NL, "drums", jax.random.key(2), given.DRAWS)
    plain_ANZ = given.choose(*settings)
    joined_ANZ = given.choose(*settings, correlation={"kernel": root_ZZ.astype(np.float32)})

    def noise(chosen_ANZ):
        noise_AZ = (chosen_ANZ[:, 0] - posterior.mean_BZ[0]) / posterior.scale_BZ[0]
        return noise_AZ[np.argsort(noise_AZ[:, 0])]  # the order tells the evidence; the first dimension stays as it is

    np.testing.assert_allclose(noise(joined_ANZ), noise(plain_ANZ) @ root_ZZ.T, rtol=1e-2, atol=1e-3)
