"""What a song's form asks of attempts: each cost on bars made for it."""

import numpy as np
import pytest

from jaxaccomp.arrays import BARS, STEPS
from jaxaccomp.generate import arrangement
from jaxaccomp.music.sections import Form
from jaxaccomp.music.tokens import CRASH, KICK, SNARE

GROOVE = np.tile(np.array([1 << KICK, 0, 4, 0, 1 << SNARE, 0, 4, 0] * 2, np.int32), BARS)


def _form(begins, windows=2):
    begins_M = np.zeros(windows * BARS, bool)
    begins_M[[0, *begins]] = True
    return Form(np.arange(windows), begins_M)


def _melody(last=2 * STEPS - 16):
    melody = np.zeros(2 * STEPS, np.int32)
    melody[: last + 1 : 4] = 40
    melody[last] = 40
    return melody.reshape(2, STEPS)


def _attempts(*changes, windows=2):
    """The groove, and the groove with each of the changes (bar, tokens of its 16 steps)."""
    attempts = np.tile(GROOVE, (1 + len(changes), windows, 1))
    for attempt, (bar, tokens) in enumerate(changes, 1):
        window, inside = divmod(bar, BARS)
        attempts[attempt, window, 16 * inside : 16 * inside + 16] = tokens
    return attempts


CRASHES = np.array([1 << CRASH | 1 << KICK, *GROOVE[1:16]])
ROLL = np.full(16, 1 << SNARE)


@pytest.mark.parametrize(("bar", "worth"), [(16, 1), (8, 0), (20, 0)])
def test_a_crash_is_worth_something_where_a_section_begins(bar, worth):
    cost_AN = arrangement.of_drums(_melody(), _attempts((bar, CRASHES)), _form([16]), "any")
    gained = (cost_AN[0] - cost_AN[1]).tolist()
    assert gained == pytest.approx([0, worth * arrangement.CRASH_WEIGHT])


def test_the_first_beat_of_a_song_needs_no_crash():
    cost_AN = arrangement.of_drums(_melody(), _attempts((0, CRASHES)), _form([]), "any")
    assert (cost_AN[0] == cost_AN[1]).all()


@pytest.mark.parametrize(("wish", "liked"), [("none", None), ("few", 5), ("many", 15)])
def test_a_fill_is_liked_before_a_section_if_few_are_wished_and_at_eighth_bars_if_many(wish, liked):
    drums = _attempts((5, ROLL), (10, ROLL), (15, ROLL))
    cost_AN = arrangement.of_drums(_melody(), drums, _form([6]), wish)
    worth = dict(zip((5, 10, 15), cost_AN[0, 0] - cost_AN[1:, 0], strict=True))
    assert max(worth, key=worth.get) == liked or (liked is None and max(worth.values()) < 0)
    assert worth[10] < 0


def test_a_window_of_one_drum_costs_and_of_two_does_not():
    drums = np.where(_attempts(windows=1) > 0, 1 << SNARE, 0)
    both = drums.copy()
    both[..., ::64] |= 1 << KICK
    costs = [arrangement.of_drums(_melody()[:1] * 0, one, _form([], 1), "any")[0, 0] for one in (drums, both)]
    assert costs == [arrangement.KIT_WEIGHT, 0]


def test_an_ending_strikes_with_the_last_note_and_rests_after_it():
    last = STEPS + 40
    struck = np.zeros((3, 2, STEPS), bool)
    struck[0, 1, 40] = True  # ends with the melody
    struck[1, 1, 40:48] = True  # goes on
    cost_AN = arrangement.ending(_melody(last), struck)
    assert cost_AN.tolist() == [[0, -arrangement.ENDING_WEIGHT], [0, 0], [0, 0]]


def test_a_silent_melody_has_no_ending():
    assert not arrangement.ending(np.zeros((2, STEPS), np.int32), np.ones((3, 2, STEPS), bool)).any()


def test_groove_change_counts_hits_in_one_bar_alone():
    one, other = np.zeros((2, 16), bool)
    one[[0, 4, 8]] = other[[0, 4, 12]] = True
    assert arrangement.groove_change(one, other) == 0.5
    assert arrangement.groove_change(one & False, other & False) == 0
