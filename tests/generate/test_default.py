"""The default that ships, on every demo tune: the tune untouched, and a band that plays through all of it."""

from collections import Counter

import numpy as np
import pytest

import jaxaccomp
from jaxaccomp import demos
from jaxaccomp.music import melody, midi
from jaxaccomp.music.grid import Grid


@pytest.fixture(scope="module")
def band():
    return jaxaccomp.load()


@pytest.fixture(scope="module", params=demos.names())
def original(request):
    return midi.read(demos.path(request.param))


@pytest.fixture(scope="module")
def take(band, original):
    return band.accompany(original)[0]


def _tune(score):
    return score.track_notes(melody.choose(score).track)


def _bars_struck(grid, notes):
    """Numbers of the song's bars in which a note begins."""
    model_bars = np.searchsorted(grid.start_ticks, notes["start"], side="right") - 1
    return set((np.cumsum(grid.opens_bar) - 1)[model_bars].tolist())


def _bars_sounding(grid, notes):
    through = [np.arange(start, end) for start, end in zip(notes["start"], notes["end"], strict=True)]
    moments = np.zeros(sum(map(len, through)), midi.NOTE)
    moments["start"] = np.concatenate(through)
    return _bars_struck(grid, moments)


def test_the_tune_comes_back_note_for_note(take, original):
    columns = ["start", "end", "pitch", "velocity"]
    kept = Counter(map(tuple, take.score.notes[columns].tolist()))
    assert not Counter(map(tuple, _tune(original)[columns].tolist())) - kept
    assert take.score.ticks_per_quarter == original.ticks_per_quarter
    assert take.score.tempos.tolist() == original.tempos.tolist()
    assert take.score.metres.tolist() == original.metres.tolist()


@pytest.mark.parametrize("part", ["Bass", "Drums"])
def test_the_band_plays_in_four_fifths_of_the_tunes_bars_and_ends_with_them(take, original, part):
    (track,) = [track for track in take.score.tracks if track.name == part]
    notes, tune = take.score.track_notes(track.index), _tune(original)
    grid = Grid.of(original, int(tune["end"].max()))
    bars = _bars_sounding(grid, tune)
    assert len(_bars_struck(grid, notes) & bars) >= 0.8 * len(bars)
    assert notes["end"].max() <= grid.end_ticks[-1]


def test_the_same_again_and_another_with_another_seed(band, take, original):
    assert band.accompany(original)[0].score.data == take.score.data
    assert band.accompany(original, seed=1)[0].score.data != take.score.data
