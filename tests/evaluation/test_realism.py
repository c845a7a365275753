import numpy as np
import pytest

from jaxaccomp.errors import DatasetError
from jaxaccomp.evaluation import realism
from jaxaccomp.music import measures


def windows(count, chance, seed):
    random = np.random.default_rng(seed)
    rare = random.random((count, 256, 3)) < chance
    return np.where(rare, random.integers(2, [90, 90, 512], (count, 256, 3)), 0)


SONGS = np.repeat(np.arange(20), 6)


def test_auc_of_another_draw_of_the_same_kind_is_near_a_coin_toss():
    real, ours = windows(120, 0.2, 0), windows(120, 0.2, 1)
    ours[:, :, 0] = real[:, :, 0]
    assert 0.3 < realism.describe(ours, real, SONGS)["auc"] < 0.7


def test_auc_of_a_much_busier_band_is_one():
    real, ours = windows(120, 0.2, 0), windows(120, 0.4, 1)
    ours[:, :, 0] = real[:, :, 0]
    judged = realism.describe(ours, real, SONGS)
    assert judged["auc"] > 0.99
    assert judged["distance"] > 1


def test_real_windows_beside_themselves_have_no_auc_and_no_distance():
    real = windows(20, 0.2, 0)
    judged = realism.compare({"real": real, "none": None}, real, np.arange(20))
    assert judged["none"] is None
    assert judged["real"]["auc"] is None
    assert judged["real"]["distance"] == 0
    assert judged["real"]["measures"]["bass_notes_per_bar"] == measures.measure(real)["bass_notes_per_bar"].mean()


def test_melody_context_counts_notes_and_different_notes():
    window = np.zeros((2, 256, 3), int)
    window[0, [0, 16, 32], 0] = [40, 41, 40]
    window[0, 48, 0] = 1
    assert realism.melody_context(window).tolist() == [[3, 2], [0, 0]]


def test_auc_of_fewer_songs_than_folds_is_refused():
    with pytest.raises(DatasetError, match="5 songs"):
        realism.auc(np.zeros((4, 2)), np.ones((4, 2)), np.zeros((4, 1)), np.arange(4))
