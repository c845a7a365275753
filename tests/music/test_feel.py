"""Performing moves generated notes in time, velocity and octave, and loses none."""

import numpy as np
import pytest

from jaxaccomp.errors import ConfigError
from jaxaccomp.music import feel
from jaxaccomp.music.feel import STRAIGHT, Feel
from jaxaccomp.music.grid import Grid
from jaxaccomp.music.midi import METRE, NOTE

QUARTER = 480
GRID = Grid.lay(QUARTER, np.array([(0, 4, 4)], METRE), 8 * 4 * QUARTER)


def _notes(steps, pitch):
    notes = np.zeros(len(steps), NOTE)
    notes["start"] = np.asarray(steps) * QUARTER // 4
    notes["end"], notes["pitch"], notes["velocity"] = notes["start"] + QUARTER // 4, pitch, 80
    return notes


SIXTEENTHS = _notes(range(128), 42)


@pytest.mark.parametrize("part", ["bass", "drums"])
def test_straight_changes_nothing(part):
    assert (feel.perform(SIXTEENTHS, GRID, part, STRAIGHT) == SIXTEENTHS).all()


@pytest.mark.parametrize(("swing", "off_beat"), [(50, 240), (60, 288), (75, 360)])
def test_swing_puts_the_off_beat_where_it_is_asked_for_and_leaves_the_beats(swing, off_beat):
    found = feel.perform(SIXTEENTHS, GRID, "drums", Feel(swing=swing))["start"] % QUARTER
    assert set(found[2::4].tolist()) == {off_beat}
    assert set(found[::4].tolist()) == {0}
    assert set(found[1::4].tolist()) == {off_beat // 2}


def test_swing_leaves_three_eighths_to_a_beat_alone():
    grid = Grid.lay(QUARTER, np.array([(0, 6, 8)], METRE), 8 * 3 * QUARTER)
    eighths = _notes(range(0, 96, 2), 42)
    assert (feel.perform(eighths, grid, "drums", Feel(swing=66)) == eighths).all()


def test_humanize_grows_with_its_value_and_loses_no_note():
    strays, dynamics = [], []
    for amount in (0.0, 0.25, 0.5, 1.0):
        found = feel.perform(SIXTEENTHS, GRID, "drums", Feel(humanize=amount, seed=(1, 2)))
        assert len(found) == len(SIXTEENTHS)
        assert (np.diff(found["start"]) >= 0).all()
        strays.append(np.abs(found["start"] - SIXTEENTHS["start"]).mean())
        dynamics.append(found["velocity"].astype(float).std())
    assert strays == sorted(strays)
    assert strays[0] == 0
    assert 5 < strays[-1] < QUARTER / 4 * 0.45
    assert dynamics == sorted(dynamics)


def test_what_is_left_to_chance_belongs_to_the_note_and_not_to_its_company():
    played = feel.perform(SIXTEENTHS, GRID, "drums", Feel(humanize=1.0, seed=(3,)))
    alone = feel.perform(SIXTEENTHS[40:41], GRID, "drums", Feel(humanize=1.0, seed=(3,)))
    assert (alone == played[40:41]).all()
    other = feel.perform(SIXTEENTHS, GRID, "drums", Feel(humanize=1.0, seed=(4,)))
    assert (other["start"] != played["start"]).any()


def test_the_bass_moves_by_octaves_within_the_models_range():
    bass = _notes(range(0, 8, 2), [24, 36, 48, 100])
    assert feel.perform(bass, GRID, "bass", Feel(bass_octave=1))["pitch"].tolist() == [36, 48, 60, 100]
    assert feel.perform(bass, GRID, "drums", Feel(bass_octave=1))["pitch"].tolist() == [24, 36, 48, 100]


@pytest.mark.parametrize(
    "settings",
    [{"swing": 49}, {"swing": 76}, {"humanize": -0.1}, {"bass_octave": 3}, {"kit": 128}, {"bass_program": -1}],
)
def test_out_of_range_is_refused(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        Feel(**settings)
