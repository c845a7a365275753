import numpy as np
import pytest

from jaxaccomp import demos
from jaxaccomp.music import build, melody, midi
from jaxaccomp.music.midi import NOTE, Part, Score
from jaxaccomp.report import audio, pianoroll, stems


def notes(*rows):
    array = np.zeros(len(rows), NOTE)
    for row, (start, end, pitch) in zip(array, rows, strict=True):
        row["start"], row["end"], row["pitch"], row["velocity"] = start, end, pitch, 90
    return array


def band(bass_pitch=36, pad=True):
    parts = [
        Part("Lead", 0, 73, notes((0, 480, 72), (480, 1920, 74)), [(0, 0xB0, 7, 90)]),
        Part("Bass", 2, 33, notes((0, 1920, bass_pitch))),
        Part("Drums", 9, 0, notes((0, 60, 36), (480, 540, 38), (960, 1020, 42))),
    ]
    parts += [Part("Pad", 1, 89, notes((0, 1920, 60)))] if pad else []
    return Score.build(480, parts, tempos=((0, 400_000), (960, 600_000)))


def split(score, tune=0):
    return stems.split(score, pianoroll.roles(score, tune))


def level_db(sound, reference):
    return 10 * np.log10(np.mean(sound.astype(np.float64) ** 2) / np.mean(reference.astype(np.float64) ** 2))


def test_every_note_is_in_one_stem_and_keeps_its_ticks():
    score = band()
    parts = split(score)
    assert [part.role for part in parts] == list(stems.ROLES)
    for part in parts:
        for index in part.tracks:
            names = ["start", "end", "pitch", "velocity", "channel", "program"]
            assert part.score.notes[names].tolist() == score.track_notes(index)[names].tolist()
        assert part.score.tempos.tolist() == score.tempos.tolist()
    assert sum(len(part.score.notes) for part in parts) == len(score.notes)


@pytest.mark.parametrize("name", ["korobeiniki", "mountain-king"])
def test_stems_add_up_to_the_whole(name):
    score = midi.read(demos.path(name))
    parts = split(score, melody.choose(score).track)
    assert len(parts) > 1
    whole = audio.synthesize(score)
    together = sum(audio.synthesize(part.score, seconds=audio.length_s(score)) for part in parts)
    assert level_db(together - whole, whole) < -50


def test_equal_parts_of_two_songs_are_equal_bytes():
    one, other = split(band()), split(band(bass_pitch=40, pad=False))
    assert one[0].score.data == other[0].score.data
    assert one[1].score.data != other[1].score.data
    assert one[2].score.data == other[2].score.data


def test_what_other_chunks_say_of_a_channel_bears_on_its_stem():
    setup = build.encode_marks([(0, bytes([0xC0, 40])), (0, bytes([0xB0, 7, 50])), (0, bytes([0xC1, 5]))])
    playing = build.encode_marks([(0, bytes([0x90, 60, 90])), (480, bytes([0x80, 60, 0]))])
    score = Score(build.assemble(1, 480, [setup, playing]))
    (part,) = split(score)
    assert part.score.data.count(bytes([0xC0, 40])) == 1
    assert part.score.data.count(bytes([0xB0, 7, 50])) == 1
    assert bytes([0xC1, 5]) not in part.score.data


def test_a_second_port_is_another_instrument():
    melody_part = Part("Lead", 0, 73, notes((0, 480, 72)), [(0, 0xB0, 7, 20)])
    bass = Part("Bass", 0, 33, notes((0, 480, 40)), port=1)
    score = Score.build(480, [melody_part, bass])
    lead, low = split(score)
    assert bytes([0xB0, 7, 20]) in lead.score.data
    assert bytes([0xB0, 7, 20]) not in low.score.data
    assert low.score.tracks[0].program == 33
