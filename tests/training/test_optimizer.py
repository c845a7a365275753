"""Schedules and rates that trained the default, by numbers worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxaccomp.config import PRESETS
from jaxaccomp.models import musicvae
from jaxaccomp.training.optimizer import musicvae_rates, optimizer, schedule
from jaxaccomp.training.recipe import SURROGATE_PRESETS, VAERecipe

RUN = {"steps": 100, "warmup": 10, "cooldown": 0.5}


@pytest.mark.parametrize(
    ("shape", "factors"),
    [
        ("constant", {0: 0.1, 4: 0.5, 9: 1, 50: 1, 100: 1}),
        ("trapezoid", {0: 0.1, 4: 0.5, 9: 1, 55: 1, 73: 0.6, 91: 0.2, 100: 0}),
        ("cosine", {0: 0.1, 4: 0.5, 10: 1, 40: 0.75, 55: 0.5, 70: 0.25, 100: 0}),
    ],
)
def test_a_schedule_rises_over_the_warmup_and_falls_by_its_shape(shape, factors):
    factor = schedule(VAERecipe(schedule=shape, **RUN))
    found = {step: float(factor(step)) for step in factors}
    assert found == pytest.approx(factors, abs=1e-6)


def test_a_run_that_resumes_with_more_steps_falls_later():
    short, long = (schedule(VAERecipe(schedule="trapezoid", **RUN | {"steps": steps})) for steps in (100, 200))
    assert float(short(100)) == 0
    assert float(long(100)) == 1


def test_cells_token_rows_and_heads_move_at_the_fast_rate_and_all_else_at_the_slow_one():
    tree = musicvae.initialize(PRESETS["tiny"], jax.random.key(0))
    rates = musicvae_rates(tree, 0.5, 0.01)
    assert rates["decoder_bass"]["layer_0"]["kernel"] == rates["decoder_drums"]["output"]["bias"] == 0.5
    assert rates["decoder_bass"]["initial_state"]["kernel"] == rates["conductor"]["layer_1"]["bias"] == 0.01
    assert rates["mean"]["kernel"] == rates["encoder"]["layer_1"]["forward"]["kernel"] == 0.01
    rows = np.ravel(rates["encoder"]["layer_0"]["backward"]["kernel"])
    np.testing.assert_allclose(rows, [0.5] * (90 + 90 + 512) + [0.01] * 16)


def test_each_parameter_moves_at_its_own_rate():
    """Adam's first step is the rate itself, in the direction of the gradient."""
    params = {"fast": jnp.zeros(2), "slow": jnp.zeros(2)}
    recipe = VAERecipe(optimizer="adam", schedule="constant", warmup=1, clip=1e3)
    transform = optimizer(recipe, {"fast": 5e-3, "slow": 2e-3})
    gradient = {"fast": jnp.array([3.0, -1.0]), "slow": jnp.array([-0.2, 7.0])}
    updates, _ = transform.update(gradient, transform.init(params), params)
    np.testing.assert_allclose(updates["fast"], [-5e-3, 5e-3], rtol=1e-5)
    np.testing.assert_allclose(updates["slow"], [2e-3, -2e-3], rtol=1e-5)


def test_the_write_ups_preset_clips_to_one_and_steps_as_rmsprop_does():
    """Clipped to norm 1, g is (0.6, 0.8); RMSprop's first step is the rate times g / sqrt(0.1 g^2)."""
    recipe = SURROGATE_PRESETS["swope2020"]
    transform = optimizer(recipe, {"kernel": recipe.learning_rate})
    params = {"kernel": jnp.zeros(2)}
    updates, _ = transform.update({"kernel": jnp.array([30.0, -40.0])}, transform.init(params), params)
    factor = float(schedule(recipe)(0))
    np.testing.assert_allclose(updates["kernel"], factor * 3e-4 / 0.1**0.5 * np.array([-1, 1]), rtol=1e-4)
