import jax
import numpy as np
import optax
import pytest

from jaxaccomp.config import GuideConfig
from jaxaccomp.models import guide
from jaxaccomp.training.objectives.guide import GuideObjective, surprises
from jaxaccomp.training.recipe import GuideRecipe

CONFIG = GuideConfig(harmony_sizes=(8,), rhythm_sizes=(6,))


def windows():
    """A melody on one pitch class, and a bass below it with every kick."""
    tokens = np.zeros((4, 256, 3), np.int32)
    tokens[:, ::4, 0] = np.array([41, 43, 46, 48])[:, None]
    tokens[:, ::8, 1] = tokens[:, ::8, 0] - 24
    tokens[:, ::8, 2] = 1
    return tokens


def test_learning_finds_pitch_classes_and_onsets():
    objective = GuideObjective(CONFIG, GuideRecipe(learning_rate=0.05))
    params, adam = objective.initial(jax.random.key(0)), optax.adam(0.02)

    @jax.jit
    def step(params, moments):
        gradient, metrics = jax.grad(objective.loss, has_aux=True)(params, None, {"tokens": windows()}, None, 0)
        updates, moments = adam.update(gradient, moments)
        return optax.apply_updates(params, updates), moments, metrics

    moments = adam.init(params)
    first = step(params, moments)[2]
    for _ in range(80):
        params, moments, metrics = step(params, moments)
    assert metrics["harmony"] < 0.2 < 1.5 < first["harmony"]
    assert metrics["rhythm"] < 0.5 * metrics["place"]


@pytest.mark.slow
def test_summary_divides_by_notes_not_by_windows():
    params = guide.initialize(CONFIG, jax.random.key(0))
    tokens = windows()
    tokens[0, :, 1] = 0  # a window without bass counts for nothing
    objective = GuideObjective(CONFIG, GuideRecipe())
    measured = jax.tree.map(np.asarray, surprises(params, tokens))
    means = {name: value.mean() for name, value in measured.items()}
    assert measured["harmony"][0] == 0
    expected = measured["harmony"][1:].sum() / (3 * 32)
    np.testing.assert_allclose(objective.summary(means)["harmony"], expected, rtol=1e-6)


def test_rates_are_one_for_all():
    objective = GuideObjective(CONFIG, GuideRecipe(learning_rate=0.25))
    assert set(jax.tree.leaves(objective.rates(guide.initialize(CONFIG, jax.random.key(0))))) == {0.25}
