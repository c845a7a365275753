"""Every note that is struck sounds, whatever a file says or does not say of its end."""

import io

import mido
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jaxaccomp.music import build, midi, smf
from jaxaccomp.music.midi import Part, Score
from tests.music.lines import accompany, chunk, lines, messages, name, of_original, quick, sorted_notes


@quick
@given(lines(), st.data())
def test_notes_that_nothing_ends_sound_until_something_does_and_end_in_the_result(line, data):
    lost = data.draw(st.lists(st.booleans(), min_size=len(line), max_size=len(line)))
    hush = data.draw(st.one_of(st.none(), st.integers(1, 20_000)))
    events = [name("Melody")]
    for tick, body in messages(line, [0] * len(line)):
        is_off, owner = body[0] == 0x80, int(np.flatnonzero(line["pitch"] == body[1])[0])
        if not (is_off and lost[owner]):
            events.append((tick, body))
    if hush is not None:
        events = sorted([*events, (hush, b"\xb0\x7b\x00")], key=lambda event: event[0])
    score = midi.read(build.assemble(1, 480, [chunk(events)]))
    assert sorted(score.notes["start"].tolist()) == line["start"].tolist()
    assert (score.notes["end"] > score.notes["start"]).all()
    strikes = {(tick, body[1]) for tick, body in events if body[0] == 0x90}
    for start, end, pitch, *_ in score.notes.tolist():
        assert not any(start < tick < end and struck == pitch for tick, struck in strikes)
        assert hush is None or not start < hush < end or not lost[int(np.flatnonzero(line["pitch"] == pitch)[0])]
    result, _ = accompany(score, track="0")
    assert sorted_notes(of_original(result)) == sorted_notes(score.notes)
    assert (result.note_ends >= 0).all()


@quick
@given(lines(), st.lists(st.integers(0, 23), max_size=8))
def test_notes_of_no_length_sound_a_sixteenth_at_most(line, empty):
    line = line.copy()
    for index in empty:
        line["end"][index % len(line)] = line["start"][index % len(line)]
    events = [name("Melody")]
    for start, end, pitch, velocity, *_ in line.tolist():
        events += [(start, bytes([0x90, pitch, velocity])), (end, bytes([0x80, pitch, 0]))]
    score = midi.read(build.assemble(1, 480, [chunk(events)]))
    assert sorted(score.notes["start"].tolist()) == line["start"].tolist()
    short = {line["start"][index % len(line)] for index in empty}
    for start, end, *_ in score.notes.tolist():
        assert end > start
        assert start not in short or end - start <= 120
    result, _ = accompany(score, track="0")
    assert sorted_notes(of_original(result)) == sorted_notes(score.notes)


@quick
@given(
    st.lists(st.tuples(st.sampled_from([480, 240]), st.integers(1, 200)), min_size=2, max_size=20), st.integers(1, 9)
)
def test_overlapping_repeats_of_a_pitch_each_last_as_long_as_written(steps, bars):
    rows, tick = [], 0
    for length, overlap in steps:
        rows.append((tick, tick + length + min(overlap, 100)))
        tick += length
    rows.append((tick, tick + 1920 * bars))
    events = sorted([(start, b"\x90\x40\x5a") for start, _ in rows] + [(end, b"\x80\x40\x00") for _, end in rows])
    score = midi.read(build.assemble(1, 480, [chunk(events)]))
    assert sorted(zip(score.notes["start"].tolist(), score.notes["end"].tolist(), strict=True)) == rows


@quick
@given(st.integers(1, 60), st.integers(0, 1 << 20))
def test_gaps_longer_than_a_delta_time_are_written_in_several_events(gap, more):
    ticks = np.array([0, gap * (1 << 26) + more, gap * (1 << 27) + 2 * more], np.int64)
    pool, starts = np.frombuffer(b"\x90\x40\x5a", np.uint8), np.zeros(3, np.int64)
    data = build.assemble(1, 480, [smf.encode(ticks, pool, starts, np.full(3, 3))])
    header = smf.parse_header(data, "")
    events = smf.decode(data, header, "")
    assert events.tick[events.status == 0x90].tolist() == ticks.tolist()
    assert len(mido.MidiFile(file=io.BytesIO(data)).tracks[0]) == len(events.tick)


@quick
@given(lines(), st.data())
def test_live_bytes_within_a_track_are_read_over_and_left_out_of_the_result(line, data):
    plain = Score.build(480, [Part("Melody", 0, 0, line)])
    events = messages(line, [0] * len(line))
    places = data.draw(st.lists(st.integers(0, len(events) - 1), min_size=1, max_size=5))
    live = data.draw(st.sampled_from([b"\xf8", b"\xfe", b"\xfa", b"\xf6", b"\xf2\x01\x02"]))
    with_live = list(events)
    for place in sorted(places, reverse=True):
        with_live.insert(place, (events[place][0], live))
    noisy = midi.read(build.assemble(1, 480, [chunk([name("Melody"), *with_live])]), strict=True)
    assert sorted_notes(noisy.notes) == sorted_notes(plain.notes)
    if live == b"\xf8":
        inside = [(tick, body[:2] + live + body[2:]) for tick, body in events]
        inner = midi.read(build.assemble(1, 480, [chunk([name("Melody"), *inside])]), strict=True)
        assert sorted_notes(inner.notes) == sorted_notes(plain.notes)
        assert 0xF8 not in stitched_bytes(inner)
    assert 0xF8 not in stitched_bytes(noisy)


def stitched_bytes(score: Score) -> set[int]:
    result, _ = accompany(score, track="0")
    assert len(mido.MidiFile(file=io.BytesIO(result.data)).tracks) == 3
    return set(result.data)
