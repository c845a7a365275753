import numpy as np

from jaxaccomp.bench import arithmetic


def test_each_pass_is_a_product():
    random = np.random.default_rng(0)
    weights_XG, x_RX = random.random((64, 64), np.float32), random.random((6, 64), np.float32)
    out_RG = np.zeros((6, 64), np.float32)
    arithmetic._multiply(weights_XG, x_RX, out_RG, 3)
    np.testing.assert_allclose(out_RG, 3 * (x_RX @ weights_XG), rtol=1e-5)


def test_it_has_a_rate():
    assert arithmetic.multiply_add_gflops(passes=10, repeats=1) > 0
