"""Draws of z: a row's own, in any company, correlated or not."""

import numpy as np

from jaxaccomp.generate import latents
from jaxaccomp.generate.decoding import blocks

SIZE = 8
ROWS = 70
ROOT = np.linalg.cholesky(np.corrcoef(np.random.default_rng(0).standard_normal((SIZE, 12)))).astype(np.float32)


def rows(toward_prior: float = 0.0) -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [
        random.standard_normal((ROWS, SIZE)).astype(np.float32),
        np.exp(random.standard_normal((ROWS, SIZE))).astype(np.float32),
        random.integers(0, 9, (ROWS, 2)).astype(np.uint32),
        *(random.integers(0, 3, ROWS).astype(np.int32) for _ in range(3)),
        np.full(ROWS, toward_prior, np.float32),
    ]


def draw(correlation, arrays, spread: float = 1.0) -> np.ndarray:
    z_BZ, _ = blocks.in_blocks(
        lambda *block: latents.draw(np.uint32(0), np.float32(spread), correlation, *block), *arrays
    )
    return np.asarray(z_BZ)


def test_a_correlated_draw_is_the_plain_draws_noise_put_together():
    arrays = rows()
    mean_BZ, scale_BZ = arrays[:2]
    noise_BZ = (draw(None, arrays) - mean_BZ) / scale_BZ
    found = draw({"kernel": ROOT}, arrays)
    np.testing.assert_allclose(found, mean_BZ + scale_BZ * (noise_BZ @ ROOT.T), rtol=1e-4, atol=1e-4)


def test_a_row_is_drawn_alike_alone_and_in_any_block():
    arrays, params = rows(), {"kernel": ROOT}
    together = draw(params, arrays)
    for count in (1, 17, 33):
        np.testing.assert_array_equal(draw(params, [array[:count] for array in arrays]), together[:count])


def test_draws_from_the_prior_are_not_correlated():
    np.testing.assert_allclose(draw({"kernel": ROOT}, rows(1.0)), draw(None, rows(1.0)), rtol=1e-5, atol=1e-6)


def test_without_spread_a_draw_is_the_mean():
    np.testing.assert_array_equal(draw({"kernel": ROOT}, rows(), spread=0.0), rows()[0])
