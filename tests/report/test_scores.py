import numpy as np
import pytest

from jaxaccomp.report import scores


def test_scores_in_words():
    told = scores.in_words({"bass_in_key": 0.934, "bass_leap": 2.345, "fun": 0.5, "hits_kept": float("nan")})
    assert [tuple(words) for words in told] == [
        ("Bass notes in key", 0.934, "93%"),
        ("Bass leap, semitones", 2.345, "2.3"),
        ("Fun", 0.5, "0.5"),
    ]
    assert scores.line({"bass_in_key": 0.934, "bass_leap": 2.0}) == "bass notes in key 93%, bass leap, semitones 2"


@pytest.mark.parametrize(("log_odds", "text"), [(0.0, "50%"), (-2.0, "12%"), (3.0, "95%")])
def test_the_critic_is_told_as_a_probability(log_odds, text):
    assert scores.in_words({"critic": log_odds}) == [("Sounds like a real song", log_odds, text)]


def windows(bass=0, drums=0):
    tokens = np.zeros((2, 256, 3), np.int32)
    tokens[:, ::4, 0] = 41  # C4 on every beat
    tokens[:, ::16, 1], tokens[:, ::4, 2] = bass, drums
    return tokens


def test_a_take_is_told_by_the_critic_first_and_by_what_its_parts_do():
    both = scores.of_take({"total": 1.0, "coverage": 1.0, "critic": 0.5}, windows(bass=17, drums=1))
    names = ["critic", "coverage", "bass_in_key", "bass_consonance", "bass_notes_per_bar"]
    assert list(both) == [*names, "hits_kept", "drum_steps_per_bar"]
    assert both["bass_notes_per_bar"] == 1
    assert both["drum_steps_per_bar"] == 4
    assert both["hits_kept"] == 1


def test_parts_that_do_not_play_are_not_measured():
    assert list(scores.of_take({}, windows(drums=1))) == ["hits_kept", "drum_steps_per_bar"]
    assert list(scores.of_take({}, windows(bass=17))) == ["bass_in_key", "bass_consonance", "bass_notes_per_bar"]
