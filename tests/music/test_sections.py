"""Repeats and beginnings of sections are found in melodies whose form is known."""

import numpy as np
import pytest

from jaxaccomp.arrays import BARS, FIRST_NOTE_ON, STEPS
from jaxaccomp.music import sections


def _theme(seed, steps=STEPS):
    """A melody of eighths and quarters on a scale of its own."""
    rng = np.random.default_rng(seed)
    tokens = np.zeros(steps, np.int32)
    scale = FIRST_NOTE_ON + 40 + rng.choice(12, 4, replace=False)
    at = 0
    while at < steps:
        tokens[at] = rng.choice(scale)
        at += int(rng.choice([2, 4]))
    return tokens


def test_windows_of_the_same_melody_are_repeats_of_the_first():
    a, b = _theme(1), _theme(2)
    assert sections.form(np.stack([a, b, a, b, a])).repeats_N.tolist() == [0, 1, 0, 1, 0]


def test_a_varied_window_is_a_repeat_and_a_silent_one_is_none():
    a = _theme(1)
    varied = a.copy()
    varied[: STEPS // 8] = _theme(3, STEPS // 8)
    silent = np.zeros(STEPS, np.int32)
    assert sections.form(np.stack([a, varied, silent, silent])).repeats_N.tolist() == [0, 0, 2, 3]


@pytest.mark.parametrize("bar", [8, 16, 20])
def test_a_section_begins_where_the_melody_turns_to_something_else(bar):
    song = np.concatenate([np.tile(_theme(1, 64), 8)[: 16 * bar], np.tile(_theme(2, 64), 8)])[: 2 * STEPS]
    begins = np.flatnonzero(sections.form(song.reshape(2, STEPS)).begins_M).tolist()
    assert begins[0] == 0
    assert min(abs(found - bar) for found in begins[1:]) <= 1


def test_a_melody_that_goes_on_has_one_section():
    form = sections.form(np.tile(_theme(1, 64), 4 * 4).reshape(4, STEPS))
    assert np.flatnonzero(form.begins_M).tolist() == [0]
    assert len(form.begins_M) == 4 * BARS


@pytest.mark.parametrize("bars", [16, 32, 48])
def test_novelty_of_all_bars_at_once_is_that_of_each(bars):
    feature_MF = sections._features(np.random.default_rng(bars).integers(-1, 80, (bars, 16)))
    expected_M = np.zeros(bars)
    for bar in range(4, bars - 3):
        before, after = feature_MF[max(bar - 8, 0) : bar], feature_MF[bar : bar + 8]
        inside = (np.mean(before @ before.T) + np.mean(after @ after.T)) / 2
        expected_M[bar] = inside - np.mean(before @ after.T)
    np.testing.assert_allclose(sections._novelty(feature_MF), expected_M, rtol=0, atol=1e-15)
