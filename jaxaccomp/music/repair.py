"""Damaged MIDI files that still hold music: what makes sense of them, written as a sound file.

    data, repaired = mend(data, source)        # repaired: what was mended, in words

Chunks that read well are copied as they are; of the others, the events up to the first that makes no sense.
"""

import numpy as np

from jaxaccomp.errors import MidiError
from jaxaccomp.music import build, loops, smf

_FARTHEST_HEADER = 65_536
"""How many bytes may lie before the header."""
_FRAMES_PER_S = {24: 24.0, 25: 25.0, 29: 30_000 / 1001, 30: 30.0}
_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 _-")


def mend(data: bytes, source: str) -> tuple[bytes, tuple[str, ...]]:
    """Writes what can be read of a damaged file as a sound one.

    Args:
        data: the file.
        source: what to call it in messages.

    Raises:
        MidiError: `not-midi`, `unknown-format`, `zero-division`, `truncated`: no header, format, time, or track.
    """
    start = data.find(b"MThd", 0, _FARTHEST_HEADER)
    if start < 0 or start + 14 > len(data):
        raise MidiError("not-midi", source, "has no MIDI header")
    told = []
    if start:
        told.append(f"{start} bytes before the MIDI header passed over")
    kind, promised, division = (int.from_bytes(data[start + p : start + p + 2], "big") for p in (8, 10, 12))
    if division == 0 or (division & 0x8000 and not division & 0xFF):
        raise MidiError("zero-division", source, "says a quarter note has 0 ticks, so its notes have no duration")
    chunks, said = _chunks(data, start)
    told += said
    if not chunks:
        raise MidiError("truncated", source, "holds no track")
    if len(chunks) < promised and not any("chunk" in part for part in said):
        told.append(f"{promised} tracks promised, {len(chunks)} found")
    chunks = chunks[: max(promised, 1)]
    if kind > 2:
        raise MidiError("unknown-format", source, f"says it is a MIDI file of format {kind}, known are 0, 1 and 2")
    if division & 0x8000:
        division, chunks, said = _in_quarters(division, chunks, source)
        told += said
    return build.assemble(kind, division, chunks), tuple(told)


def _chunks(data: bytes, start: int) -> tuple[list[bytes], list[str]]:
    """MTrk chunks that were found, each sound, and what was mended."""
    found: list[bytes] = []
    told: list[str] = []
    size = int.from_bytes(data[start + 4 : start + 8], "big")
    position = start + 8 + size
    if size < 6 or not _begins_chunk(data, position):
        told.append(f"a MIDI header of {size} bytes taken for 6")
        position = start + 14
    while position < len(data):
        if data[position : position + 4] != b"MTrk":
            after = _end(data, position)
            if _is_chunk_name(data[position : position + 4]) and _begins_chunk(data, after):
                position = after  # a vendor's own chunk
                continue
            following = data.find(b"MTrk", position)
            if following < 0:
                if not found:
                    told.append(f"{len(data) - position} bytes at the end passed over")
                break
            told.append(f"{following - position} bytes at {position} that belong to no chunk passed over")
            position = following
        if position + 8 > len(data):
            told.append("the file ends inside the head of a chunk")
            break
        chunk, position, said = _chunk(data, position, len(found))
        found.append(chunk)
        told += said
    return found, told


def _chunk(data: bytes, position: int, number: int) -> tuple[bytes, int, list[str]]:
    """A sound MTrk chunk made of the one here, where to go on, and what was mended."""
    begin, end = position + 8, _end(data, position)
    fits = _begins_chunk(data, end)
    if fits and _reads_well(data[position:end]):
        return data[position:end], end, []
    stop = end if fits else len(data)
    out = np.empty(2 * (stop - begin) + 16, np.uint8)
    size, reached, is_broken, is_marked, lowered = loops.salvage(np.frombuffer(data, np.uint8), begin, stop, out)
    body = out[:size].tobytes()
    if not is_marked:
        body += b"\x00\xff\x2f\x00"
    told = []
    if lowered:
        told.append(f"track {number}: {lowered} data byte{'s' * (lowered > 1)} above 127 lowered to 127")
    if is_broken:
        told.append(f"track {number}: cut at byte {reached}, where it stops making sense")
    if not fits and reached != end:
        told.append(f"track {number}: its length of {end - begin} bytes taken for {reached - begin}")
    if not fits and not is_marked and not is_broken:
        told.append(f"track {number}: has no end mark")
    chunk = b"MTrk" + len(body).to_bytes(4, "big") + body
    return chunk, end if fits else reached, told


def _reads_well(chunk: bytes) -> bool:
    head = b"MThd\x00\x00\x00\x06\x00\x01\x00\x01\x00\x60"
    try:
        smf.decode(head + chunk, smf.Header(1, 96, ((22, 14 + len(chunk)),)), "")
    except MidiError:
        return False
    return True


def _end(data: bytes, position: int) -> int:
    return position + 8 + int.from_bytes(data[position + 4 : position + 8], "big")


def _begins_chunk(data: bytes, position: int) -> bool:
    """Whether a chunk may begin here, or the file ends."""
    if position >= len(data):
        return position == len(data)
    return data[position : position + 4] == b"MTrk" or (
        _is_chunk_name(data[position : position + 4]) and _end(data, position) <= len(data)
    )


def _is_chunk_name(name: bytes) -> bool:
    return len(name) == 4 and _SAFE.issuperset(name)


def _in_quarters(division: int, chunks: list[bytes], source: str) -> tuple[int, list[bytes], list[str]]:
    """Film frames as quarter notes of 120 beats a minute; tempos, which mean nothing there, go."""
    frames = 256 - (division >> 8)
    rate = _FRAMES_PER_S.get(frames, float(frames)) * (division & 0xFF)  # ticks a second
    quarter = max(round(rate / 2), 1)
    file = build.assemble(1, quarter, chunks)
    header = smf.parse_header(file, source)
    events = smf.decode(file, header, source)
    kept = events.select(~((events.status == smf.META) & np.isin(events.first, [smf.TEMPO, smf.END_OF_TRACK])))
    made = []
    for index in range(len(chunks)):
        made.append(build.excerpt(file, kept.select(kept.chunk == index)))
    tempo = smf.meta(smf.TEMPO, round(1e6 * quarter / rate).to_bytes(3, "big"))
    length = int.from_bytes(made[0][4:8], "big") + 1 + len(tempo)
    made[0] = b"MTrk" + length.to_bytes(4, "big") + b"\x00" + tempo + made[0][8:]
    return quarter, made, [f"time counted in film frames ({frames} a second) read on a grid of 120 beats a minute"]
