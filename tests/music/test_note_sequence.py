"""NoteSequences: as note_seq itself makes them, and there and back."""

from pathlib import Path

import note_seq
import numpy as np
import pytest
from hypothesis import given, settings
from note_seq.protobuf import music_pb2

from jaxaccomp.errors import MidiError
from jaxaccomp.music import midi, smf, trio
from tests.music import songs

FOLDER = Path(__file__).parents[1] / "golden" / "trio" / "midi"


@pytest.mark.parametrize("name", ["syn03b_tempo_change_midbar", "syn05_multi_instruments", "syn12_humanised"])
def test_a_file_becomes_what_note_seq_makes_of_it(name):
    data = (FOLDER / f"{name}.mid").read_bytes()
    assert midi.read(data).to_note_sequence() == note_seq.midi_to_note_sequence(data)


@settings(max_examples=60, deadline=None)
@given(songs.songs())
def test_any_score_becomes_what_note_seq_makes_of_it(song):
    score = midi.Score.build(**song)
    assert score.to_note_sequence() == note_seq.midi_to_note_sequence(score.data)


@settings(max_examples=60, deadline=None)
@given(songs.songs())
def test_there_and_back(song):
    """Instruments are numbered anew, seconds are kept to the last bit, and ticks survive as they were."""
    score = midi.Score.build(**song)
    sequence = score.to_note_sequence()
    back = midi.Score.from_note_sequence(sequence)
    assert back.ticks_per_quarter == score.ticks_per_quarter
    for name in ("start", "end", "pitch", "velocity"):
        np.testing.assert_array_equal(np.sort(back.notes[name]), np.sort(score.notes[name]))
    again = back.to_note_sequence()
    for field in ("notes", "tempos", "time_signatures"):
        assert getattr(again, field) == getattr(sequence, field)
    assert len(again.control_changes) <= len(sequence.control_changes)  # stragglers are not repeated
    np.testing.assert_array_equal(trio.extract(back), trio.extract(score))


def test_of_two_tempos_at_one_time_the_later_one_counts():
    notes = np.zeros(1, midi.NOTE)
    notes["end"], notes["pitch"], notes["velocity"] = 48, 60, 90
    tempos = [(0, 500_000), (24, 250_000), (24, 1_000_000)]
    score = midi.Score.build(24, [midi.Part("", 0, 0, notes)], tempos)
    back = midi.Score.from_note_sequence(score.to_note_sequence())
    assert back.tempos.tolist() == score.tempos.tolist()
    assert back.notes["end"].tolist() == [48]


def test_controls_that_come_before_the_first_note_go_to_every_later_instrument():
    body = (
        b"\x00\xb0\x07\x64" + b"\x00\x90\x3c\x40\x60\x80\x3c\x00" + b"\x00\xc0\x05\x00\xb0\x0a\x10"
        b"\x00\x90\x3c\x40\x60\x80\x3c\x00" + b"\x00\xe0\x00\x41" + b"\x00\xff\x03\x01b"
        b"\x00\xc0\x06\x00\x90\x3c\x40\x60\x80\x3c\x00" + b"\x00\xff\x2f\x00"
    )  # fmt: skip
    key = b"\x00\xff\x59\x02\xfd\x01\x00\xff\x2f\x00"
    chunks = b"".join(b"MTrk" + len(e).to_bytes(4, "big") + e for e in (key, body))
    data = b"MThd\x00\x00\x00\x06\x00\x01\x00\x02\x01\xe0" + chunks
    sequence = midi.read(data).to_note_sequence()
    assert sequence == note_seq.midi_to_note_sequence(data)
    assert len(sequence.control_changes) == 6
    assert sequence.key_signatures[0].mode == music_pb2.NoteSequence.KeySignature.MINOR


def test_keys_and_controls_travel_from_a_note_sequence():
    sequence = music_pb2.NoteSequence(ticks_per_quarter=480)
    sequence.tempos.add(time=0, qpm=90)
    for sharps in range(-5, 7):
        for minor in (0, 1):
            sequence.key_signatures.add(time=1.0 + sharps, key=(7 * sharps + 9 * minor) % 12, mode=minor)
    sequence.notes.add(pitch=60, velocity=80, start_time=0.5, end_time=1.5, instrument=3, program=40)
    sequence.control_changes.add(time=0.75, control_number=64, control_value=127, instrument=3, program=40)
    sequence.pitch_bends.add(time=0.8, bend=-1000, instrument=3, program=40)
    sequence.total_time = 1.5
    score = midi.Score.from_note_sequence(sequence)
    again = score.to_note_sequence()
    assert [(k.key, k.mode) for k in again.key_signatures[-12:]] == [
        (k.key, k.mode) for k in sequence.key_signatures[-12:]
    ]
    assert [(b.bend, b.instrument) for b in again.pitch_bends] == [(-1000, 3)]
    assert [(c.control_number, c.control_value, c.instrument) for c in again.control_changes] == [(64, 127, 3)]
    assert again.notes == sequence.notes
    assert (score.events.status == smf.META).any()


@pytest.mark.parametrize(("field", "reason"), [("tempo", "impossible-tempo"), ("time", "negative-time")])
def test_nonsense_in_a_note_sequence_has_a_reason(field, reason):
    sequence = music_pb2.NoteSequence()
    sequence.tempos.add(time=0, qpm=0 if field == "tempo" else 120)
    sequence.notes.add(pitch=60, velocity=80, start_time=-1.0 if field == "time" else 0, end_time=1)
    with pytest.raises(MidiError) as caught:
        midi.Score.from_note_sequence(sequence)
    assert caught.value.reason == reason
