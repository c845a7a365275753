"""The correlation of the surrogate's errors: against the textbook's formulas, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxaccomp.models import correlation
from jaxaccomp.models.musicvae import Posterior, posterior_divergence_B


def posteriors(seed: int, count: int = 5, size: int = 3, mixing: np.ndarray | None = None):
    """Posteriors of an encoder, and a surrogate whose scale is honest and whose errors may go together."""
    random = np.random.default_rng(seed)
    mean_NZ, scale_NZ = random.standard_normal((count, size)), np.exp(0.3 * random.standard_normal((count, size)))
    errors_NZ = random.standard_normal((count, size)) @ (np.eye(size) if mixing is None else mixing).T
    narrow_NZ = np.full_like(scale_NZ, 0.05) * scale_NZ
    target = Posterior(*(array.astype(np.float32) for array in (mean_NZ + scale_NZ * errors_NZ, narrow_NZ)))
    return target, Posterior(mean_NZ.astype(np.float32), scale_NZ.astype(np.float32))


def root_of_random_correlation(size: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((size, 2 * size))
    return np.linalg.cholesky(np.corrcoef(rows))


def test_divergence_is_that_of_two_normal_distributions():
    root_ZZ = root_of_random_correlation(3)
    target, guess = posteriors(0)
    found = correlation.divergence_B({"kernel": root_ZZ.astype(np.float32)}, target, guess)
    for n, value in enumerate(np.asarray(found)):
        m, a, u, b = (np.asarray(array[n], float) for array in (*target, *guess))
        p, s = np.diag(a**2), np.diag(b) @ root_ZZ @ root_ZZ.T @ np.diag(b)
        inverse = np.linalg.inv(s)
        logs = np.linalg.slogdet(s)[1] - np.linalg.slogdet(p)[1]
        assert value == pytest.approx(0.5 * (np.trace(inverse @ p) + (m - u) @ inverse @ (m - u) - 3 + logs), rel=1e-4)


def test_without_correlation_all_is_as_it_was():
    target, guess = posteriors(1)
    plain = np.asarray(posterior_divergence_B(target, guess))
    np.testing.assert_array_equal(correlation.divergence_B(None, target, guess), plain)
    np.testing.assert_allclose(
        correlation.divergence_B({"kernel": np.eye(3, dtype=np.float32)}, target, guess), plain, rtol=1e-5
    )
    assert correlation.correlate(None, guess.mean_BZ) is guess.mean_BZ


def test_fit_finds_what_the_errors_share_and_keeps_each_dimensions_deviation():
    root_ZZ = root_of_random_correlation(4, seed=3)
    told, unseen = posteriors(2, 20_000, 4, root_ZZ), posteriors(4, 2_000, 4, root_ZZ)
    found = correlation.fit(*told)
    np.testing.assert_allclose(found["kernel"], root_ZZ, atol=0.03)
    np.testing.assert_array_equal(np.triu(found["kernel"], 1), 0)
    np.testing.assert_allclose((found["kernel"] ** 2).sum(1), 1, rtol=1e-5)
    gain = posterior_divergence_B(*unseen).mean() - correlation.divergence_B(found, *unseen).mean()
    assert gain == pytest.approx(-np.log(np.diag(root_ZZ)).sum(), abs=0.1)


def test_noise_is_correlated_and_keeps_its_variance():
    params = {"kernel": root_of_random_correlation(3, seed=5).astype(np.float32)}
    noise_BZ = jax.random.normal(jax.random.key(0), (40_000, 3))
    found = np.cov(np.asarray(correlation.correlate(jax.tree.map(jnp.asarray, params), noise_BZ)).T)
    np.testing.assert_allclose(found, params["kernel"] @ params["kernel"].T, atol=0.02)


def test_noise_of_numpy_stays_numpys():
    params = {"kernel": jnp.asarray(root_of_random_correlation(3), jnp.float32)}
    noise_BZ = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    found = correlation.correlate(params, noise_BZ)
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, correlation.correlate(params, jnp.asarray(noise_BZ)), rtol=1e-5, atol=1e-6)
