import numpy as np
import pytest

from jaxaccomp.evaluation import agreement

random = np.random.default_rng(0)
MEAN = random.normal(size=(400, 3))
SCALE = np.full((400, 3), 0.5)


def test_active_dimensions_vary():
    mean = np.stack([random.normal(size=50), np.full(50, 3.0), 0.01 * random.normal(size=50)], axis=1)
    assert agreement.active(mean).tolist() == [True, False, False]


def test_r_squared_of_truth_average_and_worse():
    assert agreement.r_squared(MEAN, MEAN) == 1
    assert agreement.r_squared(np.broadcast_to(MEAN.mean(0), MEAN.shape), MEAN) == pytest.approx(0)
    assert agreement.r_squared(-MEAN, MEAN) < -2
    assert agreement.r_squared(MEAN[:1], MEAN[:1]) is None


def test_cosine_of_known_angles():
    mean = np.array([[1.0, 0.0], [0.0, 2.0]])
    assert agreement.cosine(3 * mean, mean) == pytest.approx(1)
    assert agreement.cosine(np.array([[0.0, 5.0], [0.0, -1.0]]), mean) == pytest.approx(-0.5)
    assert agreement.cosine(np.zeros((2, 2)), mean) is None


def test_divergence_of_shifted_normals():
    assert agreement.divergence(MEAN, SCALE, MEAN, SCALE) == pytest.approx(0)
    assert agreement.divergence(MEAN, SCALE, MEAN + SCALE, SCALE) == pytest.approx(3 * 0.5)
    assert agreement.divergence(MEAN, SCALE, MEAN, 2 * SCALE) == pytest.approx(3 * (np.log(2) - 3 / 8))


def test_an_exact_surrogate_is_calibrated():
    found = agreement.calibration(MEAN, SCALE, MEAN, SCALE)
    assert found["mean_square"] == pytest.approx(1)
    assert found["within_1"] == pytest.approx(0.6827, abs=1e-4)
    assert found["within_2"] == pytest.approx(0.9545, abs=1e-4)


def test_an_honest_surrogate_that_knows_nothing_is_calibrated():
    """Means drawn from N(0, 1), scale 0.5: the honest guess is 0 with scale √1.25."""
    mean = random.normal(size=(20000, 3))
    found = agreement.calibration(mean, np.full_like(mean, 0.5), 0 * mean, np.full_like(mean, np.sqrt(1.25)))
    assert found["mean_square"] == pytest.approx(1, abs=0.02)
    assert found["within_1"] == pytest.approx(0.6827, abs=0.01)


def test_an_overconfident_surrogate_shows():
    found = agreement.calibration(MEAN, SCALE, 0 * MEAN, 0.1 * SCALE)
    assert found["mean_square"] > 100
    assert found["within_2"] < 0.2


def test_no_dimensions_no_figures():
    none = np.zeros((4, 0))
    assert set(agreement.calibration(none, none, none, none).values()) == {None}
