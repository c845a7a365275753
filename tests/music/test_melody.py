import numpy as np
import pytest

from jaxaccomp.errors import MelodyError
from jaxaccomp.music import melody, midi


def notes(rows, quarter=480) -> np.ndarray:
    """Rows (quarter, quarters long, pitch, velocity)."""
    rows = [(round(start * quarter), round((start + length) * quarter), pitch, velocity, 0, 0, 0)
            for start, length, pitch, velocity in rows]  # fmt: skip
    return np.array(rows, midi.NOTE)


TUNE = notes([(i, 1, 60 + pitch, 90) for i, pitch in enumerate([0, 2, 4, 5, 7, 7, 9, 7] * 8)])
CHORDS = notes([(4 * i, 4, pitch, 60) for i in range(16) for pitch in (48, 52, 55, 60)])
RIFF = notes([(i / 4, 0.25, 60 + 12 * (i % 2), 70) for i in range(256)])
LOW = notes([(i, 1, 36 + i % 5, 80) for i in range(64)])
HATS = notes([(i / 2, 0.5, 42, 80) for i in range(128)])


def song(*names: str, program=73) -> midi.Score:
    chords, tune, low = [*names, "", "", ""][:3]
    return midi.Score.build(480, [
        midi.Part(chords, 2, 0, CHORDS), midi.Part("", 5, 10, RIFF), midi.Part(tune, 4, program, TUNE),
        midi.Part(low, 1, 33, LOW), midi.Part("Melody", 9, 0, HATS),
    ])  # fmt: skip


def chosen(score: midi.Score, **how) -> int:
    return score.tracks[melody.choose(score, **how).track].channel


def test_the_default_finds_the_tune_without_names():
    choice = melody.choose(song())
    assert song().tracks[choice.track].channel == 4
    assert choice.reason == "mean pitch 65, 100% one voice, 4.0 notes a bar in 100% of the bars"


def test_the_references_rule_counts_notes_of_programs_0_to_31():
    assert chosen(song(), rule="magenta") == 5
    with pytest.raises(MelodyError, match="no track has a program of 0 to 31") as caught:
        melody.choose(midi.Score.build(480, [midi.Part("Voice", 0, 54, TUNE)]), rule="magenta")
    assert caught.value.reason == "no-melody"


def test_names_count_unless_hidden():
    score = song("Lead Vocal")
    assert chosen(score) == 2
    assert "called 'Lead Vocal'" in melody.choose(score).reason
    assert chosen(score, names=False) == 4
    assert chosen(song("Backing vocals", "", "lead bass")) == 4


def test_the_user_has_the_last_word():
    score = song("Piano", "Flute", "Bass")
    assert chosen(score, track="pian") == 2
    assert chosen(score, track="BASS") == 1
    assert melody.choose(score, track=3).track == 3
    assert melody.choose(score, track="3").track == 3
    assert melody.choose(score, track=4).track == 4  # drums by their number alone
    for wrong in ("Oboe", "Melody", 17, -1, "-4", "--4", "²"):
        with pytest.raises(MelodyError, match="it has 0 'Piano' \\(program 0\\)") as caught:
            melody.choose(score, track=wrong)
        assert caught.value.reason == "no-such-track"


def test_a_bass_is_the_tune_if_there_is_nothing_else():
    assert chosen(midi.Score.build(480, [midi.Part("", 1, 33, LOW), midi.Part("", 9, 0, HATS)])) == 1


@pytest.mark.parametrize("part", [midi.Part("", 9, 0, HATS), midi.Part("", 0, 0, notes([(0, 1, 120, 64)]))])
def test_without_a_pitch_there_is_no_melody(part):
    with pytest.raises(MelodyError) as caught:
        melody.choose(midi.Score.build(480, [part]))
    assert caught.value.reason == "no-melody"


def tokens(rows, metres=(), quarter=480) -> melody.Melody:
    score = midi.Score.build(quarter, [midi.Part("", 0, 0, notes(rows, quarter))], metres=metres)
    return melody.windows(score, melody.Choice(0, ""))


def test_tokens_of_a_top_line():
    found = tokens([(0, 1, 60, 90), (0, 1, 64, 90), (1, 3, 62, 90), (2, 1, 65, 90), (4, 0.01, 72, 1), (5, 1, 108, 9)])
    expected = np.zeros((1, 256), np.int32)
    expected[0, [0, 4, 8, 12, 16, 17, 20, 24]] = [45, 43, 46, 1, 53, 1, 89, 1]
    np.testing.assert_array_equal(found.tokens_NL, expected)
    assert found.tokens_NL.dtype == np.int32
    assert len(found.grid) == 2


def test_a_song_of_whole_windows_gets_no_more_than_these():
    assert tokens([(0, 64, 60, 90)]).tokens_NL.shape == (1, 256)
    assert tokens([(0, 128, 60, 90)]).tokens_NL.shape == (2, 256)
    longer = tokens([(0, 64.5, 60, 90)])
    assert longer.tokens_NL.shape == (2, 256)
    assert len(longer.grid) == 17
    # A note across the window's left edge is not struck again, and after its end the padding is no event.
    assert longer.tokens_NL[1].nonzero()[0].tolist() == [2]
    assert longer.tokens_NL[1, 2] == 1


def test_three_four_leaves_four_steps_of_each_model_bar_alone():
    found = tokens([(i, 0.5, 60, 90) for i in range(6)], metres=[(0, 3, 4)])
    assert found.tokens_NL[0].nonzero()[0].tolist() == [0, 2, 4, 6, 8, 10, 16, 18, 20, 22, 24, 26]


def test_an_upbeat_is_heard_before_the_first_bar():
    found = tokens([(0, 1, 60, 90), (1, 4, 62, 90)], metres=[(0, 1, 4), (480, 4, 4)])
    assert found.tokens_NL[0].nonzero()[0].tolist() == [12, 16]


def test_tempo_plays_no_part():
    rows = [(i, 1, 60 + i % 12, 90) for i in range(70)]
    slow = midi.Score.build(480, [midi.Part("", 0, 0, notes(rows))], [(0, 500_000), (700, 1_234_567), (9000, 99_999)])
    np.testing.assert_array_equal(melody.windows(slow, melody.Choice(0, "")).tokens_NL, tokens(rows).tokens_NL)
