"""The decoder against mido, an independent reader, on files made event by event."""

import io

import mido
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxaccomp.errors import MidiError
from jaxaccomp.music import smf

byte = st.integers(0, 127)
delta = st.one_of(st.integers(0, 200), st.integers(0, 1 << 20), st.sampled_from([127, 128, 16383, 16384, 2097152]))
voice = st.tuples(st.sampled_from([0x80, 0x90, 0xA0, 0xB0, 0xC0, 0xD0, 0xE0]), st.integers(0, 15), byte, byte)
text = st.tuples(st.sampled_from([0x01, 0x03, 0x05, 0x7F]), st.binary(max_size=200))
sysex = st.binary(max_size=150).map(lambda data: bytes(b & 0x7F for b in data))


def file_of(chunks: list[list[tuple[int, object]]], running: bool) -> bytes:
    """A format 1 file; `running` leaves out a status byte that equals the one before."""
    out = b"MThd\x00\x00\x00\x06\x00\x01" + len(chunks).to_bytes(2, "big") + b"\x01\xe0"
    for events in chunks:
        body, last = b"", None
        for time, event in events:
            body += smf.variable_length(time)
            if isinstance(event, bytes):
                body += b"\xf0" + smf.variable_length(len(event) + 1) + event + b"\xf7"
                last = None
            elif isinstance(event[1], bytes):
                body += smf.meta(*event)
            else:
                status = event[0] | event[1]
                message = bytes([status, *event[2 : 3 if event[0] in (0xC0, 0xD0) else 4]])
                body += message[1:] if running and status == last else message
                last = status
        body += b"\x00\xff\x2f\x00"
        out += b"MTrk" + len(body).to_bytes(4, "big") + body
    return out


chunks_of_events = st.lists(st.lists(st.tuples(delta, st.one_of(voice, voice, text, sysex)), max_size=60), max_size=4)


def decode(data: bytes) -> smf.Events:
    return smf.decode(data, smf.parse_header(data, "x"), "x")


@settings(max_examples=150, deadline=None)
@given(chunks_of_events, st.booleans())
def test_every_event_is_what_mido_reads(chunks, running):
    data = file_of(chunks, running)
    events = decode(data)
    row = 0
    for index, track in enumerate(mido.MidiFile(file=io.BytesIO(data)).tracks):
        tick = 0
        for message in track:
            tick += message.time
            assert (events.chunk[row], events.tick[row]) == (index, tick)
            if message.type == "sysex":
                assert smf.payload(data, events, row) == bytes(message.data) + b"\xf7"
            elif message.is_meta:
                assert events.status[row] == smf.META
                assert smf.payload(data, events, row) == _meta_payload(message)
            else:
                said = message.bytes()
                assert [events.status[row], events.first[row], events.second[row]] == [*said, 0][:3]
            row += 1
    assert row == len(events.tick)


def _meta_payload(message: mido.MetaMessage) -> bytes:
    said = bytes(message.bytes())[2:]
    while said[0] >= 0x80:
        said = said[1:]
    return said[1:]


@settings(max_examples=100, deadline=None)
@given(chunks_of_events, st.booleans())
def test_encoding_a_chunks_events_gives_them_back(chunks, running):
    data = file_of(chunks, running)
    events = decode(data)
    source = np.frombuffer(data, np.uint8)
    for index in range(len(chunks)):
        mine = events.select(
            (events.chunk == index) & ((events.status != smf.META) | (events.first != smf.END_OF_TRACK))
        )
        spelt = np.flatnonzero(source[mine.body] >= 0x80)  # running status cannot be copied without its status
        mine = mine.select(spelt)
        chunk = smf.encode(mine.tick, source, mine.body, mine.end - mine.body)
        again = decode(data[:10] + b"\x00\x01" + data[12:14] + chunk)
        np.testing.assert_array_equal(again.tick[:-1], mine.tick)
        np.testing.assert_array_equal(again.status[:-1], mine.status)
        np.testing.assert_array_equal(again.first[:-1], mine.first)
        assert again.first[-1] == smf.END_OF_TRACK


pairing = st.lists(
    st.tuples(st.sampled_from([0, 0, 0, 1, 5]), st.sampled_from([0x80, 0x90, 0x90]), st.just(0),
              st.sampled_from([60, 61]), st.sampled_from([0, 64])), max_size=24
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(pairing)
def test_notes_pair_as_the_rule_says(events):
    data = file_of([[(time, tuple(event)) for time, *event in events]], running=True)
    decoded = decode(data)
    notes, off = smf.pair(decoded)
    expected = _paired_one_by_one(decoded)
    assert off.tolist() == [off for _, off in expected]
    for note, (on, off) in zip(notes.tolist(), expected, strict=True):
        assert note[:4] == (decoded.tick[on], decoded.tick[off], decoded.first[on], decoded.second[on])


def _paired_one_by_one(events: smf.Events) -> list[tuple[int, int]]:
    """The rule of `pair` as a loop."""
    found, sounding = [], {}
    for row in range(len(events.tick)):
        if events.status[row] == 0x90 and events.second[row] > 0:
            sounding.setdefault(events.first[row], []).append(row)
        elif events.status[row] in (0x80, 0x90) and events.first[row] in sounding:
            rows = sounding.pop(events.first[row])
            ended = [on for on in rows if events.tick[on] < events.tick[row]]
            found += [(on, row) for on in ended]
            if ended and len(ended) < len(rows):
                sounding[events.first[row]] = rows[len(ended) :]
    return found


def test_running_status_of_messages_with_one_data_byte():
    pressure = [(1, (0xD0, 3, value, 0)) for value in range(50)]
    data = file_of([[*pressure, (1, (0x90, 3, 60, 64)), *pressure, (1, (0x80, 3, 60, 0))]], running=True)
    events = decode(data)
    assert (events.status == 0xD3).sum() == 100
    assert events.tick[-1] == 102
    assert len(smf.pair(events)[0]) == 1


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"\x00\x3c\x40", "running status out of nothing"),
        (b"\x00\x90\x3c", "cut off"),
        (b"\x00\x90\x3c\xff", "data byte out of range"),
        (b"\x00\xf5", "undefined status"),
        (b"\xff\xff\xff\xff\x00\x90\x3c\x40", "overlong time"),
        (b"\x00\xff\x03\x7fabc", "meta event longer than its chunk"),
        (b"\x00\xf0\xff\xff\xff\xff", "sysex of overlong length"),
    ],
)
def test_bad_events_are_refused(body, what):
    data = b"MThd\x00\x00\x00\x06\x00\x01\x00\x02\x01\xe0"
    good = b"\x00\x90\x3c\x40\x10\x80\x3c\x00"
    for events in (body, b"\x00\xb0\x07\x64" + body if what != "running status out of nothing" else body):
        for order in ([events, good], [good, events]):
            with pytest.raises(MidiError) as caught:
                decode(data + b"".join(b"MTrk" + len(e).to_bytes(4, "big") + e for e in order))
            assert caught.value.reason == "bad-event"


def test_rubbish_behind_the_end_mark_is_ignored():
    body = b"\x00\x90\x3c\x40\x10\x80\x3c\x00\x00\xff\x2f\x00" + b"\xf5\xf5\xff\xff\xff\xff\xff"
    good = b"\x00\x90\x3d\x40\x10\x80\x3d\x00"
    data = b"MThd\x00\x00\x00\x06\x00\x01\x00\x02\x01\xe0"
    events = decode(data + b"".join(b"MTrk" + len(e).to_bytes(4, "big") + e for e in (body, good)))
    assert len(events.tick) == 5
