import numpy as np

from jaxaccomp.music import tokens


def test_sounding_a_note_lasts_until_the_next_note_or_its_end():
    row = np.array([[0, 2, 0, 1, 0, 41, 0, 89]])
    assert tokens.sounding(row).tolist() == [[-1, 21, 21, -1, -1, 60, 60, 108]]


def test_sounding_any_leading_axes_are_kept():
    row = np.array([0, 2, 0, 1])
    assert (tokens.sounding(np.tile(row, (2, 3, 1))) == tokens.sounding(row)).all()


def test_hits_a_drum_token_is_a_set_of_bits():
    token = 1 << tokens.KICK | 1 << tokens.CRASH
    assert np.flatnonzero(tokens.hits(np.array([token]))[0]).tolist() == [tokens.KICK, tokens.CRASH]


def test_onsets_neither_holding_nor_ending_begins_a_note():
    assert tokens.onsets(np.array([0, 1, 2, 89])).tolist() == [False, False, True, True]
