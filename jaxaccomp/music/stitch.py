"""Original Score + generated bass and drums → Score.

    stitch(score, melody, band_NLP, parts=("bass", "drums"), keep="melody") -> Score

This is surgery on the file's chunks, not a new rendering: a chunk of which everything is kept is copied byte for byte,
one of which a part is kept loses the other channels' events and nothing else. Tempo map, metres, keys, lyrics, markers
and system exclusives stay wherever they are. A format 0 file is split by channel, as format 1 demands.
"""

import typing
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Int

from jaxaccomp.arrays import STEPS
from jaxaccomp.config import require
from jaxaccomp.music import smf
from jaxaccomp.music.build import DRUM_CHANNEL, Part, assemble, encode_part
from jaxaccomp.music.feel import STRAIGHT, Feel, perform
from jaxaccomp.music.melody import Melody
from jaxaccomp.music.midi import NOTE, Score
from jaxaccomp.music.smf import Events
from jaxaccomp.music.tokens import drum_notes, pitched_notes
from jaxaccomp.music.trio import BASS_PROGRAMS

Keep = Literal["melody", "all"]

_IS_NAMING = np.zeros(256, bool)
_IS_NAMING[[smf.TRACK_NAME, smf.INSTRUMENT_NAME, 0x09, 0x20, smf.PORT, smf.END_OF_TRACK]] = True
"""Meta events that say who plays a chunk: names, channel and port. They mean nothing once nobody does."""
_ACCENTS = np.array([-6, -2, 2, 6])
"""Velocity added by metrical weight (Grid.accent_of)."""
_SPAN_QUARTERS = 4
"""Melody notes this near on either side set the band's dynamics."""


def stitch(
    score: Score,
    melody: Melody,
    tokens_NLP: Int[Any, "N L P"],
    parts: Sequence[str] = ("bass", "drums"),
    keep: Keep = "melody",
    feel: Feel = STRAIGHT,
) -> Score:
    """Puts generated parts under an original.

    Args:
        score: the original.
        melody: what `melody.windows` made of it; places the windows in the song.
        tokens_NLP: tokens of each window and each of `parts`; an array of NumPy's or JAX's.
        parts: which parts the last axis holds: `bass`, `drums` or both, in any order.
        keep: which original tracks stay: the melody's alone, or all but basses and drums.
        feel: how the band performs.

    Returns:
        A format 1 Score at the original's resolution. The band plays from the bar in which the original's first note
        sounds to the bar in which the melody ends.

    Raises:
        ConfigError: the tokens are of another shape than windows and parts ask for, or a setting is unknown.
    """
    tokens_NLP = np.asarray(tokens_NLP)
    require(
        len(set(parts)) == len(parts) and set(parts) <= {"bass", "drums"},
        f"parts must be bass, drums or both, got {', '.join(parts)}",
    )
    require(
        tokens_NLP.shape == (*melody.tokens_NL.shape, len(parts)),
        f"expected tokens [{len(melody.tokens_NL)}, {STEPS}, {len(parts)}] of {', '.join(parts)}, got "
        f"{list(tokens_NLP.shape)}; give the windows of `melody.windows`, all of them",
    )
    keeps = typing.get_args(Keep)
    require(keep in keeps, f"keep must be {' or '.join(keeps)}, got {keep!r}")
    chunks, taken = _kept_chunks(score, melody.choice.track, keep)
    for column, part in enumerate(parts):
        notes = perform(band_notes(score, melody, tokens_NLP[:, :, column], part), melody.grid, part, feel)
        if part == "drums":
            chunks.append(encode_part(Part("Drums", DRUM_CHANNEL, feel.kit, notes)))
        else:
            free = [channel for channel in range(16) if channel not in taken and channel != DRUM_CHANNEL]
            # With all fifteen channels taken, the bass goes to a second MIDI port.
            channel, port = (free[0], 0) if free else (0, 1)
            chunks.append(encode_part(Part("Bass", channel, feel.bass_program, notes, port=port)))
    return Score(assemble(1, score.ticks_per_quarter, chunks), score.source, limits=score.limits)


def band_notes(score: Score, melody: Melody, tokens_NL: Int[np.ndarray, "N L"], part: str) -> np.ndarray:
    """The notes (midi.NOTE) that generated tokens of one part stand for, at their ticks in the song."""
    grid = melody.grid
    decode = drum_notes if part == "drums" else pitched_notes
    steps = decode(tokens_NL.ravel())
    # A window begins in silence, so what sounds at the end of the one before it ends there.
    steps[:, 1] = np.minimum(steps[:, 1], (steps[:, 0] // STEPS + 1) * STEPS)
    steps = steps[grid.is_used(steps[:, 0])]
    first = int(score.notes["start"].min())
    opening = grid.start_ticks[grid.opens_bar & (grid.start_ticks <= first)]
    notes = np.zeros(len(steps), NOTE)
    notes["start"], notes["pitch"] = grid.tick_of(steps[:, 0]), steps[:, 2]
    notes["end"] = np.maximum(grid.tick_of(steps[:, 1]), notes["start"] + 1)
    notes["velocity"] = _velocities(score, melody, notes["start"], steps[:, 0])
    return notes[notes["start"] >= (opening[-1] if len(opening) else 0)]


def _velocities(score: Score, melody: Melody, ticks: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """The melody's mean velocity around each tick, or where it rests its last one, plus the step's accent."""
    tune = score.track_notes(melody.choice.track)
    span = _SPAN_QUARTERS * score.ticks_per_quarter
    before = np.searchsorted(tune["start"], ticks - span)
    after = np.searchsorted(tune["start"], ticks + span, side="right")
    total = np.concatenate([[0], np.cumsum(tune["velocity"], dtype=np.int64)])
    last = tune["velocity"][np.maximum(before - 1, 0)]
    count = after - before
    mean = np.where(count > 0, (total[after] - total[before]) // np.maximum(count, 1), last)
    return np.minimum(np.maximum(mean + _ACCENTS[melody.grid.accent_of(steps)], 1), 127)


def _kept_chunks(score: Score, melody_track: int, keep: Keep) -> tuple[list[bytes], set[int]]:
    """MTrk chunks of what stays of the original, and the channels these use."""
    kept = {
        (track.chunk, track.channel)
        for track in score.tracks
        if track.index == melody_track or (keep == "all" and not track.is_drums and track.program not in BASS_PROGRAMS)
    }
    playing = {(track.chunk, track.channel) for track in score.tracks}
    channels = {channel for _, channel in kept}
    dropped = {channel for _, channel in playing} - channels
    events = score.events
    voice = events.status < 0xF0
    owner = events.chunk << 4 | events.status & 0x0F
    owners = np.flatnonzero(np.bincount(owner[voice])).tolist()
    # A channel may be set up in a chunk without notes of its own; that goes with the channel.
    stays = [
        o
        for o in owners
        if (o >> 4, o & 15) in kept
        or ((o >> 4, o & 15) not in playing
            and (o & 15 in channels or (keep == "all" and o & 15 not in dropped | {DRUM_CHANNEL})))
    ]  # fmt: skip
    is_kept = np.zeros(16 * (len(score.header.chunks) + 1), bool)
    is_kept[stays] = True
    wanted = ~voice | is_kept[owner]
    marks = np.flatnonzero(~voice)
    edges, mark_edges = (
        np.searchsorted(column, np.arange(len(score.header.chunks) + 1)).tolist()
        for column in (events.chunk, events.chunk[marks])
    )
    chunks: list[bytes] = []
    for index, (start, end) in enumerate(score.header.chunks):
        mine = slice(edges[index], edges[index + 1])
        marks_here = marks[mark_edges[index] : mark_edges[index + 1]]
        playing_here = [o for o in stays if o >> 4 == index]
        if score.header.format == 0:
            chunks.append(excerpt(score.data, events.select(marks_here)))
            rows = (mine.start + np.flatnonzero(voice[mine] & (owner[mine] == o)) for o in playing_here)
            chunks += [excerpt(score.data, events.select(row)) for row in rows]
        elif wanted[mine].all():
            chunks.append(score.data[start - 8 : end])
        elif playing_here:
            chunks.append(excerpt(score.data, events.select(mine.start + np.flatnonzero(wanted[mine]))))
        else:
            said = (events.status[marks_here] != smf.META) | ~_IS_NAMING[events.first[marks_here]]
            if index == 0 or said.any():
                chunks.append(excerpt(score.data, events.select(marks_here if index == 0 else marks_here[said])))
    return chunks, {o & 15 for o in stays}


def excerpt(data: bytes, events: Events) -> bytes:
    """An MTrk chunk of some events of a chunk: their own bytes, with new delta times and running status spelt out."""
    marks = (events.status == smf.META) & (events.first == smf.END_OF_TRACK)
    events = events.select(~marks)
    source = np.frombuffer(data, np.uint8)
    voice = events.status < 0xF0
    spelt = np.stack([events.status, events.first, events.second], 1).ravel()
    starts = np.where(voice, len(source) + 3 * np.arange(len(voice)), events.body)
    short = (events.status & 0xE0) == 0xC0  # program changes and channel pressure have one data byte
    sizes = np.where(voice, np.where(short, 2, 3), events.end - events.body)
    return smf.encode(events.tick, np.concatenate([source, spelt]), starts, sizes)
