"""Attributes of windows whose values can be counted by hand."""

import numpy as np

from jaxaccomp.arrays import FIRST_NOTE_ON, LOWEST_PITCH
from jaxaccomp.music import attributes
from jaxaccomp.music.tokens import CLOSED_HAT, CRASH, KICK, LOW_TOM, OPEN_HAT, SNARE


def window(bass=(), drums=()):
    """Sixteen equal bars: bass as (step, pitch), drums as (step, class)."""
    tokens_LP = np.zeros((16, 16, 3), np.int32)
    for step, pitch in bass:
        tokens_LP[:, step, 1] = pitch - LOWEST_PITCH + FIRST_NOTE_ON
    for step, drum in drums:
        tokens_LP[:, step, 2] |= 1 << drum
    return tokens_LP.reshape(1, 256, 3)


def test_silence_has_densities_and_nothing_else():
    found = {name: float(values[0]) for name, values in attributes.measure(window()).items()}
    assert found.keys() == attributes.TITLES.keys()
    assert found.pop("bass_density") == found.pop("drum_density") == 0
    assert np.isnan(list(found.values())).all()


def test_a_rock_bar_is_counted_by_hand():
    drums = [(0, KICK), (4, SNARE), (8, KICK), (12, SNARE), *((step, CLOSED_HAT) for step in range(0, 16, 2))]
    found = attributes.measure(window(bass=[(0, 40), (8, 46)], drums=[*drums, (14, OPEN_HAT)]))
    expected = {
        "bass_density": 2,
        "drum_density": 8,
        "syncopation": 0,
        "fills": 0,
        "open_hats": 1 / 9,
        "bass_register": 43,
        "offbeats": 0,
        "backbeat": 1,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], [value], err_msg=name)


def test_notes_held_over_a_beat_are_syncopated():
    held = attributes.measure(window(bass=[(3, 40)]))["syncopation"]
    led_on = attributes.measure(window(bass=[(3, 40), (4, 40)]))["syncopation"]
    np.testing.assert_allclose((held, led_on), [[1], [0]])


def test_toms_and_snare_rolls_late_in_a_bar_are_fills():
    for late in ([(12, LOW_TOM)], [(10, SNARE), (12, SNARE), (14, SNARE)]):
        np.testing.assert_allclose(attributes.measure(window(drums=late))["fills"], [1])
    for none in ([(0, LOW_TOM)], [(12, SNARE), (14, SNARE)], [(12, CRASH)]):
        np.testing.assert_allclose(attributes.measure(window(drums=none))["fills"], [0])


def test_only_sixteenths_between_eighths_are_offbeats():
    found = attributes.measure(window(drums=[(step, CLOSED_HAT) for step in (0, 1, 2, 3)]))
    np.testing.assert_allclose(found["offbeats"], [0.5])
