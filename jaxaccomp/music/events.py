"""The bytes of a Standard MIDI File ⇄ arrays of events.

Decoding is whole-file NumPy. Where an event begins depends on where the one before it ended, which seems to ask for a
loop over events; instead `successor[p]`, the end of the event that *would* begin at byte p, is computed for every
byte at once, composed with itself until it jumps `_STRIDE` events, and only those jumps are followed one by one.

Unlike general readers this keeps, for every event, its chunk, channel and byte range: what a track's bytes are must be
known to keep them.

Source: The Complete MIDI 1.0 Detailed Specification (RP-001 Standard MIDI Files 1.0; RP-029 for RIFF wrapping).
"""

from typing import NamedTuple

import numpy as np

from jaxaccomp.errors import MidiError

NOTE_OFF, NOTE_ON, CONTROL, PROGRAM, BEND = 0x80, 0x90, 0xB0, 0xC0, 0xE0
META = 0xFF
TEXT, TRACK_NAME, INSTRUMENT_NAME, LYRIC, PORT, END_OF_TRACK, TEMPO, METRE, KEY = (
    0x01, 0x03, 0x04, 0x05, 0x21, 0x2F, 0x51, 0x58, 0x59,
)  # fmt: skip

_STRIDE_LOG2 = 4
_SYSEX, _SYSEX_MORE = 0xF0, 0xF7
_BAD = 0
_DATA_BYTES = np.array([2] * 0xC0 + [1] * 0x20 + [2] * 0x10 + [0, 1, 2, 1] + [0] * 12, np.uint8)
"""Data bytes after a status; below 0x80 stands running status, taken for that of a message with two."""


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
    """Status byte, running status filled in; 0xFF for meta events, 0xF0 and 0xF7 for system exclusives."""
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

    def select(self, rows: np.ndarray) -> "Events":
        """The events at these row indices, or where this mask holds."""
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
        raise MidiError("not-midi", source, f"starts with {data[:4]!r}, a MIDI file starts with b'MThd'")
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
    position = 8 + size
    while len(chunks) < promised:
        if position + 8 > len(data):
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
        position = end
    return Header(kind, division, tuple(chunks))


def decode(data: bytes, header: Header, source: str) -> Events:
    """Decodes all events of all chunks.

    Raises:
        MidiError: `bad-event`: an event is cut off by its chunk's end, has a data byte above 127, an undefined status
            or an overlong time, or there is no status to run on.
    """
    padded = np.frombuffer(data + bytes(8), np.uint8)
    where, delta_bytes, successor = _successors(padded, len(data))
    position, chunk = _chain(successor, header.chunks)
    events = _fields(padded, where, delta_bytes, successor, position, chunk)
    running = events.status < 0x80
    if running.any():
        status = _running_status(events, source)
        if (running & (_DATA_BYTES[status] == 1)).any():
            # Here running status stands for messages of one data byte. That is rare; walk event by event.
            position, chunk, ends = _walk(padded, where, successor, header.chunks)
            events = _fields(padded, where, delta_bytes, successor, position, chunk)._replace(end=ends)
            status = _running_status(events, source)
        events = events._replace(
            status=status, second=np.where(_DATA_BYTES[status] == 2, events.second, 0).astype(np.uint8)
        )
    return _checked(padded, events, header, source)


def _successors(padded: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each byte: where an event's body, its delta time's width, and the next event would be if one began there."""
    rows = size + 2  # the file's end is a proper place to get to; one past it is where all that overruns it goes
    more = (padded >= 0x80).view(np.uint8)
    delta_bytes = more[:rows] & more[1 : rows + 1]
    second = delta_bytes & more[2 : rows + 2]
    delta_bytes += second
    delta_bytes += more[:rows]
    delta_bytes += 1
    where = np.arange(rows)
    where += delta_bytes
    status = padded.take(where, mode="clip")
    successor = where + _STEP.take(status)
    for p in np.flatnonzero(_VARIABLE.take(status)).tolist():
        successor[p] = _payload_range(padded, int(where[p]), size)[1]
    np.minimum(successor, size + 1, out=successor)
    return where, delta_bytes, successor


_STEP = _DATA_BYTES + (np.arange(256) >= 0x80).astype(np.uint8)
"""Bytes of an event's body by its first byte; 0xF0, 0xF7 and 0xFF are longer."""
_VARIABLE = np.isin(np.arange(256), (_SYSEX, _SYSEX_MORE, META))


def _payload_range(padded: np.ndarray, body: int, size: int) -> tuple[int, int]:
    """Byte range of a meta or sysex event's payload; a length that cannot be leads past `size`."""
    p = body + (2 if padded[min(body, size)] == META else 1)
    length = 0
    for _ in range(4):
        if p >= size:
            return size + 1, size + 1
        byte = int(padded[p])
        p += 1
        length = length << 7 | byte & 0x7F
        if byte < 0x80:
            return p, p + length
    return size + 1, size + 1


def _chain(successor: np.ndarray, chunks: tuple[tuple[int, int], ...]) -> tuple[np.ndarray, np.ndarray]:
    """Follows `successor` from the start to the end of each chunk: (position, chunk) of each event."""
    jumps = [successor]
    for _ in range(_STRIDE_LOG2):
        jumps.append(jumps[-1].take(jumps[-1], mode="clip"))
    stride = memoryview(jumps[-1])
    sparse: list[int] = []
    counts: list[int] = []
    for p, end in chunks:
        before = len(sparse)
        while p < end:
            sparse.append(p)
            p = stride[p]
        counts.append(len(sparse) - before)
    position = np.array(sparse, np.int64)
    for jump in reversed(jumps[:-1]):
        position = np.stack([position, jump.take(position, mode="clip")], 1).ravel()
    chunk = np.repeat(np.arange(len(chunks)), np.array(counts, np.int64) << _STRIDE_LOG2)
    inside = position < np.array([end for _, end in chunks], np.int64)[chunk]
    return position[inside], chunk[inside]


def _walk(padded, where, successor, chunks) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `_chain` does, one event after the other, knowing each event's running status: (position, chunk, end)."""
    position, chunk, ends = [], [], []
    for index, (p, end) in enumerate(chunks):
        status = 0x90
        while p < end:
            body = int(where[p])
            byte = int(padded[body])
            if 0x80 <= byte < 0xF0:
                status = byte
            after = body + int(_DATA_BYTES[status]) if byte < 0x80 else int(successor[p])
            position.append(p)
            chunk.append(index)
            ends.append(after)
            p = after
    return tuple(np.array(column, np.int64) for column in (position, chunk, ends))


def _fields(padded, where, delta_bytes, successor, position, chunk) -> Events:
    body = where[position]
    width = delta_bytes[position]
    head = padded[body]
    data = body + (head >= 0x80)
    delta = (padded[position] & 0x7F).astype(np.int64)
    for k in (1, 2, 3):
        wide = np.flatnonzero(width > k)
        if len(wide):
            delta[wide] = delta[wide] << 7 | padded[position[wide] + k] & 0x7F
    tick = np.cumsum(delta)
    if len(chunk):
        first = np.flatnonzero(np.diff(chunk, prepend=-1))
        tick -= np.repeat(tick[first] - delta[first], np.diff(first, append=len(chunk)))
    second = np.where(_STEP[head] - (head >= 0x80) == 2, padded[data + 1], 0).astype(np.uint8)
    return Events(chunk, tick, head, padded[data], second, position, body, successor[position])


def _running_status(events: Events, source: str) -> np.ndarray:
    """Fills each running status with the last channel message's; meta and sysex events in between do not break it."""
    row = np.arange(len(events.status))
    explicit = (events.status >= 0x80) & (events.status < 0xF0)
    last = np.maximum.accumulate(np.where(explicit, row, -1))
    running = events.status < 0x80
    lost = running & ((last < 0) | (events.chunk[last] != events.chunk))
    if lost.any():
        at = int(events.start[lost.argmax()])
        raise MidiError("bad-event", source, f"the event at byte {at} relies on a status that no earlier event gives")
    return np.where(running, events.status[last], events.status)


def _checked(padded: np.ndarray, events: Events, header: Header, source: str) -> Events:
    """The events, less what follows each chunk's end mark, once all of them make sense."""
    ends = np.array([end for _, end in header.chunks], np.int64)
    voice = events.status < 0xF0
    bad = voice & ((events.first >= 0x80) | (events.second >= 0x80))
    bad |= (events.status > _SYSEX) & (events.status != _SYSEX_MORE) & (events.status != META)
    bad |= events.end > ends[events.chunk]
    bad |= (events.body - events.start == 4) & (padded[events.body - 1] >= 0x80)
    if not bad.any():
        return events
    # Some writers leave rubbish behind the end mark; nothing reads it, so it may be as bad as it likes.
    marks = np.flatnonzero((events.status == META) & (events.first == END_OF_TRACK) & ~bad)
    kept = np.ones(len(bad), bool)
    for mark in marks[::-1].tolist():
        kept[mark + 1 :] &= events.chunk[mark + 1 :] != events.chunk[mark]
    if (bad & kept).any():
        at = int(events.start[(bad & kept).argmax()])
        raise MidiError(
            "bad-event", source, f"the bytes from {at} on are no MIDI event: cut off, out of range or of unknown kind"
        )
    return events.select(kept)


def payload(data: bytes, events: Events, row: int) -> bytes:
    """What a meta or system exclusive event carries."""
    start, end = _payload_range(np.frombuffer(data + bytes(8), np.uint8), int(events.body[row]), len(data))
    return data[start:end]


def encode(ticks: np.ndarray, pool: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> bytes:
    """Encodes events as the bytes of an MTrk chunk, header and end mark included.

    Args:
        ticks: time of each event since the start of the chunk, ascending.
        pool: bytes that hold every event's body, status byte first.
        starts: where in `pool` each body starts.
        sizes: how long it is.
    """
    ticks, sizes = np.asarray(ticks, np.int64), np.asarray(sizes, np.int64)
    delta = np.diff(ticks, prepend=0)
    widths = 1 + (delta >= 1 << 7).astype(np.int64) + (delta >= 1 << 14) + (delta >= 1 << 21)
    ends = np.cumsum(widths + sizes)
    bodies = ends - sizes
    out = np.empty(int(ends[-1]) if len(ends) else 0, np.uint8)
    for k in range(4):
        wide = np.flatnonzero(widths > k)
        out[bodies[wide] - 1 - k] = delta[wide] >> 7 * k & 0x7F | (0x80 if k else 0)
    spread = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    out[np.repeat(bodies, sizes) + spread] = pool[np.repeat(np.asarray(starts, np.int64), sizes) + spread]
    body = out.tobytes() + b"\x00\xff\x2f\x00"
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
    """Which note-off ends which note-on: row indices (on, off), in order of the offs.

    Within a chunk, a note-off ends every note of its channel and pitch that began at an earlier tick. Notes that began
    at its own tick survive it if it ended an earlier one (a writer put "on" before "off"), else they vanish. Notes
    that nothing ends vanish too.

    Source: pretty_midi 0.2.11 `_load_instruments`, which the reference reads MIDI with.
    """
    kind = events.status & 0xF0
    rows = np.flatnonzero((kind == NOTE_ON) | (kind == NOTE_OFF))
    key = (events.chunk[rows] << 11) | ((events.status[rows] & 0x0F).astype(np.int64) << 7) | events.first[rows]
    rows = np.sort(key << 32 | rows)  # sorting one number is much faster than sorting by two keys
    key, rows = rows >> 32, rows & 0xFFFFFFFF
    is_on = ((events.status[rows] & 0xF0) == NOTE_ON) & (events.second[rows] > 0)
    offs = np.flatnonzero(~is_on)
    ons = np.flatnonzero(is_on)
    if not len(offs) or not len(ons):
        return rows[:0], rows[:0]
    tick = events.tick[rows]
    t, k = tick[offs], key[offs]
    # Each off has a run of ons since the off before it. `closes`: whether it ends any note at all.
    run = np.cumsum(~is_on)[ons]  # index, among the offs, of the off that follows each on
    listened = run < len(offs)
    listened[listened] = k[run[listened]] == key[ons[listened]]
    ons, run = ons[listened], run[listened]
    early = tick[ons] < t[run]
    has_early = np.zeros(len(offs), bool)
    has_early[run[early]] = True
    has_late = np.zeros(len(offs), bool)
    has_late[run[~early]] = True
    # A note kept by one off is ended by the next one of its key at a later tick, which thereby closes something too.
    carries = np.zeros(len(offs), bool)
    carries[1:] = has_late[:-1] & (k[1:] == k[:-1]) & (t[1:] > t[:-1])
    index = np.arange(len(offs))
    caused = np.maximum.accumulate(np.where(has_early, index, -1))
    broken = np.maximum.accumulate(np.where(carries, -1, index))
    closes = (caused >= 0) & (caused >= broken)
    heir = np.minimum(run + 1, len(offs) - 1)
    survives = ~early & closes[run] & carries[heir] & (run + 1 < len(offs))
    chosen = early | survives
    on, off = rows[ons[chosen]], rows[offs[np.where(early, run, heir)[chosen]]]
    order = np.sort(off << 32 | on)
    return order & 0xFFFFFFFF, order >> 32
