import numpy as np
import pytest

from jaxaccomp.errors import ConfigError
from jaxaccomp.models import critic
from jaxaccomp.training.critic import Examples, fit
from jaxaccomp.training.recipe import CriticRecipe

NAMES = ("hits_kept", "bass_leap", "drum_tokens")
RECIPE = CriticRecipe(steps=24, drum_steps=8, depth=3, candidates=4, windows=80, real_windows=300)


def examples(seed=0):
    """Real windows lie near 0 in every feature; draws lie further up in the first one."""
    random = np.random.default_rng(seed)
    drawn = random.normal((1.5, 0, 0), size=(80, 4, 3))
    return Examples(random.normal(size=(300, 3)), drawn)


def test_fit_prefers_draws_that_look_real():
    told = []
    config, params = fit(examples(), RECIPE, NAMES, told.append)
    assert [line["step"] for line in told] == list(range(1, 33))
    assert told[11]["loss"] < told[0]["loss"]
    assert [*told[24]] == ["step", "drum_loss"]
    of_drums = params.pop("drums")
    assert {name: array.shape for name, array in params.items()} | {
        "drums": {name: array.shape for name, array in of_drums.items()}
    } == critic.shapes(config)
    assert config.drum_features == ("hits_kept", "drum_tokens")
    others = examples(1).drawn_NKF
    score_NK = critic.score_features(params, others.reshape(-1, 3)).reshape(80, 4)
    chosen = others[np.arange(80), score_NK.argmax(1)]
    assert abs(chosen[:, 0].mean()) < 0.75 < 1.3 < others[..., 0].mean()


def test_fit_equal_seeds_give_equal_critics():
    first, second = (fit(examples(), RECIPE, NAMES)[1] for _ in range(2))
    assert all(np.array_equal(first["drums"].pop(name), array) for name, array in second.pop("drums").items())
    assert all(np.array_equal(first[name], array) for name, array in second.items())


def test_fit_scores_are_those_of_scikit_learn():
    from sklearn.ensemble import GradientBoostingClassifier

    recipe = CriticRecipe(steps=5, depth=3, refits=0)
    given = examples()
    drawn = given.drawn_NKF.reshape(-1, 3)
    _, params = fit(given, recipe, NAMES)
    machine = GradientBoostingClassifier(
        n_estimators=5,
        learning_rate=recipe.learning_rate,
        max_depth=3,
        subsample=0.5,
        max_features=0.5,
        min_samples_leaf=15,
        random_state=0,
    )
    machine.fit(np.concatenate([given.real_RF, drawn]), np.r_[np.ones(300), np.zeros(320)])
    np.testing.assert_allclose(critic.score_features(params, drawn), machine.decision_function(drawn), atol=1e-5)


def test_fit_without_trees_about_drums_has_none():
    config, params = fit(examples(), CriticRecipe(steps=4, drum_steps=0, depth=2), NAMES)
    assert (config.drum_trees, config.drum_features) == (0, ())
    assert "drums" not in params


def test_a_recipe_without_candidates_is_refused():
    with pytest.raises(ConfigError, match="candidates"):
        CriticRecipe(candidates=0)
