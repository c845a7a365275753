"""Controls from the caller's side: the melody stays, the band does as asked, one song or a collection alike."""

import shutil

import numpy as np
import pytest

import jaxaccomp
from jaxaccomp import demos
from jaxaccomp.collection import run as collection
from jaxaccomp.collection.run import CollectionConfig
from jaxaccomp.generate.options import fast
from jaxaccomp.music import melody, midi

DEMO = demos.path("korobeiniki")
ALL = {"candidates": 3, "density": (1.5, 0.5), "fills": "many", "swing": 62.0, "humanize": 0.7, "bass_octave": 1}
ALL |= {"bass_program": 38, "kit": 25}


@pytest.fixture(scope="module")
def band(tiny_checkpoint):
    return jaxaccomp.load(tiny_checkpoint)


def _melody_notes(score):
    return score.track_notes(melody.choose(score).track)[["start", "end", "pitch", "velocity"]].tolist()


@pytest.mark.parametrize("settings", [ALL, {"pace": "half"}, {"pace": "double"}])
def test_the_melody_is_untouched(band, settings):
    take = band.accompany(DEMO, **settings)[0]
    kept = [take.score.track_notes(t.index)[["start", "end", "pitch", "velocity"]].tolist() for t in take.score.tracks]
    assert _melody_notes(midi.read(DEMO)) in kept


def test_candidates_are_batch_invariant_and_a_song_alone_is_the_song_in_a_collection(band, tiny_checkpoint, tmp_path):
    one = band.accompany(DEMO, **ALL)[0]
    assert band.accompany(DEMO, batch_size=5, **ALL)[0].score.data == one.score.data
    assert set(one.scores) == {"total", "coverage"}
    folder = tmp_path / "songs"
    folder.mkdir()
    for name in ("korobeiniki", "greensleeves"):
        shutil.copy(demos.path(name), folder)
    collection.run([folder], tmp_path / "out", CollectionConfig(workers=1), checkpoint=tiny_checkpoint, **ALL)
    assert (tmp_path / "out" / "korobeiniki.mid").read_bytes() == one.score.data


def test_more_candidates_cover_no_less(band):
    covers = [
        band.accompany(DEMO, temperature=1.0, **(fast() | {"candidates": count}))[0].scores["coverage"]
        for count in (1, 6)
    ]
    assert covers[1] >= covers[0]


def test_half_time_decodes_half_as_many_windows_and_double_time_twice_as_many(band):
    counts = {pace: len(band.accompany(DEMO, pace=pace)[0].windows) for pace in ("half", "normal", "double")}
    bars = {pace: 16 * count for pace, count in counts.items()}
    assert bars["half"] < bars["normal"] < bars["double"]


def test_instruments_and_octave_are_as_asked_for(band):
    low, high = (band.accompany(DEMO, bass_octave=octave, bass_program=38, kit=25)[0].score for octave in (0, 1))
    names = {track.name: track for track in low.tracks}
    assert names["Bass"].program == 38
    tracks = [next(track.index for track in score.tracks if track.name == "Bass") for score in (low, high)]
    pitches = [score.track_notes(track)["pitch"] for score, track in zip((low, high), tracks, strict=True)]
    moved = pitches[1].astype(int) - pitches[0]
    assert set(moved.tolist()) <= {0, 12}
    assert (moved == 12).any()
    assert np.all(pitches[1][moved == 0] > 96)


@pytest.mark.parametrize("part", [0, 1])
def test_density_moves_its_own_part_alone(band, part):
    def counts(factor):
        density = tuple(factor if p == part else 1.0 for p in range(2))
        return (band.accompany(DEMO, density=density, temperature=1.0, retries=0)[0].windows[:, :, 1:] > 1).sum((0, 1))

    few, usual, many = counts(0.25), counts(1.0), counts(4.0)
    assert few[part] < usual[part] < many[part]
    assert few[1 - part] == usual[1 - part] == many[1 - part]
