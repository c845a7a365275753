"""A piece of music in seconds, as the reference's MIDI reader hears it; what training windows are cut from.

Time in seconds is the reference's choice and its float arithmetic is repeated exactly: whether a note rounds up to
the next sixteenth may hang on the last bit. Everything else in this package counts ticks.
"""

from typing import Any, NamedTuple

import numpy as np

from jaxaccomp.music import smf


class Timeline(NamedTuple):
    """Notes, one row each, and the tempos and time signatures, all in seconds.

    Source: note_seq midi_io and pretty_midi 0.2.11 (spec §7.0).
    """

    start_s: np.ndarray
    end_s: np.ndarray
    pitch: np.ndarray
    velocity: np.ndarray
    instrument: np.ndarray
    """Number of the (chunk, channel, program) it is played by, in order of first completed note."""
    program: np.ndarray
    is_drum: np.ndarray
    tempos: tuple[tuple[float, float], ...]
    """(time, quarters per minute), from the file's first chunk alone."""
    metres: tuple[tuple[float, int, int], ...]
    """(time, numerator, denominator), from the file's first chunk alone."""
    total_s: float

    @classmethod
    def from_file(cls, data: bytes, header: smf.Header, events: smf.Events, notes: np.ndarray) -> "Timeline":
        """Hears a decoded file.

        Args:
            data: the file.
            header: its header.
            events: its events.
            notes: its notes (midi.NOTE), in order of their ends.
        """
        clock = Clock(data, header, events)
        instrument = np.zeros(0, np.int64)
        if len(notes):
            player = notes["track"].astype(np.int64) << 7 | notes["program"]
            changes = np.flatnonzero(np.diff(player, prepend=-1))  # a player's notes mostly lie together
            _, first, inverse = np.unique(player[changes], return_index=True, return_inverse=True)
            rank = np.empty(len(first), np.int64)
            rank[np.argsort(first)] = np.arange(len(first))
            instrument = np.repeat(rank[inverse], np.diff(changes, append=len(player)))
        end_s = clock.seconds(notes["end"])
        metres = []
        for row in clock.rows(events, smf.METRE):
            said = smf.payload(data, events, row)
            if len(said) >= 2:
                metres.append((clock.second(events.tick[row]), said[0], 1 << said[1]))
        return cls(
            start_s=clock.seconds(notes["start"]),
            end_s=end_s,
            pitch=notes["pitch"].astype(np.int64),
            velocity=notes["velocity"].astype(np.int64),
            instrument=instrument,
            program=notes["program"].astype(np.int64),
            is_drum=notes["channel"] == 9,
            tempos=clock.tempos,
            metres=tuple(metres),
            total_s=float(end_s.max()) if len(notes) else 0.0,
        )

    @classmethod
    def from_note_sequence(cls, sequence: Any) -> "Timeline":
        """Takes over a note_seq.NoteSequence's numbers as they are."""
        notes = sequence.notes
        column = lambda name, kind: np.array([getattr(note, name) for note in notes], kind)  # noqa: E731
        return cls(
            start_s=column("start_time", np.float64),
            end_s=column("end_time", np.float64),
            pitch=column("pitch", np.int64),
            velocity=column("velocity", np.int64),
            instrument=column("instrument", np.int64),
            program=column("program", np.int64),
            is_drum=column("is_drum", bool),
            tempos=tuple((tempo.time, tempo.qpm) for tempo in sequence.tempos),
            metres=tuple((metre.time, metre.numerator, metre.denominator) for metre in sequence.time_signatures),
            total_s=sequence.total_time,
        )


class Clock:
    """Ticks → seconds by the tempos of a file's first chunk, in the reference's order of float operations."""

    def __init__(self, data: bytes, header: smf.Header, events: smf.Events):
        quarter = header.ticks_per_quarter
        starts, scales = [0], [60.0 / (120.0 * quarter)]
        for row in self.rows(events, smf.TEMPO):
            microseconds = int.from_bytes(smf.payload(data, events, row)[:3], "big")
            scale = 60.0 / ((6e7 / microseconds) * quarter)
            tick = int(events.tick[row])
            if tick == 0:
                starts, scales = [0], [scale]
            elif scale != scales[-1]:
                starts.append(tick)
                scales.append(scale)
        elapsed = [0.0]
        for start, end, scale in zip(starts, starts[1:], scales, strict=False):
            elapsed.append(elapsed[-1] + scale * (end - start))
        self._starts, self._scales, self._elapsed = np.array(starts), np.array(scales), np.array(elapsed)
        self.tempos = tuple(
            (self.second(start), 60.0 / (scale * quarter)) for start, scale in zip(starts, scales, strict=True)
        )

    def seconds(self, ticks: np.ndarray) -> np.ndarray:
        """The time of each tick, in seconds."""
        segment = np.searchsorted(self._starts, ticks, side="right") - 1
        return self._elapsed[segment] + self._scales[segment] * (ticks - self._starts[segment])

    def second(self, tick: int | np.integer) -> float:
        """The time of one tick, in seconds."""
        return float(self.seconds(np.array([tick]))[0])

    @staticmethod
    def rows(events: smf.Events, kind: int) -> list[int]:
        """Events of this meta kind in the first chunk."""
        chosen = (events.status == smf.META) & (events.first == kind) & (events.chunk == 0)
        return np.flatnonzero(chosen).tolist()
