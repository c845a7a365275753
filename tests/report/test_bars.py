import numpy as np

from jaxaccomp.music.midi import NOTE, Part, Score
from jaxaccomp.report.bars import bars


def band(metres=((0, 4, 4),), end=1920):
    notes = np.zeros(1, NOTE)
    notes["end"], notes["pitch"], notes["velocity"] = end, 60, 80
    return Score.build(480, [Part("Lead", 0, 73, notes)], metres=metres)


def test_bars_of_one_metre():
    grid = bars(band(end=4000))
    assert grid.bar_ticks.tolist() == [0, 1920, 3840, 5760]
    assert grid.count == 3
    assert grid.beat_ticks.tolist() == list(range(0, 5760, 480))


def test_music_that_ends_on_a_bar_line_opens_no_new_bar():
    assert bars(band(end=1920)).count == 1


def test_bars_under_changing_metres():
    grid = bars(band(metres=((0, 3, 4), (2880, 6, 8), (4320, 5, 8)), end=5000))
    assert grid.bar_ticks.tolist() == [0, 1440, 2880, 4320, 5520]
    assert grid.beat_ticks.tolist() == [0, 480, 960, 1440, 1920, 2400, 2880, 3600, 4320, 4560, 4800, 5040, 5280]


def test_a_metre_that_cuts_a_bar_short():
    assert bars(band(metres=((0, 4, 4), (480, 3, 4)), end=1900)).bar_ticks.tolist() == [0, 480, 1920]
