"""Original Score + generated bass and drums → Score.

    stitch(score, melody, band_NLP, parts=("bass", "drums"), keep="melody") -> Score

This is surgery on the file's chunks, not a new rendering: a chunk of which everything is kept is copied byte for byte,
one of which a part is kept loses the other channels' events and nothing else. Tempo map, metres, keys, lyrics, markers
and system exclusives stay wherever they are. A format 0 file is split by channel, as format 1 demands.
"""

import itertools
import typing
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Int

from jaxaccomp.arrays import STEPS
from jaxaccomp.config import require
from jaxaccomp.music import smf
from jaxaccomp.music.build import DRUM_CHANNEL, Part, assemble, encode_part, excerpt
from jaxaccomp.music.feel import STRAIGHT, Feel, perform
from jaxaccomp.music.melody import Choice, Melody
from jaxaccomp.music.midi import NOTE, Score
from jaxaccomp.music.tokens import drum_notes, pitched_notes
from jaxaccomp.music.tracks import Track

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
    given: Sequence[str] = (),
) -> Score:
    """Puts generated parts under an original.

    Args:
        score: the original.
        melody: what `melody.windows` made of it; places the windows in the song.
        tokens_NLP: tokens of each window and each of `parts`; an array of NumPy's or JAX's.
        parts: which parts the last axis holds: `bass`, `drums` or both, in any order.
        keep: which original tracks stay: the melody's alone, or all but basses and drums.
        feel: how the band performs.
        given: parts of the original that stay whatever `keep` says, `bass` or `drums`.

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
    moved = _moved(score, melody.choice, keep)
    staying = kept(score, melody.choice, keep, given)
    chunks = _kept_chunks(score, staying, moved)
    taken = {moved.get(owner, (track.port, owner & 15)) for track in staying
             for owner in track.owners}  # fmt: skip
    for column, part in enumerate(parts):
        notes = perform(band_notes(score, melody, tokens_NLP[:, :, column], part), melody.grid, part, feel)
        if part == "drums":
            name, program, (port, channel) = "Drums", feel.kit, _drum_place(score, taken)
        else:
            name, program, (port, channel) = "Bass", feel.bass_program, _free_place(score, taken)
        sent = _program_ticks(score.setup.reset_ticks, notes)
        chunks.append(encode_part(Part(name, channel, program, notes, port=port, program_ticks=sent)))
    return Score(assemble(1, score.ticks_per_quarter, chunks), score.source, limits=score.limits)


def kept(score: Score, choice: Choice, keep: Keep = "melody", given: Sequence[str] = ()) -> list[Track]:
    """The tracks of an original that stay."""
    stays = [] if keep == "melody" else [track.index for track in score.tracks if track.kind not in ("bass", "drums")]
    stays += [track.index for track in score.tracks if track.kind in given]
    return [track for track in score.tracks if track.index in choice.tracks or track.index in stays]


def left_out(score: Score, choice: Choice, keep: Keep = "melody", given: Sequence[str] = ()) -> list[Track]:
    """The tracks of an original that make way."""
    staying = kept(score, choice, keep, given)
    return [track for track in score.tracks if track not in staying]


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
    return notes.compress(notes["start"] >= (opening[-1] if len(opening) else 0))


def _velocities(score: Score, melody: Melody, ticks: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """The melody's mean velocity around each tick, or where it rests its last one, plus the step's accent."""
    line = score.notes_of(melody.choice.tracks)
    span = _SPAN_QUARTERS * score.ticks_per_quarter
    starts = np.ascontiguousarray(line["start"])
    before = np.searchsorted(starts, ticks - span)
    after = np.searchsorted(starts, ticks + span, side="right")
    total = np.concatenate([[0], np.cumsum(line["velocity"], dtype=np.int64)])
    last = line["velocity"][np.maximum(before - 1, 0)]
    count = after - before
    mean = np.where(count > 0, (total[after] - total[before]) // np.maximum(count, 1), last)
    return np.minimum(np.maximum(mean + _ACCENTS[melody.grid.accent_of(steps)], 1), 127)


def _moved(score: Score, choice: Choice, keep: Keep) -> dict[int, tuple[int, int]]:
    """New (port, channel) of the owners (16 · chunk + channel) of a tune that lies on a channel of drums.

    There a synthesizer would play drums for it, and the band's drums would end its notes.
    """
    owners = [(track.port, owner) for track in score.tracks if track.index in choice.tracks and track.is_drums
              for owner in track.owners if score.setup.is_drums(track.port, owner & 15, 0)]  # fmt: skip
    taken = {(track.port, channel) for track in kept(score, choice, keep) for channel in track.channels}
    places: dict[tuple[int, int], tuple[int, int]] = {}
    for port, owner in owners:
        if (port, owner & 15) not in places:
            free = [(port, c) for c in range(16) if (port, c) not in taken and not score.setup.is_drums(port, c, 0)]
            if free:
                places[port, owner & 15] = free[0]
                taken.add(free[0])
    return {owner: places[port, owner & 15] for port, owner in owners if (port, owner & 15) in places}


def _free_place(score: Score, taken: set[tuple[int, int]]) -> tuple[int, int]:
    """(port, channel) for a pitched part: best a channel that no port uses, on the first port that has one free."""
    used = {channel for _, channel in taken}
    drums = {place for place in score.setup.drum_switches} | {(port, DRUM_CHANNEL) for port in range(17)}
    taken = taken | drums
    places = ((0, channel) for channel in range(16) if channel not in used)
    more = ((port, channel) for port in range(17) for channel in range(16))
    return next(place for place in itertools.chain(places, more) if place not in taken)


def _drum_place(score: Score, taken: set[tuple[int, int]]) -> tuple[int, int]:
    """(port, channel) for the drums: channel 10, unless the file makes it pitched and a part that stays plays there."""
    places = [(0, DRUM_CHANNEL)]
    places += [place for place, told in score.setup.drum_switches.items() if told[-1][1]]
    places += [(port, DRUM_CHANNEL) for port in range(1, 17)]
    return next((place for place in places if place not in taken), places[0])


def _program_ticks(reset_ticks: np.ndarray, notes: np.ndarray) -> tuple[int, ...]:
    """When to send a program: after the last reset before these notes, or at once, and again after each later one."""
    if not len(reset_ticks) or not len(notes):
        return (0,)
    first, end = int(notes["start"].min()), int(notes["end"].max())
    before, later = reset_ticks[reset_ticks <= first], reset_ticks[(reset_ticks > first) & (reset_ticks < end)]
    return (int(before.max(initial=0)), *np.unique(later).tolist())


def _impossible(score: Score) -> list[int]:
    """Rows of key signatures that name no key, and system exclusives with a status byte inside.

    They mean nothing, and other readers give the whole file up on them.
    """
    keys = {row: smf.payload(score.data, score.events, row) for row in score.meta_rows(smf.KEY)}
    found = [row for row, key in keys.items() if len(key) != 2 or (key[0] + 7) % 256 > 14 or key[1] > 1]
    for row in np.flatnonzero((score.events.status & 0xF8) == 0xF0).tolist():
        said = smf.payload(score.data, score.events, row) if score.events.status[row] in (0xF0, 0xF7) else b""
        if max(said.removeprefix(b"\xf0").removesuffix(b"\xf7"), default=0) > 127:
            found.append(row)
    return found


def _kept_chunks(score: Score, tracks: Sequence[Track], moved: dict[int, tuple[int, int]]) -> list[bytes]:
    """MTrk chunks of what stays of the original."""
    events, chunk_count = score.events, len(score.header.chunks)
    voice = events.status < 0xF0
    owner = events.chunk << 4 | events.status & 0x0F
    is_kept = np.zeros(16 * (chunk_count + 1), bool)
    is_kept[[o for track in tracks for o in track.owners]] = True
    set_up = _set_up(score, tracks, moved, owner, voice)
    wanted = ~voice | is_kept[owner] | set_up
    if moved:  # a drum kit's number is no program
        is_kit = ((events.status & 0xF0) == smf.PROGRAM) | (
            ((events.status & 0xF0) == smf.CONTROL) & (events.first == 0)
        )
        wanted &= ~(is_kit & np.isin(owner, list(moved)))
        status = events.status.copy()
        for place, (_, channel) in moved.items():
            status[voice & (owner == place)] = (status[voice & (owner == place)] & 0xF0) | channel
        events = events._replace(status=status)
    offs, spurious = _missing_offs(score, tracks, moved)
    wanted[spurious] = False
    wanted[_impossible(score)] = False
    altered = np.zeros(chunk_count, bool)
    altered[[score.tracks[index].chunk for index in set(offs["track"].tolist())]] = True
    altered[events.chunk[smf.live_rows(score.data, score.events)]] = True
    altered[[place >> 4 for place in moved]] = True
    marks = np.flatnonzero(wanted & ~voice)
    bounds = np.arange(chunk_count + 1)
    edges, mark_edges = (np.searchsorted(column, bounds).tolist() for column in (events.chunk, events.chunk[marks]))
    chunks: list[bytes] = []
    for index, (start, end) in enumerate(score.header.chunks):
        marks_here = marks[mark_edges[index] : mark_edges[index + 1]]
        is_clean = edges[index] < edges[index + 1] and events.end[edges[index + 1] - 1] == end  # no rubbish at the end
        here = slice(edges[index], edges[index + 1])
        if score.header.format and not altered[index] and is_clean and wanted[here].all():
            chunks.append(score.data[start - 8 : end])
            continue
        if score.header.format and not (wanted[here] & voice[here]).any():
            said = (events.status[marks_here] != smf.META) | ~_IS_NAMING[events.first[marks_here]]
            if index == 0 or said.any():
                chunks.append(excerpt(score.data, events.select(marks_here if index == 0 else marks_here[said])))
            continue
        rows = here.start + np.flatnonzero(wanted[here])
        parts_here = [track for track in tracks if track.chunk == index]
        if score.header.format:
            mine = offs[np.isin(offs["track"], [track.index for track in parts_here])]
            chunks.append(excerpt(score.data, events.select(rows), mine))
            continue
        chunks.append(excerpt(score.data, events.select(marks_here)))
        rows = rows[voice[rows]]
        rest = rows[~is_kept[owner[rows]]]
        chunks += [excerpt(score.data, events.select(rest))] if len(rest) else []
        for track in parts_here:
            mine = rows[np.isin(owner[rows], track.owners)]
            chunks.append(excerpt(score.data, events.select(mine), offs[offs["track"] == track.index]))
    return chunks


def _set_up(
    score: Score, tracks: Sequence[Track], moved: dict[int, tuple[int, int]], owner: np.ndarray, voice: np.ndarray
) -> np.ndarray:
    """Which events, in other chunks than its own, set up the channel of a part that stays.

    They are those of chunks that play nothing on the channel; and, where no part that stays sets a program of its own,
    the programs that chunks set which go.
    """
    events, ports = score.events, score.ports
    staying = {o for track in tracks for o in track.owners}
    places = {(track.port, o & 15) for track in tracks for o in track.owners if o not in moved}
    occupied = np.flatnonzero(score.track_of_owner >= 0)
    idle = np.flatnonzero(np.bincount(owner[voice & (score.track_of_owner < 0)[owner]])).tolist()
    is_chosen = np.zeros(16 * (len(ports) + 1), bool)
    is_chosen[[o for o in idle if (int(ports[o >> 4]), o & 15) in places]] = True
    chosen = is_chosen[owner] & voice if is_chosen.any() else np.zeros(len(owner), bool)
    going = [o for o in occupied.tolist() if o not in staying and (int(ports[o >> 4]), o & 15) in places]
    if going:
        kind = events.status & 0xF0
        is_program = kind == smf.PROGRAM
        rows = np.flatnonzero(is_program)
        told = set(owner[rows[chosen[rows] | np.isin(owner[rows], list(staying))]].tolist())
        told_places = {(int(ports[o >> 4]), o & 15) for o in told}
        going = [o for o in going if (int(ports[o >> 4]), o & 15) not in told_places]
        if going:
            is_bank = (kind == smf.CONTROL) & ((events.first == 0) | (events.first == 32))
            rows = np.flatnonzero(is_program | is_bank)
            chosen[rows[np.isin(owner[rows], going)]] = True
    return chosen


def _missing_offs(
    score: Score, tracks: Sequence[Track], moved: dict[int, tuple[int, int]]
) -> tuple[np.ndarray, np.ndarray]:
    """Notes of these tracks that get a note-off where they are taken to end; rows of note-offs that come too soon."""
    notes, ends = score.notes, score.note_ends
    wrong = (ends < 0) | (score.events.tick[ends] != notes["end"])
    if not wrong.any():
        return notes[:0], ends[:0]
    wrong &= np.isin(notes["track"], [track.index for track in tracks])
    rows = ends[wrong]
    offs = notes[wrong].copy()
    for index in np.flatnonzero(wrong).tolist() if moved else ():
        note = notes[index]
        place = moved.get(score.tracks[note["track"]].chunk << 4 | int(note["channel"]))
        if place:
            offs["channel"][np.count_nonzero(wrong[:index])] = place[1]
    return offs, rows[rows >= 0]
