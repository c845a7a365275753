import numpy as np
import pytest

from jaxaccomp.config import CriticConfig
from jaxaccomp.errors import ConfigError
from jaxaccomp.models import critic
from jaxaccomp.music import measures, patterns

CONFIG = CriticConfig(trees=7, depth=3, features=measures.NAMES)


def params(seed=0):
    random = np.random.default_rng(seed)
    drawn = {name: random.normal(size=shape) for name, shape in critic.shapes(CONFIG).items()}
    return drawn | {"feature": random.integers(0, len(CONFIG.features), drawn["feature"].shape)}


def windows(count, seed=0):
    random = np.random.default_rng(seed)
    rare = random.random((count, 256, 3)) < random.random((count, 1, 3))
    return np.where(rare, random.integers(0, [90, 90, 512], (count, 256, 3)), 0)


def walk(params, x_F):
    total = params["bias"][0]
    for tree in range(CONFIG.trees):
        node = 0
        while node < 2**CONFIG.depth - 1:
            is_above = np.float32(x_F[params["feature"][tree, node]]) > params["threshold"][tree, node]
            node = 2 * node + (2 if is_above else 1)
        total += params["value"][tree, node - (2**CONFIG.depth - 1)]
    return total


def test_score_is_the_sum_of_walks_through_the_trees():
    drawn, x_NF = params(), np.random.default_rng(1).normal(size=(9, len(CONFIG.features)))
    expected = [walk(drawn, x_F) for x_F in x_NF]
    np.testing.assert_allclose(critic.score_features(drawn, x_NF), expected, rtol=1e-12)


def test_score_of_a_window_alone_equals_itself_among_others():
    many = windows(6)
    together = critic.score(CONFIG, params(), many)
    for row in range(6):
        np.testing.assert_array_equal(critic.score(CONFIG, params(), many[row : row + 1]), together[row : row + 1])
    assert len(set(together)) > 1


def test_columns_are_features_by_name():
    many = windows(3)
    assert patterns.NAMES[: len(measures.NAMES)] == measures.NAMES
    np.testing.assert_array_equal(patterns.columns(many, measures.NAMES), measures.table(many))
    whole = patterns.table(many)
    assert np.isfinite(whole).all()
    np.testing.assert_array_equal(
        patterns.columns(many, ("bass_pitch",))[:, 0], whole[:, patterns.NAMES.index("bass_pitch")]
    )


def test_a_tree_without_questions_is_refused():
    with pytest.raises(ConfigError, match="depth"):
        CriticConfig(depth=0)


def test_drums_are_judged_without_their_bass():
    config = CriticConfig(trees=2, depth=3, features=measures.NAMES, drum_trees=5, drum_features=measures.OF_DRUMS)
    random = np.random.default_rng(0)
    shapes = critic.shapes(config)["drums"]
    of_drums = {name: random.normal(size=shape) for name, shape in shapes.items()}
    of_drums["feature"] = random.integers(0, len(measures.OF_DRUMS), shapes["feature"])
    many = windows(6)
    score_N = critic.score_drums(config, {"drums": of_drums}, many)
    assert len(set(score_N)) > 1
    many[:, :, 1] = 0
    np.testing.assert_array_equal(critic.score_drums(config, {"drums": of_drums}, many), score_N)


def test_fewer_than_no_drum_trees_are_refused():
    with pytest.raises(ConfigError, match="drum_trees"):
        CriticConfig(drum_trees=-1)
