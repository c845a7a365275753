import subprocess
import sys

import numpy as np
import pytest

from jaxaccomp import demos
from jaxaccomp.demos.arrangement import TICKS_PER_QUARTER, arrange
from jaxaccomp.demos.tunes import TUNES
from jaxaccomp.errors import UsageError
from jaxaccomp.music import midi

BEGINS = {
    "korobeiniki": "E5 B4 C5 D5 C5 B4 A4 A4 C5 E5 D5 C5 B4 C5 D5 E5 C5 A4 A4",
    "mountain-king": "B3 C#4 D4 E4 F#4 D4 F#4 F4 C#4 F4 E4 C4 E4 B3 C#4 D4 E4 F#4 D4 F#4 B4 A4 F#4 D4 F#4 A4",
    "greensleeves": "A4 C5 D5 E5 F#5 E5 D5 B4 G4 A4 B4 C5 A4 A4 G#4 A4 B4 G#4 E4",
    "saints": "F4 A4 A#4 C5 F4 A4 A#4 C5 F4 A4 A#4 C5 A4 F4 A4 G4",
    "rising-sun": "A4 A4 B4 C5 E5 D5 A4 A4 A5 A5 A5 G5 E5 E5",
    "ode-to-joy": "F#4 F#4 G4 A4 A4 G4 F#4 E4 D4 D4 E4 F#4 F#4 E4 E4",
    "lantern-walk": "D4 G4 A4 B4 D5 B4 A4",
}
NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


def melody_of(score):
    (track,) = [track for track in score.tracks if track.name == "Melody"]
    return score.track_notes(track.index)


@pytest.mark.parametrize("name", list(TUNES))
def test_the_shipped_file_is_what_its_source_makes(name):
    assert midi.read(demos.path(name)).data == arrange(TUNES[name]).data


@pytest.mark.parametrize("name", list(TUNES))
def test_tunes_begin_as_everybody_knows_them(name):
    pitches = melody_of(midi.read(demos.path(name)))["pitch"].tolist()
    expected = BEGINS[name].split()
    assert [f"{NAMES[pitch % 12]}{pitch // 12 - 1}" for pitch in pitches[: len(expected)]] == expected


@pytest.mark.parametrize("name", list(TUNES))
def test_tunes_are_of_a_length_worth_accompanying_and_leave_room_for_the_band(name):
    score = midi.read(demos.path(name))
    numerator, denominator = TUNES[name].metre
    bars = np.ceil(score.notes["end"].max() / (TICKS_PER_QUARTER * 4 * numerator / denominator))
    assert 32 <= bars <= 80
    assert [tuple(metre)[1:] for metre in score.metres.tolist()] == [TUNES[name].metre]
    assert [track.name for track in score.tracks] == ["Melody", "Chords"]
    assert not any(track.is_drums or 32 <= track.program < 40 for track in score.tracks)


@pytest.mark.parametrize("name", list(TUNES))
def test_melodies_are_one_voice_above_the_chords_place(name):
    notes = melody_of(midi.read(demos.path(name)))
    assert (notes["start"][1:] >= notes["end"][:-1]).all()
    assert notes["pitch"].min() >= 55
    assert notes["pitch"].max() <= 88


def test_the_pentatonic_tune_is_pentatonic():
    pitches = melody_of(midi.read(demos.path("lantern-walk")))["pitch"]
    assert set((pitches % 12).tolist()) == {7, 9, 11, 2, 4}


def test_tempo_changes_travel():
    tempos = midi.read(demos.path("mountain-king")).tempos
    assert np.round(60e6 / tempos["microseconds"]).tolist() == [120, 124, 128, 136, 148, 160]


def test_rounds_make_longer_songs():
    tune = TUNES["greensleeves"]
    once, twice = (arrange(tune, rounds).notes["end"].max() for rounds in (1, 2))
    bar = TICKS_PER_QUARTER * 3
    assert twice - once == 64 * bar  # the pickup bar is played once


def test_every_tune_has_its_file_and_unknown_names_are_refused():
    assert demos.names() == sorted(TUNES)
    with pytest.raises(UsageError, match="no demo tune 'tetris'; there are greensleeves, korobeiniki"):
        demos.path("tetris")


def test_the_command_writes_the_files(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "jaxaccomp.demos", "--out", str(tmp_path), "--rounds", "2"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(done.stdout.splitlines()) == len(TUNES)
    assert midi.read(tmp_path / "saints.mid").data == arrange(TUNES["saints"], 2).data
