import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxaccomp.music import midi
from jaxaccomp.music.grid import Grid
from tests.music import songs


def grid_of(metres, quarter=480, end=None) -> Grid:
    return Grid.lay(quarter, np.array(metres, midi.METRE), end or 1)


def used_steps(grid: Grid) -> np.ndarray:
    steps = np.arange(16 * len(grid))
    return steps[grid.is_used(steps)]


@settings(max_examples=200, deadline=None)
@given(st.data(), st.sampled_from([4, 10, 24, 96, 120, 220, 384, 480, 960]))
def test_there_and_back_is_the_identity(data, quarter):
    metres = data.draw(songs.metre_maps(quarter))
    grid = grid_of(metres, quarter, metres[-1][0] + data.draw(st.integers(1, 40 * quarter)))
    steps = used_steps(grid)
    ticks = grid.tick_of(steps)
    np.testing.assert_array_equal(grid.step_of(ticks), steps)
    assert (np.diff(ticks) > 0).all()
    if quarter % 4 == 0:
        np.testing.assert_array_equal(ticks, np.arange(len(ticks)) * quarter // 4)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_metre_changes_anywhere_leave_no_gap(data):
    """Also in the middle of a bar, where the metre before is cut short."""
    ticks = sorted(data.draw(st.sets(st.integers(1, 20_000), max_size=5)))
    metres = [(0, 4, 4)] + [
        (tick, data.draw(st.integers(1, 20)), data.draw(st.sampled_from([1, 2, 4, 8, 16, 32, 64]))) for tick in ticks
    ]
    end = data.draw(st.integers(1, 30_000))
    grid = grid_of(metres, 480, end)
    assert grid.start_ticks[0] == 0
    np.testing.assert_array_equal(grid.start_ticks[1:], grid.end_ticks[:-1])
    assert grid.start_ticks[-1] < end <= grid.end_ticks[-1]
    assert set(tick for tick, *_ in metres if tick < end) <= set(grid.start_ticks.tolist())
    steps = used_steps(grid)
    np.testing.assert_array_equal(grid.step_of(grid.tick_of(steps)), steps)
    some = np.arange(0, end, 97)
    nearest = np.abs(np.append(grid.tick_of(steps), grid.end_ticks[-1])[None] - some[:, None]).min(1)
    found = grid.step_of(some)
    at = np.where(found >= 16 * len(grid), grid.end_ticks[-1], grid.tick_of(found))
    np.testing.assert_array_equal(np.abs(at - some), nearest)


@pytest.mark.parametrize(
    ("numerator", "denominator", "used"),
    [(2, 4, [8]), (3, 4, [12]), (4, 4, [16]), (5, 4, [12, 8]), (6, 8, [12]), (7, 8, [14]), (12, 8, [12, 12]),
     (2, 2, [16]), (3, 2, [16, 8]), (7, 4, [16, 12]), (5, 32, [3]), (17, 16, [9, 8])],
)  # fmt: skip
def test_a_bar_is_laid_on_model_bars(numerator, denominator, used):
    bar = 4 * 480 * numerator // denominator
    grid = grid_of([(0, numerator, denominator)], end=3 * bar)
    assert len(grid) == 3 * len(used)
    np.testing.assert_array_equal(grid.used_to, used * 3)
    assert grid.opens_bar.tolist() == [piece == 0 for piece in range(len(used))] * 3
    assert grid.end_ticks[-1] == 3 * bar


def test_music_that_ends_on_a_bar_line_opens_no_new_bar():
    assert len(grid_of([(0, 4, 4)], end=16 * 1920)) == 16
    assert len(grid_of([(0, 4, 4)], end=16 * 1920 + 1)) == 17


def test_an_upbeat_lies_at_the_end_of_its_model_bar():
    grid = grid_of([(0, 1, 4), (480, 4, 4)], end=3000)
    assert (grid.used_from[0], grid.used_to[0]) == (12, 16)
    assert grid.step_of(np.array([0, 240, 480])).tolist() == [12, 14, 16]
    assert grid.tick_of(np.array([12, 15, 16])).tolist() == [0, 360, 480]
    assert not grid.is_used(np.arange(12)).any()


def test_ticks_go_to_the_nearest_step_the_later_of_two():
    grid = grid_of([(0, 3, 4)], end=4000)
    assert grid.step_of(np.array([59, 60, 119, 120, 1379, 1380, 1440])).tolist() == [0, 1, 1, 1, 11, 16, 16]


def test_steps_past_the_used_part_have_the_tick_of_the_bars_end():
    grid = grid_of([(0, 3, 4)], end=4000)
    assert grid.tick_of(np.array([11, 12, 15, 16])).tolist() == [1320, 1440, 1440, 1440]


def test_accents():
    four = grid_of([(0, 4, 4)], end=1920)
    assert four.accent_of(np.arange(16)).tolist() == [3, 0, 1, 0, 2, 0, 1, 0, 2, 0, 1, 0, 2, 0, 1, 0]
    six = grid_of([(0, 6, 8)], end=1440)
    assert six.accent_of(np.arange(12)).tolist() == [3, 0, 0, 1, 0, 0, 2, 0, 0, 1, 0, 0]
    upbeat = grid_of([(0, 1, 4), (480, 4, 4)], end=3000)
    assert upbeat.accent_of(np.array([12, 16])).tolist() == [2, 3]
