import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxaccomp.music import measures
from jaxaccomp.music.tokens import CLOSED_HAT, CRASH, KICK, SNARE

C_SCALE = (60, 62, 64, 65, 67, 69, 71, 72)


def note(pitch):
    return pitch - 19


def window(melody=(), bass=(), drums=()):
    """One bar of (step, token) events for each part, sixteen times."""
    bar_TP = np.zeros((16, 3), np.int64)
    for part, events in enumerate((melody, bass, drums)):
        for step, token in events:
            bar_TP[step, part] = token
    return np.tile(bar_TP, (16, 1))[None]


def of(name, one):
    return measures.measure(one)[name][0]


SCALE = [(2 * n, note(pitch)) for n, pitch in enumerate(C_SCALE)]
BACKBEAT = [(0, 1 << KICK | 1 << CLOSED_HAT), (4, 1 << SNARE), (8, 1 << KICK), (10, 1 << KICK), (12, 1 << SNARE)]
WALK = [(0, note(36)), (4, note(43)), (8, note(41)), (14, note(42))]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bass_notes_per_bar", 4.0),
        ("bars_without_bass", 0.0),
        ("bass_in_key", 0.75),  # F sharp is not
        ("bass_consonance", 0.5),  # C over C; G over F is a ninth
        ("bass_with_melody", 1.0),
        ("bass_with_kick", 0.5),
        ("bass_leap", (16 * (7 + 2 + 1) + 15 * 6) / 63),
        ("bass_pitches", 4.0),
        ("bass_on_beats", 0.75),
        ("drum_steps_per_bar", 5.0),
        ("bars_without_drums", 0.0),
        ("drum_bars_repeated", 1.0),
        ("hits_kept", 1.0),
        ("kick_on_strong_beats", 2 / 3),
        ("snare_on_backbeats", 1.0),
        ("hat_steps_per_bar", 1.0),
        ("drum_tokens", 4.0),  # silence is one
        ("drums_kept_at_bar_8", 1.0),
        ("last_bar_unlike", 0.0),
    ],
)
def test_measure_of_a_plain_groove_by_hand(name, value):
    assert of(name, window(SCALE, WALK, BACKBEAT)) == pytest.approx(value)


def test_measures_of_silence_are_neutral():
    silence = window()
    neutral = {"bass_in_key": 0.5, "bass_consonance": 0.5, "bars_without_bass": 1, "bars_without_drums": 1}
    expected = {name: 0.0 for name in measures.NAMES} | neutral | {"drum_bars_repeated": 1, "drum_tokens": 1}
    assert {name: float(value[0]) for name, value in measures.measure(silence).items()} == expected


def test_a_changed_last_bar_is_seen_where_it_is():
    changed = window(SCALE, WALK, BACKBEAT).copy()
    changed[0, 240:244, 2] = 1 << CRASH
    assert of("last_bar_unlike", changed) == 4 / 16
    assert of("drums_kept_at_bar_8", changed) == 1
    assert of("drum_bars_repeated", changed) == pytest.approx(14 / 15)


def test_a_minor_key_has_both_sevenths():
    melody = [(0, note(69)), (4, note(72)), (8, note(76)), (14, note(68))]
    (scale_C,) = measures.scales(window(melody)[:, :, 0])
    assert set(np.flatnonzero(scale_C)) == {9, 11, 0, 2, 4, 5, 7, 8}


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_table_each_window_by_itself_equals_all_at_once(seed):
    random = np.random.default_rng(seed)
    rare = random.random((5, 256, 3)) < random.random((5, 1, 3))
    windows = np.where(rare, random.integers(0, [90, 90, 512], (5, 256, 3)), 0)
    together = measures.table(windows)
    apart = np.concatenate([measures.table(window[None]) for window in windows])
    assert np.array_equal(together, apart)
    assert np.isfinite(together).all()


def test_distance_counts_in_standard_deviations_of_the_real():
    real = np.array([[0.0, 10.0], [2.0, 30.0]])
    assert measures.distance(real + np.array([1.0, 20.0]), real) == pytest.approx(1.5)
