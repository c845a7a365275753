"""`Score`: a piece of music as its MIDI file says it, and `read` and `write`.

    score = read("song.mid")                    # a path, or bytes
    score.notes                                 # structured array, see NOTE; times in ticks
    score.tracks[2].name, score.track_notes(2)
    write(score, "copy.mid")                    # byte for byte the same file, written atomically

A Score *is* the bytes of a Standard MIDI File; everything else is a view derived on first use. So nothing a file says
is lost, a Score pickles as its bytes, and what is written is what was read.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from jaxaccomp import files
from jaxaccomp.errors import MidiError
from jaxaccomp.music import formats, note_sequence, repair, smf, synth, text, tracks
from jaxaccomp.music.build import DRUM_CHANNEL as DRUM_CHANNEL
from jaxaccomp.music.build import Part as Part
from jaxaccomp.music.build import build
from jaxaccomp.music.smf import NOTE as NOTE
from jaxaccomp.music.timeline import Timeline
from jaxaccomp.music.tracks import Track as Track

TEMPO = np.dtype([("tick", np.int64), ("microseconds", np.int64)])
"""A tempo, in microseconds per quarter note, and the tick from which it holds."""

_LAST_TEXT = 0x07  # meta events 1 to 7 are text
_MOST_TEXTS = 2000

METRE = np.dtype([("tick", np.int64), ("numerator", np.int64), ("denominator", np.int64)])
"""A time signature and the tick from which it holds."""


_MENDABLE = ("truncated", "not-midi", "smpte-division", "bad-event")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is still taken for music; beyond it, a file is refused as `absurd-length`."""

    bars: int = 20_000
    """Counted as the model counts them: a bar of 12/8 is two."""
    notes: int = 500_000
    bytes: int = 8_000_000


@dataclass(frozen=True, eq=False)
class Score:
    """A piece of music. Make one with `read`, `Score.build` or `Score.from_note_sequence`.

    Attributes:
        data: the whole Standard MIDI File, unwrapped.
        source: what to call it in messages: the file's name.
        limits: refusal thresholds that held when it was read.
        exact: the seconds it was made from, where it was made from seconds; ticks only round them.
        repaired: what had to be mended to read it, one sentence each; see `repair`.
    """

    data: bytes = field(repr=False)
    source: str = "<score>"
    limits: Limits = field(default=Limits(), repr=False)
    exact: Timeline | None = field(default=None, repr=False)
    repaired: tuple[str, ...] = field(default=(), repr=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Score) and self.data == other.data

    def __hash__(self) -> int:
        return hash(self.data)

    def __repr__(self) -> str:
        try:
            return f"Score({self.source!r}, {len(self.tracks)} tracks, {len(self.notes)} notes)"
        except MidiError:  # bytes that nobody has checked yet
            return f"Score({self.source!r}, {len(self.data)} bytes)"

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("data", "source", "limits", "exact", "repaired")}

    @cached_property
    def header(self) -> smf.Header:
        """Format, ticks per quarter, chunk table."""
        return smf.parse_header(self.data, self.source)

    @property
    def ticks_per_quarter(self) -> int:
        """Ticks in a quarter note."""
        return self.header.ticks_per_quarter

    @cached_property
    def events(self) -> smf.Events:
        """Every event of the file, with its byte range."""
        return smf.decode(self.data, self.header, self.source)

    @property
    def notes(self) -> np.ndarray:
        """All notes (dtype NOTE) as a player sounds them, chunk by chunk; see `smf.sound`."""
        return self._sounding[0]

    @property
    def note_ends(self) -> np.ndarray:
        """For each of `notes` the row of `events` that ends it, or -1 where nothing does."""
        return self._sounding[1]

    @cached_property
    def tracks(self) -> tuple[Track, ...]:
        """The parts, chunk by chunk, by channel."""
        return self._sounding[2]

    @property
    def track_of_owner(self) -> np.ndarray:
        """The track of each 16 · chunk + channel, -1 where there is none."""
        return self._sounding[3]

    @cached_property
    def reference_notes(self) -> np.ndarray:
        """All notes (dtype NOTE) as the reference pairs them, in the order in which they end; see `smf.pair`.

        Their track field is 16 · chunk + channel.
        """
        return smf.pair(self.events)[0]

    @cached_property
    def ports(self) -> np.ndarray:
        """MIDI port of each chunk."""
        return smf.ports(self.data, self.events, self.meta_rows(smf.PORT), len(self.header.chunks))

    @cached_property
    def setup(self) -> synth.Setup:
        """Resets of the synthesizer, and which channels are drums."""
        return synth.setup_of(self.data, self.events, self.ports)

    @cached_property
    def _struck(self) -> tuple[np.ndarray, np.ndarray]:
        """Notes and what ends them, before they are sorted into tracks and given the programs of other chunks."""
        return smf.sound(self.events, self.ticks_per_quarter)

    @cached_property
    def _sounding(self) -> tuple[np.ndarray, np.ndarray, tuple[Track, ...], np.ndarray]:
        notes, ends = self._struck
        tracks.fill_programs(notes, self.events, self.ports)
        is_single = self.header.format == 0
        names, setup = self._chunk_names, self.setup
        found, place = tracks.find(notes, self.events, is_single, names, self.ports, setup, self.ticks_per_quarter)
        notes["track"] = place[notes["track"]]
        return notes, ends, found, place

    def track_notes(self, index: int) -> np.ndarray:
        """The notes of one track, by start, then highest first."""
        notes, edges = self.notes_by_track
        return notes[edges[index] : edges[index + 1]]

    def notes_of(self, indices: Sequence[int]) -> np.ndarray:
        """The notes of several tracks together, by start, then highest first."""
        if len(indices) == 1:
            return self.track_notes(indices[0])
        notes = np.concatenate([self.track_notes(index) for index in indices])
        return notes.take(np.argsort(notes["start"] << 7 | 127 - notes["pitch"], kind="stable"))

    @cached_property
    def notes_by_track(self) -> tuple[np.ndarray, np.ndarray]:
        """All notes by track, start, then highest first; and where each track's begin, with the end of the last."""
        notes = self.notes
        track, key = notes["track"], notes["start"] << 7 | 127 - notes["pitch"]
        if len(self.tracks) << 47 < 1 << 63 and int(key.max(initial=0)) < 1 << 47:  # nearly in order, so sorted fast
            order = np.argsort(track.astype(np.int64) << 47 | key, kind="stable")
        else:
            order = np.lexsort((key, track))
        # Of structured arrays `take` makes the same copy as an index, in a third of the time.
        return notes.take(order), np.concatenate([[0], np.cumsum(np.bincount(track, minlength=len(self.tracks)))])

    @cached_property
    def tempos(self) -> np.ndarray:
        """Tempo map (dtype TEMPO) from tick 0 on, of all chunks; of several at one tick the last holds."""
        found = [
            (int(self.events.tick[row]), int.from_bytes(smf.payload(self.data, self.events, row)[:3], "big"))
            for row in self.meta_rows(smf.TEMPO)
        ]
        return _map([(0, 500_000), *found], TEMPO)

    @cached_property
    def metres(self) -> np.ndarray:
        """Time signatures (dtype METRE) from tick 0 on, of all chunks; impossible ones are passed over."""
        found = []
        for row in self.meta_rows(smf.METRE):
            said = smf.payload(self.data, self.events, row)
            if len(said) >= 2 and said[0] > 0 and said[1] <= 7:
                found.append((int(self.events.tick[row]), said[0], 1 << said[1]))
        return _map([(0, 4, 4), *found], METRE)

    @cached_property
    def timeline(self) -> Timeline:
        """The music in seconds, as the reference's MIDI reader hears it."""
        if self.exact is not None:
            return self.exact
        return Timeline.from_file(self.data, self.header, self.events, self.reference_notes)

    @cached_property
    def content_hash(self) -> str:
        """32 hex digits that depend on the notes alone: when, how long, which pitch, which program, drum or not.

        Not on file format, resolution, tempo, velocities, names, or the order of tracks. Equal music has equal random
        numbers and is one song in a dataset. Notes are the reference's, unless it finds none.
        """
        notes, quarter = self.reference_notes, self.ticks_per_quarter
        if not len(notes):
            notes = self.notes
        drums = notes["channel"] == DRUM_CHANNEL
        rows = np.stack(
            [
                (notes["start"] * 960 + quarter // 2) // quarter,
                (notes["end"] * 960 + quarter // 2) // quarter,
                notes["pitch"],
                np.where(drums, 128, notes["program"]),
            ],
            1,
        ).astype("<i8")
        rows = rows[np.lexsort(rows.T[::-1])]
        return hashlib.blake2b(rows.tobytes(), digest_size=16).hexdigest()

    def write(self, path: str | os.PathLike) -> None:
        """Writes the file; see `write`."""
        write(self, path)

    @classmethod
    def build(
        cls,
        ticks_per_quarter: int,
        parts: Iterable[Part],
        tempos: Sequence[tuple[int, int]] = ((0, 500_000),),
        metres: Sequence[tuple[int, int, int]] = (),
        marks: Sequence[tuple[int, bytes]] = (),
        source: str = "<score>",
    ) -> "Score":
        """A Score of new music; see `build.build`, which takes the same arguments.

        Args:
            ticks_per_quarter: 1 to 32767.
            parts: tracks.
            tempos: (tick, microseconds per quarter).
            metres: (tick, numerator, denominator).
            marks: other meta events of the first chunk: (tick, body).
            source: what to call it in messages.
        """
        return cls(build(ticks_per_quarter, parts, tempos, metres, marks), source)

    @classmethod
    def from_note_sequence(cls, sequence: Any) -> "Score":
        """A Score of a `note_seq.NoteSequence`; seconds become ticks of its tempo map, and are kept beside them.

        Raises:
            MidiError: `impossible-tempo`, `negative-time`.
        """
        data, source, exact = note_sequence.decode(sequence)
        return cls(data, source, exact=exact)

    def to_note_sequence(self) -> Any:
        """A `note_seq.NoteSequence` of the same music, as note_seq itself would read the file."""
        return note_sequence.encode(self.data, self.header, self.events, self.timeline, self.exact is not None)

    @cached_property
    def _metas(self) -> np.ndarray:
        return np.flatnonzero(self.events.status == smf.META)

    def meta_rows(self, kind: int) -> list[int]:
        """Rows of the meta events of a kind."""
        return self._metas[self.events.first[self._metas] == kind].tolist()

    @cached_property
    def _chunk_names(self) -> dict[int, str]:
        """The last name each chunk gives itself."""
        rows = self.meta_rows(smf.TRACK_NAME)
        said = {int(self.events.chunk[row]): smf.payload(self.data, self.events, row) for row in rows}
        encoding = "utf-8"
        if not all(name.isascii() for name in said.values()):
            kinds = self.events.first[self._metas]
            rows = self._metas[(kinds >= smf.TEXT) & (kinds <= _LAST_TEXT)]
            encoding = text.encoding_of(smf.payload(self.data, self.events, row) for row in rows[:_MOST_TEXTS])
        return {chunk: text.decode(name, encoding) for chunk, name in said.items()}


def read(source: str | os.PathLike | bytes, limits: Limits = Limits(), strict: bool = False) -> Score:
    """Reads a MIDI file of format 0, 1 or 2, RIFF-wrapped or not; or, where music21 is installed, MusicXML or ABC.

    A damaged file that still holds music is mended; `Score.repaired` tells how.

    Args:
        source: a path, or the file's bytes.
        limits: what is still taken for music.
        strict: refuse what would have to be mended.

    Raises:
        MidiError: with one of the reasons `unreadable`, `empty`, `not-midi`, `truncated`, `unknown-format`,
            `smpte-division`, `zero-division`, `bad-event`, `impossible-tempo`, `absurd-length`, `no-notes`.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        name, data = "<bytes>", bytes(source)
    else:
        name = os.fspath(source)
        try:
            with open(name, "rb") as file:
                data = file.read(limits.bytes + 1)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise MidiError("unreadable", name, f"cannot be read ({why}); expected a MIDI file") from error
    if len(data) > limits.bytes:
        raise MidiError("absurd-length", name, f"is larger than {limits.bytes} bytes, the limit set for one song")
    if data and not data.startswith((b"MThd", b"RIFF")):
        data = formats.midi_of_notation(data, name) or data
    try:
        return _checked(Score(smf.unwrap(data, name), name, limits))
    except MidiError as error:
        if strict or error.reason not in _MENDABLE:
            raise
        try:
            mended, repaired = repair.mend(data, name)
            return _checked(Score(mended, name, limits, repaired=repaired))
        except MidiError:  # nothing to play is left, so the damage is what there is to tell
            raise error from None


def write(score: Score, path: str | os.PathLike) -> None:
    """Writes a Score atomically: under a temporary name in the same folder, then renamed.

    Raises:
        MidiError: `unwritable`.
    """
    try:
        with files.replacing(path) as temporary:
            temporary.write_bytes(score.data)
    except OSError as error:
        raise MidiError("unwritable", os.fspath(path), f"cannot be written ({error.strerror or error})") from error


def _checked(score: Score) -> Score:
    """The Score, unless this is no music of sane size; then raises MidiError."""
    name, limits = score.source, score.limits
    events = score.events
    kind = events.status & 0xF0
    if int(((kind == smf.NOTE_ON) & (events.second > 0)).sum()) > limits.notes:
        raise MidiError("absurd-length", name, f"has more than {limits.notes} notes, the limit set for one song")
    if not len(score._struck[0]):
        raise MidiError("no-notes", name, "has no notes, so there is no melody to play to")
    if (score.tempos["microseconds"] == 0).any():
        tick = int(score.tempos["tick"][score.tempos["microseconds"] == 0][0])
        raise MidiError("impossible-tempo", name, f"sets a tempo of 0 microseconds a quarter note at tick {tick}")
    end = int(score._struck[0]["end"].max())
    metres = score.metres
    lasts = np.diff(np.minimum(metres["tick"], end), append=end) / (4 * score.ticks_per_quarter)  # in whole notes
    model_bars = -(-metres["numerator"] // metres["denominator"])  # to a bar of the song; see grid
    bars = float((lasts * metres["denominator"] / metres["numerator"] * model_bars).sum())
    if bars > limits.bars:
        raise MidiError("absurd-length", name, f"is {bars:.0f} bars long, the limit set for one song is {limits.bars}")
    return score


def _map(rows: list[tuple[int, ...]], dtype: np.dtype) -> np.ndarray:
    """Rows in order of tick; of several at one tick the last given."""
    latest = {row[0]: row for row in sorted(rows, key=lambda row: row[0])}
    return np.array(list(latest.values()), dtype)
