"""The band a song already has, on the melody's grid."""

import numpy as np
import pytest

from jaxaccomp.errors import MidiError
from jaxaccomp.music import accompaniment, melody, midi, stitch, trio
from jaxaccomp.music.build import Part


@pytest.fixture
def windows():
    """Two windows of all three parts."""
    random = np.random.default_rng(0)
    tokens_LP = np.zeros((512, 3), np.int32)
    tokens_LP[::4, 0] = random.integers(40, 60, 128)
    tokens_LP[::8, 1] = random.integers(10, 20, 64)
    tokens_LP[::2, 2] = random.integers(1, 512, 256)
    return tokens_LP.reshape(2, 256, 3)


def test_a_trios_own_tokens_come_back(windows):
    score = trio.to_score(np.concatenate(list(windows)))
    tune = melody.windows(score, melody.choose(score, track="melody"))
    np.testing.assert_array_equal(tune.tokens_NL, windows[:, :, 0])
    for p, part in ((1, "bass"), (2, "drums")):
        np.testing.assert_array_equal(accompaniment.tokens(score, tune, part), windows[:, :, p])


def made_up(*tracks) -> midi.Score:
    notes = np.zeros(64, midi.NOTE)
    notes["start"], notes["velocity"] = np.arange(64) * 96, 90
    notes["end"] = notes["start"] + 48
    parts = []
    for name, channel, program, pitch in tracks:
        mine = notes.copy()
        mine["pitch"] = pitch
        parts.append(Part(name, channel, program, mine))
    return midi.Score.build(96, parts)


def test_a_part_that_is_not_there_is_named():
    score = made_up(("lead", 0, 80, 70), ("pad", 1, 90, 60))
    tune = melody.windows(score, melody.choose(score, track="lead"))
    for part in ("bass", "drums"):
        with pytest.raises(MidiError, match=f"no track plays the {part}; it has 0 'lead'"):
            accompaniment.tokens(score, tune, part)


def test_a_given_part_is_not_left_out(windows):
    score = trio.to_score(np.concatenate(list(windows)))
    choice = melody.choose(score, track="melody")
    assert [track.kind for track in stitch.left_out(score, choice)] == ["bass", "drums"]
    assert [track.kind for track in stitch.left_out(score, choice, "melody", ("bass",))] == ["drums"]
