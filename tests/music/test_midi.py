import os
import pickle
import stat
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxaccomp.errors import MidiError
from jaxaccomp.evaluation import any_midi
from jaxaccomp.music import midi, smf
from tests.music import songs

FOLDER = Path(__file__).parents[1] / "golden" / "trio" / "midi"
PLAIN = (FOLDER / "syn01_basic16.mid").read_bytes()
NOTE = b"\x00\x90\x3c\x40\x60\x80\x3c\x00"


def song(body: bytes = NOTE, division: int = 480, kind: int = 1, tracks: int = 1) -> bytes:
    header = b"".join(number.to_bytes(2, "big") for number in (kind, tracks, division))
    body += b"\x00\xff\x2f\x00"
    return b"MThd\x00\x00\x00\x06" + header + b"MTrk" + len(body).to_bytes(4, "big") + body


@settings(max_examples=80, deadline=None)
@given(songs.songs())
def test_write_then_read_is_the_identity(tmp_path_factory, song):
    score = midi.Score.build(**song)
    path = tmp_path_factory.mktemp("songs") / "song.mid"
    score.write(path)
    again = midi.read(path)
    assert again == score
    assert path.read_bytes() == score.data
    np.testing.assert_array_equal(again.notes, score.notes)
    np.testing.assert_array_equal(again.tempos, score.tempos)
    np.testing.assert_array_equal(again.metres, score.metres)
    assert again.tracks == score.tracks


@settings(max_examples=80, deadline=None)
@given(songs.parts(), st.lists(st.tuples(st.integers(1, 9000), st.integers(1, (1 << 24) - 1)), max_size=5))
def test_a_built_score_says_what_it_was_built_of(parts, tempos):
    score = midi.Score.build(480, parts, tempos, [(0, 3, 4), (1440, 7, 8)])
    assert len(score.tracks) == len(parts)
    for track, part in zip(score.tracks, parts, strict=True):
        assert (track.name, track.channel, track.program) == (part.name, part.channel, part.program)
        found = score.track_notes(track.index)
        expected = part.notes[np.lexsort((-part.notes["pitch"].astype(int), part.notes["start"]))]
        for name in ("start", "end", "pitch", "velocity"):
            np.testing.assert_array_equal(found[name], expected[name])
        mine = score.events.select(score.events.chunk == track.chunk)
        said = sorted(
            zip(
                mine.tick.tolist(),
                (mine.status & 0xF0).tolist(),
                mine.first.tolist(),
                mine.second.tolist(),
                strict=True,
            )
        )
        assert [event for event in said if event[1] in (0xB0, 0xE0)] == sorted(part.controls)
    assert dict(score.tempos.tolist()) == {0: 500_000} | dict(tempos)
    assert score.metres.tolist() == [(0, 3, 4), (1440, 7, 8)]


def test_a_score_pickles_as_its_bytes():
    score = midi.read(PLAIN)
    assert len(score.notes) == 420
    light = pickle.dumps(score)
    assert len(light) < len(PLAIN) + 1000
    assert pickle.loads(light) == score


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"RIFF and so on", "not-midi"),
        (b"ID3 this is an mp3", "not-midi"),
        (b"MThd\x00\x00\x00\x02\x00\x01" + bytes(9), "not-midi"),
        (b"MT", "truncated"),
        (PLAIN[:11], "truncated"),
        (PLAIN[:200], "truncated"),
        (PLAIN[:-1], "truncated"),
        (song(tracks=2), "truncated"),
        (b"RIFF\x04\x00\x00\x00RMID", "truncated"),
        (song(kind=3), "unknown-format"),
        (song(division=0xE728), "smpte-division"),
        (song(division=0), "zero-division"),
        (song(b"\x00\x3c\x40"), "bad-event"),
        (song(b"\x00\xff\x51\x03\x00\x00\x00" + NOTE), "impossible-tempo"),
        (song(b"\xff\xff\xff\x7f\x90\x3c\x40\xff\xff\xff\x7f\x80\x3c\x00"), "absurd-length"),
        (song(b"\x00\xb0\x07\x64"), "no-notes"),
        (song(tracks=0), "no-notes"),
    ],
)
def test_each_defect_has_its_reason(data, reason, tmp_path):
    path = tmp_path / "song.mid"
    path.write_bytes(data)
    for source, name in ((data, "<bytes>"), (path, str(path))):
        with pytest.raises(MidiError) as caught:
            midi.read(source, strict=True)
        assert caught.value.reason == reason
        assert str(caught.value).startswith(f"{name}: ")
        assert caught.value.source == name
        assert pickle.loads(pickle.dumps(caught.value)).reason == reason


def test_what_cannot_be_opened_is_unreadable(tmp_path):
    for path in (tmp_path / "nothing.mid", tmp_path, "a\0b.mid"):
        with pytest.raises(MidiError) as caught:
            midi.read(path)
        assert caught.value.reason == "unreadable"


def test_limits_are_the_callers():
    score = midi.read(PLAIN)
    assert midi.read(PLAIN, midi.Limits(bars=16, notes=420)) == score
    for limits in (midi.Limits(bars=15), midi.Limits(notes=419), midi.Limits(bytes=len(PLAIN) - 1)):
        with pytest.raises(MidiError) as caught:
            midi.read(PLAIN, limits)
        assert caught.value.reason == "absurd-length"


def test_bars_are_counted_in_the_songs_own_metres():
    score = midi.Score.build(96, [midi.Part("x", 0, 0, np.array([(0, 960, 60, 64, 0, 0, 0)], midi.NOTE))],
                             metres=[(0, 1, 64)])  # fmt: skip
    with pytest.raises(MidiError, match="160 bars"):
        midi.read(score.data, midi.Limits(bars=100))


def test_riff_wrapping_comes_off():
    wrapped = b"DISP\x03\x00\x00\x00abc\x00" + b"data" + len(PLAIN).to_bytes(4, "little") + PLAIN
    wrapped = b"RIFF" + (4 + len(wrapped)).to_bytes(4, "little") + b"RMID" + wrapped
    assert midi.read(wrapped) == midi.read(PLAIN)


def test_alien_chunks_and_trailing_bytes_are_passed_over():
    alien = b"XFIH\x00\x00\x00\x04abcd"
    data = PLAIN[:14] + alien + PLAIN[14:] + b"garbage"
    np.testing.assert_array_equal(midi.read(data).notes, midi.read(PLAIN).notes)


def test_impossible_metres_are_passed_over():
    body = b"\x00\xff\x58\x04\x00\x02\x18\x08" + b"\x00\xff\x58\x04\x03\xff\x18\x08" + b"\x00\xff\x58\x01\x03"
    assert midi.read(song(body + NOTE)).metres.tolist() == [(0, 4, 4)]


def test_writing_is_atomic(tmp_path, monkeypatch):
    path = tmp_path / "song.mid"
    path.write_bytes(b"what was there")
    monkeypatch.setattr(os, "replace", _fail)
    with pytest.raises(MidiError, match="disk on fire") as caught:
        midi.write(midi.read(PLAIN), path)
    assert caught.value.reason == "unwritable"
    assert path.read_bytes() == b"what was there"
    assert os.listdir(tmp_path) == ["song.mid"]
    with pytest.raises(MidiError):
        midi.write(midi.read(PLAIN), tmp_path / "no such folder" / "song.mid")


def test_an_interrupted_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        midi.write(midi.read(PLAIN), tmp_path / "song.mid")
    assert os.listdir(tmp_path) == []


def _fail(*_):
    raise OSError(5, "disk on fire")


def test_a_written_file_has_the_usual_permissions(tmp_path):
    (tmp_path / "usual").write_bytes(b"")
    midi.read(PLAIN).write(tmp_path / "song.mid")
    assert (stat.S_IMODE((tmp_path / "song.mid").stat().st_mode)
            == stat.S_IMODE((tmp_path / "usual").stat().st_mode))  # fmt: skip


def test_content_hash_hears_notes_alone():
    def made(quarter=480, velocity=64, name="a", channel=0, program=5, shift=0, tempo=500_000):
        notes = np.array([(0, quarter, 60, velocity, 0, 0, 0), (quarter, 2 * quarter + shift, 62, velocity, 0, 0, 0)],
                         midi.NOTE)  # fmt: skip
        return midi.Score.build(quarter, [midi.Part(name, channel, program, notes)], [(0, tempo)]).content_hash

    assert len(made()) == 32
    assert int(made(), 16) >= 0
    assert {made(), made(quarter=960), made(velocity=9), made(name="b"), made(channel=3), made(tempo=9999)} == {made()}
    assert len({made(), made(program=6), made(shift=240), made(channel=9)}) == 4


def test_mutated_files_give_a_score_or_a_reason():
    """500 of the mutations that `evaluation.any_midi` tries; no other exception, no hang, no great memory."""
    sources = [path.read_bytes() for path in sorted(FOLDER.glob("*.mid"))]
    process, worst = psutil.Process(), 0.0
    before = process.memory_info().rss
    reasons, mended = set(), 0
    for seed in range(500):
        data = any_midi.mutated(sources[seed % len(sources)], np.random.default_rng(seed))
        started = time.process_time()
        try:
            midi.read(data, strict=True)
        except MidiError as error:
            reasons.add(error.reason)
        try:
            score = midi.read(data)
            assert len(score.notes)
            assert (score.notes["end"] > score.notes["start"]).all()
            assert score.timeline.total_s >= 0
            mended += bool(score.repaired)
        except MidiError:
            pass
        worst = max(worst, time.process_time() - started)
    assert worst < 2
    assert process.memory_info().rss - before < 1 << 30
    assert {"truncated", "bad-event", "not-midi", "smpte-division"} <= reasons
    assert mended > 200


def test_lyrics_and_other_marks_are_kept_in_events():
    body = b"\x00\xff\x05\x02la" + NOTE + b"\x00\xff\x06\x01A" + b"\x00\xf0\x03\x7e\x7f\xf7"
    score = midi.read(song(body))
    rows = np.flatnonzero(score.events.status >= 0xF0).tolist()
    assert [smf.payload(score.data, score.events, row) for row in rows] == [b"la", b"A", b"\x7e\x7f\xf7", b""]
