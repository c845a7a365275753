"""New music → the bytes of a Standard MIDI File: parts become MTrk chunks, chunks become a file."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from jaxaccomp.music import smf

DRUM_CHANNEL = 9
"""Counted from 0: what musicians call channel 10."""


class Part(NamedTuple):
    """A track to be made, for `build`."""

    name: str
    channel: int
    program: int
    notes: np.ndarray
    """Of dtype NOTE; channel, program and track fields are ignored."""
    controls: Sequence[tuple[int, int, int, int]] = ()
    """Other channel messages of two data bytes: (tick, kind of status such as 0xB0, first, second)."""
    port: int = 0
    """MIDI port; 0 for the usual one."""
    program_ticks: Sequence[int] = (0,)
    """When the program is sent; again after each reset of the synthesizer."""


def build(
    ticks_per_quarter: int,
    parts: Iterable[Part],
    tempos: Sequence[tuple[int, int]] = ((0, 500_000),),
    metres: Sequence[tuple[int, int, int]] = (),
    marks: Sequence[tuple[int, bytes]] = (),
) -> bytes:
    """A file of format 1: a chunk with tempos and metres, then one chunk for each part.

    Args:
        ticks_per_quarter: 1 to 32767.
        parts: tracks; notes of one pitch that overlap within one part cannot be told apart in MIDI and merge.
        tempos: (tick, microseconds per quarter).
        metres: (tick, numerator, denominator).
        marks: other meta events of the first chunk: (tick, body).
    """
    first = [(tick, smf.meta(smf.TEMPO, us.to_bytes(3, "big"))) for tick, us in tempos]
    first += [
        (tick, smf.meta(smf.METRE, bytes([numerator, denominator.bit_length() - 1, 24, 8])))
        for tick, numerator, denominator in metres
    ]
    return assemble(1, ticks_per_quarter, [encode_marks([*first, *marks]), *(encode_part(part) for part in parts)])


def assemble(kind: int, ticks_per_quarter: int, chunks: Sequence[bytes]) -> bytes:
    """A Standard MIDI File of these MTrk chunks, headers included."""
    header = b"".join(number.to_bytes(2, "big") for number in (kind, len(chunks), ticks_per_quarter))
    return b"MThd\x00\x00\x00\x06" + header + b"".join(chunks)


def encode_marks(marks: Iterable[tuple[int, bytes]]) -> bytes:
    """An MTrk chunk of (tick, event body) pairs, put in order of time."""
    marks = sorted(marks, key=lambda mark: mark[0])
    sizes = np.array([len(body) for _, body in marks], np.int64)
    pool = np.frombuffer(b"".join(body for _, body in marks), np.uint8)
    return smf.encode(np.array([tick for tick, _ in marks], np.int64), pool, np.cumsum(sizes) - sizes, sizes)


def encode_part(part: Part) -> bytes:
    """An MTrk chunk with the part's name, program, other messages and notes; offs come before ons of the same tick."""
    heads = [smf.meta(smf.TRACK_NAME, part.name.encode("utf-8"))]
    heads += [smf.meta(smf.PORT, bytes([part.port]))] if part.port else []
    heads += [bytes([smf.PROGRAM | part.channel, part.program])] * len(part.program_ticks)
    notes, other = part.notes, np.array(part.controls, np.int64).reshape(-1, 4)
    offs, ons, between = (np.zeros((count, 3), np.uint8) for count in (len(notes), len(notes), len(other)))
    offs[:, 0], ons[:, 0] = smf.NOTE_OFF | part.channel, smf.NOTE_ON | part.channel
    offs[:, 1] = ons[:, 1] = notes["pitch"]
    ons[:, 2] = notes["velocity"]
    between[:, 0], between[:, 1:] = other[:, 1] | part.channel, other[:, 2:]
    head_ticks = [0] * (len(heads) - len(part.program_ticks)) + list(part.program_ticks)
    ticks = np.concatenate([np.array(head_ticks, np.int64), notes["end"], other[:, 0], notes["start"]])
    order = np.argsort(ticks, kind="stable")
    pool = np.frombuffer(b"".join([*heads, offs.tobytes(), between.tobytes(), ons.tobytes()]), np.uint8)
    sizes = np.concatenate([np.array([len(head) for head in heads]), np.full(len(ticks) - len(heads), 3)])
    return smf.encode(ticks[order], pool, (np.cumsum(sizes) - sizes)[order], sizes[order])


def excerpt(data: bytes, events: smf.Events, offs: np.ndarray | None = None) -> bytes:
    """An MTrk chunk of some events of a chunk: their own bytes, with new delta times and running status spelt out.

    Args:
        data: the file.
        events: which, in order.
        offs: notes (dtype NOTE) that get a note-off of their own at their end, before whatever else has that tick.
    """
    is_end = (events.status == smf.META) & (events.first == smf.END_OF_TRACK)
    is_live = (events.status > 0xF0) & (events.status < smf.META) & (events.status != 0xF7)
    events = events.select(~(is_end | is_live))
    source = np.frombuffer(data, np.uint8)
    voice = events.status < 0xF0
    spelt = np.stack([events.status, events.first, events.second], 1).ravel()
    starts = np.where(voice, len(source) + 3 * np.arange(len(voice)), events.body)
    short = (events.status & 0xE0) == 0xC0  # program changes and channel pressure have one data byte
    sizes = np.where(voice, np.where(short, 2, 3), events.end - events.body)
    ticks, pool = events.tick, [source, spelt]
    if offs is not None and len(offs):
        added = np.zeros((len(offs), 3), np.uint8)
        added[:, 0], added[:, 1] = smf.NOTE_OFF | offs["channel"], offs["pitch"]
        pool.append(added.ravel())
        ticks = np.concatenate([offs["end"], ticks])
        order = np.argsort(ticks, kind="stable")
        ticks = ticks[order]
        starts = np.concatenate([len(source) + len(spelt) + 3 * np.arange(len(offs)), starts])[order]
        sizes = np.concatenate([np.full(len(offs), 3), sizes])[order]
    return smf.encode(ticks, np.concatenate(pool), starts, sizes)
