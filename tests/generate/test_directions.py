"""Directions beside their checkpoint: what comes back, and what is refused."""

import shutil

import numpy as np
import pytest

from jaxaccomp.errors import CheckpointError, ConfigError
from jaxaccomp.generate import directions
from jaxaccomp.generate.directions import Direction, Directions
from jaxaccomp.weights import checkpoint


@pytest.fixture
def made_up():
    random = np.random.default_rng(0)
    return {
        name: Direction(
            title=name,
            step=tuple(random.standard_normal(8).tolist()),
            mean=5.0,
            deviation=2.0,
            r2=0.9,
            response={"0": 1.0},
        )
        for name in ("bass_density", "fills")
    }


@pytest.fixture
def model(tiny_checkpoint, tmp_path):
    """A copy that may be written to."""
    return shutil.copytree(tiny_checkpoint, tmp_path / "model")


def test_directions_come_back(model, made_up):
    directions.save(
        Directions(checkpoint.fingerprint(model, "musicvae"), made_up, {"songs": 3}), model / directions.FILE
    )
    found = directions.load(model)
    assert found.fitted_on == {"songs": 3}
    assert found.by_name.keys() == made_up.keys()
    for name, direction in made_up.items():
        np.testing.assert_allclose(found.by_name[name].step, direction.step, rtol=1e-4)
        assert found.by_name[name].response == {"0": 1}


def test_a_shift_is_the_sum_of_its_steps(made_up):
    both = Directions("", made_up)
    steps = [np.array(made_up[name].step) for name in made_up]
    np.testing.assert_allclose(both.shift({"bass_density": 2, "fills": -1.5}), 2 * steps[0] - 1.5 * steps[1], rtol=1e-6)
    assert not both.shift({}).any()


@pytest.mark.parametrize(
    ("amounts", "words"),
    [
        ({"volume": 1}, "no direction 'volume'; there are bass_density, fills"),
        ({"fills": 4.5}, "between -4 and 4 standard deviations, got 4.5"),
        ({"fills": float("nan")}, "got nan"),
    ],
)
def test_what_cannot_be_asked_for_is_named(made_up, amounts, words):
    with pytest.raises(ConfigError, match=words):
        Directions("", made_up).shift(amounts)


def test_missing_foreign_and_damaged_directions_say_how_to_fit_them(model, made_up):
    with pytest.raises(CheckpointError, match=r"has no attribute directions .*latent attribute --checkpoint"):
        directions.load(model)
    directions.save(Directions("f" * 64, made_up), model / directions.FILE)
    with pytest.raises(CheckpointError, match="belongs to another MusicVAE"):
        directions.load(model)
    (model / directions.FILE).write_text('{"directions": {"fills": {"step": 3}}}')
    with pytest.raises(CheckpointError, match="is damaged"):
        directions.load(model)
