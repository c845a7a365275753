import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxaccomp.music import tokens

pitched = st.lists(st.sampled_from([0, 0, 0, 1, 2, 40, 89]), min_size=1, max_size=64)


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


@settings(max_examples=200, deadline=None)
@given(pitched)
def test_sounding_pitch_and_notes_are_those_of_a_player_reading_step_by_step(said):
    tokens_L = np.array(said, np.int8)
    now, heard, notes = tokens.SILENT, [], []
    for step, token in enumerate(said):
        if token and now != tokens.SILENT:
            notes[-1][1] = step
        if token >= 2:
            notes.append([step, len(said), token + 19])
        now = {0: now, 1: tokens.SILENT}.get(token, token + 19)
        heard.append(now)
    assert tokens.sounding(tokens_L[None])[0].tolist() == heard
    assert tokens.pitched_notes(tokens_L).tolist() == notes


@settings(max_examples=100, deadline=None)
@given(pitched)
def test_notes_of_tokens_give_the_tokens_back_up_to_silence_told_twice(said):
    tokens_L = np.array(said, np.int32)
    starts, ends, pitches = tokens.pitched_notes(tokens_L).T
    again = tokens.top_line(starts, ends, pitches, len(said))
    np.testing.assert_array_equal(tokens.sounding(again[None]), tokens.sounding(tokens_L[None]))
    np.testing.assert_array_equal(tokens.onsets(again), tokens.onsets(tokens_L))


def test_every_drum_token_comes_back_from_its_hits():
    drums_L = np.arange(512)
    steps, _, pitches = tokens.drum_notes(drums_L).T
    np.testing.assert_array_equal(tokens.drum_line(steps, pitches, 512), drums_L)


@pytest.mark.parametrize("drum", range(9))
def test_all_pitches_of_a_drum_class_set_its_bit(drum):
    pitches = np.array(tokens.DRUM_CLASSES[drum])
    assert tokens.drum_line(np.zeros(len(pitches), np.int64), pitches, 1).tolist() == [1 << drum]
    assert tokens.DRUM_BITS.astype(bool).sum() == sum(map(len, tokens.DRUM_CLASSES))
