"""The bytes of a Standard MIDI File ⇄ arrays of events.

Unlike general readers this one keeps, for every event, its chunk, its channel and its byte range: what a track's bytes
are must be known to keep them.

Source: The Complete MIDI 1.0 Detailed Specification (RP-001 Standard MIDI Files 1.0; RP-029 for RIFF wrapping).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxaccomp.errors import MidiError
from jaxaccomp.music import formats, loops

NOTE_OFF, NOTE_ON, CONTROL, PROGRAM, BEND = 0x80, 0x90, 0xB0, 0xC0, 0xE0
META = 0xFF
TEXT, TRACK_NAME, INSTRUMENT_NAME, LYRIC, PORT, END_OF_TRACK, TEMPO, METRE, KEY = (
    0x01, 0x03, 0x04, 0x05, 0x21, 0x2F, 0x51, 0x58, 0x59,
)  # fmt: skip

LONGEST_DELTA = (1 << 28) - 1
"""Ticks between two events of a chunk that MIDI can say; a longer gap is told in several events."""
NOTE: np.dtype[np.void] = np.dtype(  # ty: ignore[invalid-assignment]
    [
        ("start", np.int64),  # ticks
        ("end", np.int64),  # ticks; past the note, greater than start
        ("pitch", np.uint8),
        ("velocity", np.uint8),  # 1 to 127
        ("channel", np.uint8),  # 0 to 15
        ("program", np.uint8),  # in force on the channel when the note ends
        ("track", np.int32),  # index into Score.tracks
    ]
)
"""A note. Drum notes are those of channel 9."""


class Header(NamedTuple):
    """What the MThd chunk and the chunk table say."""

    format: int
    ticks_per_quarter: int
    chunks: tuple[tuple[int, int], ...]
    """Byte range of each MTrk chunk's events."""


class Events(NamedTuple):
    """One row for each event of a file, in file order."""

    chunk: np.ndarray
    """Index of its MTrk chunk."""
    tick: np.ndarray
    """Time since the start of its chunk, int64."""
    status: np.ndarray
    """Status byte, running status filled in; 0xFF for meta events, 0xF0 and 0xF7 for system exclusives. Other values
    above 0xF0 are bytes of a live cable that a recorder left in; they mean nothing in a file."""
    first: np.ndarray
    """First data byte; of a meta event its type."""
    second: np.ndarray
    """Second data byte, or 0 where there is none."""
    start: np.ndarray
    """Offset of the event's delta time in the file."""
    body: np.ndarray
    """Offset of what follows the delta time: the status byte, or under running status the first data byte."""
    end: np.ndarray
    """Offset past the event."""

    def select(self, rows: np.ndarray | slice) -> "Events":
        """The events at these row indices, in this slice, or where this mask holds."""
        return Events(*(column[rows] for column in self))


def unwrap(data: bytes, source: str) -> bytes:
    """The Standard MIDI File inside a RIFF wrapper (.rmi), or `data` itself if it is not wrapped."""
    if data[:4] != b"RIFF" or data[8:12] != b"RMID":
        return data
    position = 12
    while position + 8 <= len(data):
        size = int.from_bytes(data[position + 4 : position + 8], "little")
        if data[position : position + 4] == b"data":
            return data[position + 8 : position + 8 + size]
        position += 8 + size + size % 2
    raise MidiError("truncated", source, "a RIFF file without the 'data' chunk that should hold the MIDI file")


def parse_header(data: bytes, source: str) -> Header:
    """Reads the MThd chunk and walks over the chunk table; chunks of unknown type are passed over.

    Raises:
        MidiError: `empty`, `not-midi`, `truncated`, `smpte-division`, `zero-division`, `unknown-format`.
    """
    if not data:
        raise MidiError("empty", source, "the file is empty, expected a MIDI file")
    if data[:4] != b"MThd":
        if b"MThd".startswith(data[:4]):
            raise MidiError("truncated", source, f"ends after {len(data)} bytes, inside the MIDI header")
        raise formats.refusal(data, source)
    if len(data) < 14:
        raise MidiError("truncated", source, f"ends after {len(data)} bytes, inside the 14 bytes of the MIDI header")
    size = int.from_bytes(data[4:8], "big")
    kind, promised, division = (int.from_bytes(data[p : p + 2], "big") for p in (8, 10, 12))
    if size < 6:
        raise MidiError("not-midi", source, f"says its MIDI header is {size} bytes long, at least 6 are needed")
    if kind > 2:
        raise MidiError("unknown-format", source, f"says it is a MIDI file of format {kind}, known are 0, 1 and 2")
    if division & 0x8000:
        raise MidiError(
            "smpte-division", source, "counts time in film frames (SMPTE), not in ticks per quarter; export it anew"
        )
    if division == 0:
        raise MidiError("zero-division", source, "says a quarter note has 0 ticks, so its notes have no duration")
    chunks: list[tuple[int, int]] = []
    position, alien = 8 + size, 0  # some writers count the chunks of their own with the tracks
    while len(chunks) < promised:
        if position + 8 > len(data):
            if alien and len(chunks) + alien >= promised:
                break
            raise MidiError(
                "truncated", source, f"promises {promised} tracks but ends after {len(data)} bytes with {len(chunks)}"
            )
        kind_of_chunk = data[position : position + 4]
        end = position + 8 + int.from_bytes(data[position + 4 : position + 8], "big")
        if end > len(data):
            raise MidiError(
                "truncated",
                source,
                f"the chunk {kind_of_chunk!r} at byte {position} ends at byte {end}, but the file at {len(data)}",
            )
        if kind_of_chunk == b"MTrk":
            chunks.append((position + 8, end))
        else:
            alien += 1
        position = end
    return Header(kind, division, tuple(chunks))


def decode(data: bytes, header: Header, source: str) -> Events:
    """Decodes all events of all chunks.

    Raises:
        MidiError: `bad-event`: an event is cut off by its chunk's end, has a data byte above 127, an undefined status
            or an overlong time, or there is no status to run on.
    """
    most = len(data) // 2 + 1  # an event has two bytes at least
    tick, places, voices = np.empty(most, np.int64), np.empty((4, most), np.int32), np.empty((3, most), np.uint8)
    (chunk, start, body, end), (status, first, second) = places, voices
    starts, ends = np.array(header.chunks, np.int64).reshape(-1, 2).T
    count, bad = loops.decode(
        np.frombuffer(data, np.uint8), starts, ends, chunk, tick, status, first, second, start, body, end
    )
    if bad >= 0:
        raise MidiError(
            "bad-event", source, f"the bytes from {bad} on are no MIDI event: cut off, out of range or of unknown kind"
        )
    # What lies past `count` has never been touched, so it takes no memory.
    columns = (chunk, tick, status, first, second, start, body, end)
    return Events(*(column[:count] for column in columns))


def payload(data: bytes, events: Events, row: int | np.integer) -> bytes:
    """What a meta or system exclusive event carries."""
    position = int(events.body[row]) + (2 if events.status[row] == META else 1)
    while data[position] >= 0x80:  # the length, which decoding has checked
        position += 1
    return data[position + 1 : int(events.end[row])]


def encode(ticks: np.ndarray, pool: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> bytes:
    """Encodes events as the bytes of an MTrk chunk, header and end mark included.

    Args:
        ticks: time of each event since the start of the chunk, ascending.
        pool: bytes that hold every event's body, status byte first.
        starts: where in `pool` each body starts.
        sizes: how long it is.
    """
    gaps = 7 * (int(ticks[-1]) // LONGEST_DELTA + 1) if len(ticks) else 0
    out = np.empty(4 * len(ticks) + int(sizes.sum()) + gaps, np.uint8)
    body = out[: loops.encode(ticks, pool, starts, sizes, out)].tobytes() + b"\x00\xff\x2f\x00"
    return b"MTrk" + len(body).to_bytes(4, "big") + body


def meta(kind: int, payload: bytes) -> bytes:
    """A meta event's body."""
    return bytes([META, kind]) + variable_length(len(payload)) + payload


def variable_length(value: int) -> bytes:
    """MIDI's variable-length quantity: seven bits a byte, most significant first."""
    out = [value & 0x7F]
    while value := value >> 7:
        out.append(value & 0x7F | 0x80)
    return bytes(reversed(out))


def pair(events: Events) -> tuple[np.ndarray, np.ndarray]:
    """The notes (dtype NOTE), with 16 · chunk + channel for a track, and the row of the event that ends each.

    Within a chunk, a note-off ends every note of its channel and pitch that began at an earlier tick. Notes that began
    at its own tick survive it if it ended an earlier one (a writer put "on" before "off"), else they vanish. Notes
    that nothing ends vanish too. Notes come in the order in which they end.

    Source: pretty_midi 0.2.11 `_load_instruments`, which the reference reads MIDI with.
    """
    notes, off = np.empty(len(events.tick), NOTE), np.empty(len(events.tick), np.int32)
    count = loops.pair(events.chunk, events.tick, events.status, events.first, events.second, notes, off)
    return notes[:count], off[:count]


def sound(events: Events, ticks_per_quarter: int) -> tuple[np.ndarray, np.ndarray]:
    """Every note that is struck (dtype NOTE), with 16 · chunk + channel for a track, and the row that ends it, or -1.

    Unlike the reference's `pair`, this is a rule of playing: a note-off ends the earliest note of its channel and pitch
    that has an end at all. A note without one lasts until the next event of its pitch, all-notes-off, or the end of its
    chunk; one whose end has its own tick lasts a sixteenth, or until the pitch is struck again. The program is the one
    in force when the note ends, 255 where its chunk has set none. Where neither overlaps nor missing ends occur, the
    notes are those of `pair`, in the same order.
    """
    notes, off = np.empty(len(events.tick), NOTE), np.empty(len(events.tick), np.int32)
    short = max(ticks_per_quarter // 4, 1)
    columns = (events.chunk, events.tick, events.status, events.first, events.second)
    count = loops.sound(*columns, short, notes, off)
    return notes[:count], off[:count]


def ports(data: bytes, events: Events, rows: Sequence[int], chunks: int) -> np.ndarray:
    """The MIDI port that each chunk asks for first, 0 where it asks for none; `rows` are all PORT events."""
    found = np.zeros(chunks, np.int64)
    for row in reversed(rows):
        found[events.chunk[row]] = next(iter(payload(data, events, row)), 0)
    return found


def live_rows(data: bytes, events: Events) -> np.ndarray:
    """Rows of events that hold bytes of a live cable, which mean nothing in a file."""
    rows = np.empty(len(events.status), np.int32)
    count = loops.live(np.frombuffer(data, np.uint8), events.status, events.body, events.end, rows)
    return rows[:count]
