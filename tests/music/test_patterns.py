import numpy as np
import pytest

from jaxaccomp.music import patterns
from jaxaccomp.music.tokens import CRASH, KICK, LOW_TOM, SNARE


def drums(*places):
    """A window of drums at (bar, step, drum)."""
    window = np.zeros((1, 256, 3), np.int64)
    for bar, step, drum in places:
        window[0, bar * 16 + step, 2] |= 1 << drum
    return window


def of(name, window):
    return float(patterns.features(window)[name][0])


EVERY_BAR = [(bar, step, drum) for bar in range(16) for step, drum in ((0, KICK), (4, SNARE), (8, KICK), (12, SNARE))]


def test_a_groove_that_comes_back_in_every_bar_is_settled():
    window = drums(*EVERY_BAR)
    for name in ("kick_after_1", "snare_after_8", "snare_settled", "drum_bars_most_usual", "drum_bars_after_4"):
        assert of(name, window) == 1


def test_a_snare_every_second_bar_comes_back_after_two_bars_and_not_after_one():
    window = drums(*[(bar, 4, SNARE) for bar in range(0, 16, 2)])
    assert (of("snare_after_1", window), of("snare_after_2", window)) == (0, 1)


@pytest.mark.parametrize(("bars", "share"), [((3, 7, 11, 15), 1.0), ((0, 1, 2, 3), 0.25)])
def test_fills_at_the_ends_of_phrases_are_told_from_fills_anywhere(bars, share):
    window = drums(*EVERY_BAR, *[(bar, step, LOW_TOM) for bar in bars for step in (13, 14)])
    assert of("toms_most_usual_bar", window) == share
    assert of("toms_late", window) == 1


def test_a_crash_opens_a_phrase():
    window = drums(*EVERY_BAR, (0, 0, CRASH), (4, 0, CRASH), (6, 8, CRASH), (9, 0, CRASH))
    assert of("crash_on_one", window) == 0.75
    assert of("crash_opens_four", window) == 0.5


def test_a_bass_that_comes_back_to_its_notes_is_told_from_one_that_only_keeps_its_rhythm():
    window = np.zeros((1, 256, 3), np.int64)
    window[0, ::16, 1] = [20, 22, 24, 25] * 4
    assert of("bass_rhythm_after_1", window) == 1
    assert of("bass_notes_after_1", window) == 0
    assert of("bass_notes_after_4", window) == 1
    assert of("bass_moves_at_bar", window) == 1


def test_features_of_each_window_alone_equal_those_of_all_at_once():
    random = np.random.default_rng(0)
    rare = random.random((4, 256, 3)) < 0.2
    many = np.where(rare, random.integers(0, [90, 90, 512], (4, 256, 3)), 0)
    apart = np.concatenate([patterns.table(window[None]) for window in many])
    np.testing.assert_array_equal(patterns.table(many), apart)


def test_some_columns_are_those_of_the_whole_table_and_ask_for_no_more_than_their_groups(monkeypatch):
    random = np.random.default_rng(1)
    many = np.where(random.random((3, 256, 3)) < 0.2, random.integers(0, [90, 90, 512], (3, 256, 3)), 0)
    whole = patterns.table(many)
    for name in patterns.NAMES:
        np.testing.assert_array_equal(patterns.columns(many, [name])[:, 0], whole[:, patterns.NAMES.index(name)])
    monkeypatch.setattr(patterns.tokens, "sounding", None)  # what drums alone do not need
    patterns.columns(many, ["kicks_per_bar", "drum_tokens_once", "hits_kept"])
