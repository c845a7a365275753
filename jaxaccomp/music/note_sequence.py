"""Bytes of a MIDI file ⇄ note_seq.NoteSequence, for `Score.from_note_sequence` and `Score.to_note_sequence`.

note_seq is imported when first needed: it brings librosa and takes seconds.
"""

from typing import Any

import numpy as np

from jaxaccomp.errors import MidiError
from jaxaccomp.music import smf, text
from jaxaccomp.music.build import DRUM_CHANNEL, Part, build
from jaxaccomp.music.smf import NOTE
from jaxaccomp.music.timeline import Clock, Timeline

_USUAL_TICKS_PER_QUARTER = 220
_OTHER_CHANNELS = [channel for channel in range(16) if channel != DRUM_CHANNEL]


def decode(sequence: Any) -> tuple[bytes, str, Timeline]:
    """Renders a NoteSequence as a MIDI file: one chunk for each instrument, times rounded to ticks.

    What a MIDI file cannot say stays out of it: notes of velocity 0, of pitches past 127, annotations.

    Returns:
        The file, what to call it in messages, and the exact seconds of all notes.

    Raises:
        MidiError: `impossible-tempo`, `negative-time`.
    """
    source = sequence.filename or sequence.id or "<NoteSequence>"
    exact = Timeline.from_note_sequence(sequence)
    if len(exact.start_s) and exact.start_s.min() < 0:
        raise MidiError("negative-time", source, f"has a note at {exact.start_s.min()} s, before the music begins")
    quarter = sequence.ticks_per_quarter if 0 < sequence.ticks_per_quarter < 1 << 15 else _USUAL_TICKS_PER_QUARTER
    ruler = _Ruler(exact.tempos, quarter, source)
    keys = [
        (ruler.tick(key.time), smf.meta(smf.KEY, _key_bytes(key.key, key.mode == key.MINOR)))
        for key in sequence.key_signatures
    ]
    metres = [
        (ruler.tick(time), numerator, denominator)
        for time, numerator, denominator in exact.metres
        if 0 < numerator < 256 and 0 < denominator <= 128 and denominator & (denominator - 1) == 0
    ]
    names = {info.instrument: info.name for info in sequence.instrument_infos}
    pitched = 0
    parts = []
    for instrument, program, is_drum in _instruments(exact):
        controls = [
            (ruler.tick(control.time), smf.CONTROL, control.control_number & 127, control.control_value & 127)
            for control in sequence.control_changes
            if (control.instrument, control.program, control.is_drum) == (instrument, program, is_drum)
        ] + [
            (ruler.tick(bend.time), smf.BEND, bend.bend + 8192 & 127, (bend.bend + 8192) >> 7 & 127)
            for bend in sequence.pitch_bends
            if (bend.instrument, bend.program, bend.is_drum) == (instrument, program, is_drum)
        ]
        mine = (exact.instrument == instrument) & (exact.program == program) & (exact.is_drum == is_drum)
        mine &= (exact.velocity > 0) & (exact.velocity < 128) & (exact.pitch >= 0) & (exact.pitch < 128)
        notes = np.zeros(int(mine.sum()), NOTE)
        notes["start"] = ruler.ticks(exact.start_s[mine])
        notes["end"] = np.maximum(ruler.ticks(exact.end_s[mine]), notes["start"] + 1)
        notes["pitch"], notes["velocity"] = exact.pitch[mine], exact.velocity[mine]
        channel = DRUM_CHANNEL if is_drum else _OTHER_CHANNELS[pitched % len(_OTHER_CHANNELS)]
        pitched += not is_drum
        parts.append(Part(names.get(instrument, ""), channel, program & 127, notes, controls))
    return build(quarter, parts, ruler.tempos, metres, keys), source, exact


def encode(data: bytes, header: smf.Header, events: smf.Events, timeline: Timeline, is_exact: bool) -> Any:
    """The NoteSequence that note_seq makes of the same file, field for field.

    Args:
        data: the file.
        header: its header.
        events: its events.
        timeline: its notes in seconds.
        is_exact: whether the file was made from these seconds, by `decode`.

    Source: note_seq midi_io.midi_to_note_sequence, pretty_midi 0.2.11.
    """
    from note_seq.protobuf import music_pb2

    sequence = music_pb2.NoteSequence(ticks_per_quarter=header.ticks_per_quarter, total_time=timeline.total_s)
    sequence.source_info.parser = music_pb2.NoteSequence.SourceInfo.PRETTY_MIDI
    sequence.source_info.encoding_type = music_pb2.NoteSequence.SourceInfo.MIDI
    for time, numerator, denominator in timeline.metres:
        sequence.time_signatures.add(time=time, numerator=numerator, denominator=denominator)
    clock = Clock(data, header, events)
    for row in clock.rows(events, smf.KEY):
        said = smf.payload(data, events, row)
        if len(said) == 2 and said[1] in (0, 1):
            key = (7 * int.from_bytes(said[:1], signed=True) + 9 * said[1]) % 12
            sequence.key_signatures.add(time=clock.second(events.tick[row]), key=key, mode=said[1])
    for time, qpm in timeline.tempos:
        sequence.tempos.add(time=time, qpm=qpm)
    order = np.argsort(timeline.instrument, kind="stable")
    columns = [column[order].tolist() for column in timeline[:7]]
    for start, end, pitch, velocity, instrument, program, is_drum in zip(*columns, strict=True):
        sequence.notes.add(
            start_time=start, end_time=end, pitch=pitch, velocity=velocity, instrument=instrument, program=program,
            is_drum=is_drum,
        )  # fmt: skip
    for number, program, is_drum, name, rows in _messages(data, events, timeline, is_exact):
        if name:
            sequence.instrument_infos.add(instrument=number, name=name)
        common = {"instrument": number, "program": program, "is_drum": is_drum}
        for row in rows:
            time, first, second = clock.second(events.tick[row]), int(events.first[row]), int(events.second[row])
            if events.status[row] & 0xF0 == smf.BEND:
                sequence.pitch_bends.add(time=time, bend=(second << 7 | first) - 8192, **common)
            else:
                sequence.control_changes.add(time=time, control_number=first, control_value=second, **common)
    return sequence


def _instruments(exact: Timeline) -> list[tuple[int, int, bool]]:
    """(instrument, program, drums) of all that play, in order; the chunks of a Score made from seconds, from 1 on."""
    columns = (exact.instrument.tolist(), exact.program.tolist(), exact.is_drum.tolist())
    return sorted(set(zip(*columns, strict=True)))


class _Ruler:
    """Seconds → ticks by a NoteSequence's tempos, as rounded to the microseconds a MIDI file can say."""

    def __init__(self, tempos: tuple[tuple[float, float], ...], quarter: int, source: str):
        self.tempos: list[tuple[int, int]] = []
        self._times, self._scales, self._ticks = [0.0], [quarter / 0.5], [0.0]
        for time, qpm in sorted(tempos, key=lambda tempo: tempo[0]):  # of two at one time the later one counts
            microseconds = round(6e7 / qpm) if qpm > 0 else 0
            if not 0 < microseconds < 1 << 24:
                raise MidiError("impossible-tempo", source, f"has a tempo of {qpm} quarter notes a minute at {time} s")
            self._ticks.append(float(self.tick(time)))
            self._times.append(time)
            self._scales.append(quarter * 1e6 / microseconds)
            self.tempos.append((int(self._ticks[-1]), microseconds))

    def ticks(self, seconds: np.ndarray) -> np.ndarray:
        at = np.maximum(np.searchsorted(self._times, seconds, side="right") - 1, 0)
        times, scales, ticks = np.array(self._times), np.array(self._scales), np.array(self._ticks)
        return np.rint(ticks[at] + (seconds - times[at]) * scales[at]).astype(np.int64)

    def tick(self, seconds: float) -> int:
        return max(0, int(self.ticks(np.array([seconds]))[0]))


def _key_bytes(key: int, minor: bool) -> bytes:
    """A key signature's payload: sharps (negative for flats) and mode."""
    sharps = ((key - 9 * minor) * 7 + 5) % 12 - 5
    return sharps.to_bytes(1, signed=True) + bytes([minor])


def _messages(data: bytes, events: smf.Events, timeline: Timeline, is_exact: bool):
    """(instrument, program, drums, name, rows of control changes and bends) of each instrument in order.

    The reference collects messages that come before an instrument's first completed note with the channel's other such
    stragglers, and hands that one list to every instrument made from then on.
    """
    if is_exact:
        is_message = ((events.status & 0xF0) == smf.CONTROL) | ((events.status & 0xF0) == smf.BEND)
        for chunk, (number, program, is_drum) in enumerate(_instruments(timeline), start=1):
            titles = np.flatnonzero((events.status == smf.META) & (events.first == smf.TRACK_NAME))
            titles = titles[events.chunk[titles] == chunk]
            name = text.decode(smf.payload(data, events, titles[-1])) if len(titles) else ""
            rows = np.flatnonzero(is_message & (events.chunk == chunk)).tolist()
            yield number, program, is_drum, name, _bends_first(events, rows)
        return
    _, off = smf.pair(events)
    lists: dict[tuple[int, int, int], list[int]] = {}
    stragglers: dict[tuple[int, int], list[int]] = {}
    current: dict[tuple[int, int], int] = {}
    names: dict[int, str] = {}
    made: list[tuple[int, str]] = []
    completed = dict(zip(off[::-1].tolist(), range(len(off) - 1, -1, -1), strict=True))
    kind = events.status & 0xF0
    wanted = (kind == smf.CONTROL) | (kind == smf.BEND) | (kind == smf.PROGRAM)
    wanted |= (events.status == smf.META) & (events.first == smf.TRACK_NAME)
    wanted[off] = True
    for row in np.flatnonzero(wanted).tolist():
        chunk, status = int(events.chunk[row]), int(events.status[row])
        owner = chunk, status & 0x0F
        player = (current.get(owner, 0), *owner)
        if row in completed:
            if player not in lists:
                lists[player] = stragglers.get(owner, [])
                made.append((completed[row], names.get(chunk, "")))
        elif status == smf.META:
            names[chunk] = smf.payload(data, events, row).decode("latin-1")
        elif status & 0xF0 == smf.PROGRAM:
            current[owner] = int(events.first[row])
        elif player in lists:
            lists[player].append(row)
        else:
            stragglers.setdefault(owner, []).append(row)
    for number, ((program, _, channel), (_, name)) in enumerate(zip(lists, made, strict=True)):
        yield number, program, channel == DRUM_CHANNEL, name, _bends_first(events, list(lists.values())[number])


def _bends_first(events: smf.Events, rows: list[int]) -> list[int]:
    return sorted(rows, key=lambda row: (events.status[row] & 0xF0) != smf.BEND)
