"""In how many of the tune's bars a part plays."""

import numpy as np
import pytest

from jaxaccomp.arrays import NOTE_OFF, STEPS
from jaxaccomp.generate import coverage

TUNE = np.zeros((1, STEPS), np.int32)
TUNE[0, 0], TUNE[0, 128] = 60, NOTE_OFF  # one note through the first eight bars, then silence


@pytest.fixture(autouse=True)
def all_is_enough(monkeypatch):
    monkeypatch.setattr(coverage, "ENOUGH", 1.0)


def _tokens(bars, token):
    tokens = np.zeros((1, STEPS, 1), np.int32)
    tokens[0, [16 * bar + 5 for bar in bars], 0] = token
    return tokens


@pytest.mark.parametrize(("part", "token"), [("bass", 2), ("bass", 40), ("drums", 1), ("drums", 256)])
def test_a_part_plays_in_the_bars_in_which_it_strikes_a_note(part, token):
    assert coverage.bar_coverage(TUNE, _tokens(range(8), token), (part,)) == 1.0
    assert coverage.bar_coverage(TUNE, _tokens([0, 7], token), (part,)) == 2 / 8
    assert coverage.bar_coverage(TUNE, _tokens([], token), (part,)) == 0.0


def test_the_end_of_a_bass_note_is_no_note():
    assert coverage.bar_coverage(TUNE, _tokens(range(8), NOTE_OFF), ("bass",)) == 0.0


def test_what_is_played_where_the_tune_rests_does_not_count():
    assert coverage.bar_coverage(TUNE, _tokens(range(8, 16), 40), ("bass",)) == 0.0
    assert coverage.bar_coverage(np.zeros_like(TUNE), _tokens([], 40), ("bass",)) == 1.0


def test_more_than_enough_of_one_part_does_not_make_up_for_the_other(monkeypatch):
    monkeypatch.setattr(coverage, "ENOUGH", 0.5)
    most_and_least = np.concatenate([_tokens(range(8), 40), _tokens([0], 1)], axis=-1)
    both_a_bit = np.concatenate([_tokens(range(4), 40), _tokens([0, 1], 1)], axis=-1)
    enough = np.concatenate([_tokens(range(4), 40), _tokens(range(4), 1)], axis=-1)
    windows = np.concatenate([most_and_least, both_a_bit, enough])
    full = coverage.bar_coverage(np.repeat(TUNE, 3, 0), windows, ("bass", "drums"))
    assert full.tolist() == [(1 + 1 / 4) / 2, (1 + 2 / 4) / 2, 1.0]
