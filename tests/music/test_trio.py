"""Windows and their music against what the original TensorFlow pipeline made of the same songs."""

import json
from pathlib import Path

import numpy as np
import pytest
from note_seq.protobuf import music_pb2

from jaxaccomp.errors import ConfigError, MidiError
from jaxaccomp.music import midi, trio

FOLDER = Path(__file__).parents[1] / "golden" / "trio"
INDEX = {entry["name"]: entry for entry in json.loads((FOLDER / "index.json").read_text())}
WORKING = [name for name, entry in INDEX.items() if "error" not in entry]


def note_sequence(values: dict) -> music_pb2.NoteSequence:
    sequence = music_pb2.NoteSequence(ticks_per_quarter=values["ticks_per_quarter"], total_time=values["total_time"])
    for time, qpm in values["tempos"]:
        sequence.tempos.add(time=time, qpm=qpm)
    for time, numerator, denominator in values["time_signatures"]:
        sequence.time_signatures.add(time=time, numerator=numerator, denominator=denominator)
    for pitch, start, end, velocity, instrument, program, is_drum in values["notes"]:
        sequence.notes.add(
            pitch=pitch,
            start_time=start,
            end_time=end,
            velocity=velocity,
            instrument=instrument,
            program=program,
            is_drum=is_drum,
        )
    return sequence


def scores(name: str) -> list[midi.Score]:
    """The song from its NoteSequence, and where there is one from its MIDI file."""
    found = [midi.Score.from_note_sequence(note_sequence(json.loads((FOLDER / "ns" / f"{name}.json").read_text())))]
    if INDEX[name]["midi"]:
        found.append(midi.read(FOLDER / "midi" / f"{name}.mid"))
    return found


def test_all_cases_are_here():
    assert len(INDEX) == 31


@pytest.mark.parametrize("name", WORKING)
def test_windows_are_the_references(name):
    expected = np.load(FOLDER / "tokens" / f"{name}.npz")
    for score in scores(name):
        everything = trio.extract(score, limit=None)
        np.testing.assert_array_equal(everything, expected["all"])
        np.testing.assert_array_equal(trio.extract(score), expected["eval"])
        assert everything.dtype == np.int32


@pytest.mark.parametrize("name", [name for name, entry in INDEX.items() if "error" in entry])
def test_where_the_reference_crashes_ours_says_why(name):
    for score in scores(name):
        with pytest.raises(MidiError, match="gives no tempo") as caught:
            trio.extract(score)
        assert caught.value.reason == "no-tempo"


@pytest.mark.parametrize("name", WORKING)
def test_music_of_tokens_is_the_references(name):
    windows = np.load(FOLDER / "tokens" / f"{name}.npz")["eval"]
    played = json.loads((FOLDER / "roundtrip" / f"{name}.json").read_text())
    assert len(played) == len(windows)
    for tokens, expected in zip(windows, played, strict=True):
        sequence = trio.to_score(tokens).to_note_sequence()
        ours = {(n.pitch, n.start_time, n.end_time, n.velocity, n.program, n.is_drum) for n in sequence.notes}
        theirs = {(p, s, e, v, program, drum) for p, s, e, v, _, program, drum in expected["notes"]}
        assert ours == theirs
        assert len(sequence.notes) == len(expected["notes"])
        assert [(t.time, t.qpm) for t in sequence.tempos] == [tuple(tempo) for tempo in expected["tempos"]]
        assert not sequence.time_signatures


@pytest.mark.parametrize("name", WORKING)
def test_tokens_of_that_music_are_the_same_where_the_references_are(name):
    """Not all windows survive: one that begins with a sustained note loses it in both."""
    windows = np.load(FOLDER / "tokens" / f"{name}.npz")["eval"]
    played = json.loads((FOLDER / "roundtrip" / f"{name}.json").read_text())
    for tokens, expected in zip(windows, played, strict=True):
        again = trio.extract(trio.to_score(tokens), limit=None)
        assert len(again) == expected["reencode_n"]
        assert (len(again) == 1 and np.array_equal(again[0], tokens)) == expected["reencode_equal"]


def test_a_limit_takes_the_first_windows():
    score = midi.read(FOLDER / "midi" / "syn05_multi_instruments.mid")
    everything = trio.extract(score, limit=None)
    assert len(everything) > 9
    for limit in (0, 1, 3, 9):
        np.testing.assert_array_equal(trio.extract(score, limit=limit), everything[:limit])


def test_a_hop_of_sixteen_bars_makes_windows_that_do_not_overlap():
    score = midi.read(FOLDER / "midi" / "syn05_multi_instruments.mid")
    for found in trio.trios(score, hop=16):
        assert (np.diff(found.bars) >= 16).all()
    assert 0 < len(trio.extract(score, limit=None, hop=16)) < len(trio.extract(score, limit=None))


@pytest.mark.parametrize("setting", [{"limit": -1}, {"hop": 0}])
def test_windows_of_senseless_settings_are_refused(setting):
    score = midi.read(FOLDER / "midi" / "syn01_basic16.mid")
    with pytest.raises(ConfigError, match=f"^{next(iter(setting))} must be"):
        trio.extract(score, **setting)


@pytest.mark.parametrize(
    ("part", "token", "said"),
    [
        (0, 90, "melody tokens are 0 to 89, got"),
        (1, -1, "bass tokens are 0 to 89"),
        (2, 512, "drums tokens are 0 to 511"),
    ],
)
def test_tokens_out_of_the_vocabulary_are_refused(part, token, said):
    tokens = np.zeros((256, 3), np.int32)
    tokens[7, part] = token
    with pytest.raises(ConfigError, match=said):
        trio.to_score(tokens)


@pytest.mark.parametrize("qpm", [0, -120, 3.5, float("nan"), float("inf")])
def test_a_tempo_that_no_midi_file_can_say_is_refused(qpm):
    with pytest.raises(ConfigError, match="qpm must be"):
        trio.to_score(np.zeros((256, 3), np.int32), qpm)


def test_music_of_tokens_goes_at_the_tempo_asked_for():
    tokens = np.zeros((256, 3), np.int32)
    tokens[[0, 255], 0] = 50
    score = trio.to_score(tokens, qpm=60.0)
    assert score.timeline.total_s == pytest.approx(64.0)
