"""Directions are found where they were put, and what is played along them is measured."""

import numpy as np
import pytest

from jaxaccomp.errors import DatasetError
from jaxaccomp.generate.directions import Direction, Directions
from jaxaccomp.latent import attribute, gaussian


@pytest.fixture(scope="module")
def fitted(latents_folder):
    return attribute.fit(latents_folder, "made up")


@pytest.mark.parametrize(("name", "axis"), [("bass_density", 0), ("drum_density", 1)])
def test_densities_grow_along_the_axes_they_were_made_of(fitted, name, axis):
    step_Z = np.array(fitted.by_name[name].step)
    assert fitted.by_name[name].r2 > 0.8
    assert step_Z[axis] / np.linalg.norm(step_Z) > 0.9


def test_what_latents_do_not_tell_has_no_r2(fitted):
    assert fitted.by_name["bass_register"].r2 < 0.1  # its pitches are random
    assert fitted.fitted_on["test_songs"] == 300


def test_too_few_windows_are_refused(latents_folder):
    with pytest.raises(DatasetError, match=r"50 windows in 'train', too few to fit on"):
        attribute.fit(latents_folder, "", limit=50)


def test_responses_start_from_what_is_played_unasked(space, latents_folder):
    axis = np.zeros(8)
    still = Direction(title="", step=tuple(axis), mean=0.0, deviation=1.0, r2=0.0)
    moving = Direction(title="", step=tuple(axis + 1), mean=0.0, deviation=1.0, r2=0.0)
    directions = Directions("", {"fills": still, "bass_density": moving})
    found = attribute.respond(space, directions, latents_folder, 12, names=("fills", "bass_density"), asked=(-1, 0, 1))
    for values in found["fills"].values():
        np.testing.assert_array_equal(values, values[:1].repeat(3))
    assert len(set(found["bass_density"]["bass_density"].tolist())) == 3
    for name, values in found["bass_density"].items():
        np.testing.assert_array_equal(values[1], found["fills"][name][1])


def test_normal_latents_are_near_the_prior_and_others_are_not(latents_folder):
    found = gaussian.project(latents_folder, {"axis": np.eye(8)[0]}, random=2, principal=2)
    assert list(found) == ["random 1", "random 2", "principal 1", "principal 2", "axis"]
    for projection in found.values():
        assert projection.distance < 0.1
        assert abs(projection.deviation - projection.mean_deviation) < 0.01  # the posteriors are narrow
        assert sum(projection.counts) == 300
    assert found["axis"].p_value > 0.001
