import dataclasses

import jax
import numpy as np
import pytest

from jaxaccomp.config import CriticConfig, GuideConfig
from jaxaccomp.evaluation import accompanied, accompanied_table
from jaxaccomp.evaluation.heldout import Heldout
from jaxaccomp.generate.accompanist import Accompanist
from jaxaccomp.generate.options import PlayOptions, fast
from jaxaccomp.models import critic, guide
from jaxaccomp.music import measures, patterns


@pytest.fixture(scope="module")
def whole_model(tiny_model):
    """The tiny model with a guide and a critic, which likes drums that are struck often."""
    config, params = tiny_model
    experts = GuideConfig(harmony_sizes=(8,), rhythm_sizes=(6,))
    judge = CriticConfig(trees=1, depth=1, features=measures.NAMES)
    likes = {name: np.zeros(shape) for name, shape in critic.shapes(judge).items()}
    likes["feature"] += measures.NAMES.index("drum_steps_per_bar")
    likes["threshold"] += 15.0
    likes["value"][0] = [-1, 1]
    config = dataclasses.replace(config, guide=experts, critic=judge)
    return config, {**params, "guide": guide.initialize(experts, jax.random.key(5)), "critic": likes}


@pytest.fixture(scope="module")
def heldout(trios):
    nothing = np.zeros((10, 8), np.float32)
    return Heldout(trios, nothing, nothing, np.repeat([0, 1, 2], [5, 1, 4]), 10)


@pytest.fixture(scope="module")
def report(whole_model, heldout):
    told = []
    found = accompanied.report(*whole_model, heldout, progress=told.append)
    return found | {"told": sum(told)}


def test_report_has_every_way_of_playing_beside_real_songs(report, whole_model):
    assert list(report["sources"]) == ["real", "real_shuffled", "default", "guided", "fast"]
    assert report["sources"]["real"]["distance"] == 0
    assert (report["candidates"], report["guidance"]) == (8, 1.0)
    assert report["told"] == 10 * accompanied.ways(whole_model[0])
    told = len(patterns.NAMES) - len(measures.NAMES) - len(patterns.OF_MELODY)
    assert report["sources"]["default"]["unchosen"]["features"] == told


def test_fast_is_one_draw_of_the_model_without_guide_and_critic(tiny_model, whole_model, heldout):
    melody_NL = heldout.tokens_NLP[:3, :, 0]
    plain = accompanied.accompany(Accompanist(*tiny_model), melody_NL, PlayOptions())
    quick = accompanied.accompany(Accompanist(*whole_model), melody_NL, PlayOptions(**fast()))
    np.testing.assert_array_equal(plain, quick)


def test_the_default_is_what_the_critic_likes_best_of_its_candidates(whole_model, heldout):
    band, melody_NL = Accompanist(*whole_model), heldout.tokens_NLP[:2, :, 0]
    chosen = accompanied.accompany(band, melody_NL, PlayOptions(candidates=4, retries=0))
    nothing = np.zeros(2, np.int32)
    options = PlayOptions(candidates=4)
    names = np.array([[0, 0], [0, 1]], np.uint32)
    attempts = [
        np.asarray(band.play(melody_NL, names, nothing, nothing, nothing + k, options=options).tokens_BLP)
        for k in range(4)
    ]
    windows = [np.concatenate([melody_NL[:, :, None], tokens], axis=2) for tokens in attempts]
    score_KN = np.stack([critic.score(whole_model[0].critic, whole_model[1]["critic"], one) for one in windows])
    for row in range(2):
        assert any(np.array_equal(chosen[row], one[row]) for one in windows)
        mine = critic.score(whole_model[0].critic, whole_model[1]["critic"], chosen[row : row + 1])
        assert mine == score_KN[:, row].max()


def test_a_row_in_a_batch_of_many_equals_itself_alone(whole_model, heldout):
    band, melody_NL = Accompanist(*whole_model), heldout.tokens_NLP[:, :, 0]
    together = accompanied.accompany(band, melody_NL, PlayOptions(candidates=2), batch_size=64)
    few = accompanied.accompany(band, melody_NL[:3], PlayOptions(candidates=2), batch_size=2)
    np.testing.assert_array_equal(together[:3], few)


def test_table_shows_each_measure_and_the_two_sums(report):
    text = accompanied_table.table(report)
    assert "as it plays" in text
    assert "best of 8 candidates" in text
    for title in measures.TITLES.values():
        assert f"| {title}" in text
    assert text.count("two-sample AUC") == 2
