"""Tracks: which channels of a chunk are one part, what program it has, and what it is, drums, bass or anything else.

These are rules of playing. The reference's, by which training windows are cut, are those of `timeline` and `trio`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from jaxaccomp.music import smf, words
from jaxaccomp.music.build import DRUM_CHANNEL
from jaxaccomp.music.synth import Setup

Kind = Literal["pitched", "bass", "drums", "percussion"]

BASS_PROGRAMS = range(32, 40)
"""What the reference takes for a bass."""
OTHER_BASS_PROGRAMS = (43, 58, 87)
"""Contrabass, tuba, and the lead that doubles a bass: basses where they play low."""
PERCUSSION_PROGRAMS = range(112, 120)
"""Bells, woodblocks, drums and cymbals that lie among the pitched sounds."""
_TUNED_PROGRAMS = (112, 114)
"""Tinkle bell and steel drums: percussion on which tunes are played, too, if the name says so."""
_LOW = 55
"""A bass's mean pitch is below this G."""
_UNSET = 255
_LEAST_SHARED_BENDS = 2
_MOST_OVERLAPS = 0.05


@dataclass(frozen=True)
class Track:
    """One part of the music: a channel of a chunk with at least one note, or several that belong together."""

    index: int
    chunk: int
    channel: int
    """Its channel, or the lowest of them."""
    program: int
    """Program of most of its notes."""
    name: str
    """Track name of its chunk; empty if it has none."""
    channels: tuple[int, ...]
    """All of its channels, ascending."""
    port: int = 0
    """MIDI port of its chunk."""
    kind: Kind = "pitched"
    """`drums` by channel, by what the file declares, or by name; `percussion` by program alone; `bass` likewise."""

    @property
    def is_drums(self) -> bool:
        """Whether it plays drums."""
        return self.kind == "drums"

    @property
    def owners(self) -> tuple[int, ...]:
        """16 · chunk + channel of each of its channels."""
        return tuple(self.chunk << 4 | channel for channel in self.channels)


def fill_programs(notes: np.ndarray, events: smf.Events, ports: np.ndarray) -> None:
    """Gives notes whose own chunk sets no program the one that another chunk sets on their channel, or program 0.

    A program counts from where it is set; one that comes later counts only where none came before. Chunks that set the
    channel up and play nothing on it go before those that play.

    Args:
        notes: of `smf.sound`; the program field is filled in place.
        events: of the file.
        ports: MIDI port of each chunk.
    """
    missing = np.flatnonzero(notes["program"] == _UNSET)
    if not len(missing):
        return
    raw = notes["track"][missing]
    sought = ports[raw >> 4] << 4 | raw & 15
    notes["program"][missing] = 0
    rows = np.flatnonzero((events.status & 0xF0) == smf.PROGRAM)
    place = ports[events.chunk[rows]] << 4 | events.status[rows] & 0x0F
    wanted = set(place.tolist()).intersection(np.flatnonzero(np.bincount(sought)).tolist())
    if not wanted:
        return
    owner = events.chunk[rows] << 4 | events.status[rows] & 0x0F
    is_idle = ~np.isin(owner, np.flatnonzero(np.bincount(notes["track"])))
    for channel in sorted(wanted):
        here = place == channel
        idle = here & is_idle
        chosen = rows[idle if idle.any() else here]
        chosen = chosen[np.argsort(events.tick[chosen], kind="stable")]
        mine = missing[sought == channel]
        at = np.searchsorted(events.tick[chosen], notes["start"][mine], side="right") - 1
        notes["program"][mine] = events.first[chosen[np.maximum(at, 0)]]


def find(
    notes: np.ndarray,
    events: smf.Events,
    is_single_chunk: bool,
    names: Mapping[int, str],
    ports: np.ndarray,
    setup: Setup,
    ticks_per_quarter: int,
) -> tuple[tuple[Track, ...], np.ndarray]:
    """Sorts the notes of a file into tracks.

    Pitched channels of one chunk are one track where they share a program, or never sound together: tab and notation
    programs give one player several channels. Where a chunk holds the whole arrangement (format 0, or a chunk with
    drums beside other parts that is the only one), both must hold, unless the channels are the voices of one expressive
    player.

    Args:
        notes: of the file, with 16 · chunk + channel for a track.
        events: of the file.
        is_single_chunk: whether the file is of format 0.
        names: of the chunks that have one.
        ports: MIDI port of each chunk.
        setup: of the synthesizer.
        ticks_per_quarter: of the file.

    Returns:
        The tracks, chunk by chunk, by channel; and the track of each 16 · chunk + channel, -1 where there is none.
    """
    raw = notes["track"]
    counts = np.bincount(raw)
    owners = np.flatnonzero(counts)
    rank = np.cumsum(counts > 0) - 1
    programs = np.bincount(rank[raw] << 7 | notes["program"], minlength=len(owners) << 7).reshape(-1, 128)
    program = dict(zip(owners.tolist(), programs.argmax(1).tolist(), strict=True))
    drums = {owner: owner & 15 == DRUM_CHANNEL for owner in owners.tolist()}
    if setup.drum_switches:
        middle = {o: int(np.median(notes["start"][raw == o])) for o in drums}
        drums = {o: setup.is_drums(int(ports[o >> 4]), o & 15, middle[o]) for o in drums}
    groups = _groups(owners.tolist(), drums, program, notes, events, is_single_chunk, ticks_per_quarter)
    place = np.full(max(16 * len(ports), len(counts)), -1, np.int32)
    for index, group in enumerate(groups):
        place[group] = index
    tracks = []
    for index, group in enumerate(groups):
        chunk = group[0] >> 4
        name = names.get(chunk, "")
        sound = program[group[0]] if len(group) == 1 else int(programs[rank[group]].sum(0).argmax())
        channels = tuple(owner & 15 for owner in group)
        kind = _kind(drums[group[0]], sound, name)
        if kind == "low":
            kind = "bass" if notes["pitch"][np.isin(raw, group)].mean() < _LOW else "pitched"
        tracks.append(Track(index, chunk, channels[0], sound, name, channels, int(ports[chunk]), kind))
    return tuple(tracks), place


def _kind(on_drum_channel: bool, program: int, name: str) -> Kind | Literal["low"]:
    """What a track is; `low` for what is a bass if it plays low."""
    named = "drums" if on_drum_channel else words.kind_of_name(name)
    if named == "drums":
        return "drums"
    if program in PERCUSSION_PROGRAMS and not (program in _TUNED_PROGRAMS and words.promises_melody(name)):
        return "percussion"
    if program in BASS_PROGRAMS:
        return "bass"
    return "low" if named == "bass" or program in OTHER_BASS_PROGRAMS else "pitched"


def _groups(
    owners: Sequence[int],
    drums: Mapping[int, bool],
    program: Mapping[int, int],
    notes: np.ndarray,
    events: smf.Events,
    is_single_chunk: bool,
    quarter: int,
) -> list[list[int]]:
    """Owners that are one part, in order of the first of each."""
    chunks: dict[int, list[int]] = {}
    for owner in owners:
        chunks.setdefault(owner >> 4, []).append(owner)
    found: list[list[int]] = []
    for mine in chunks.values():
        pitched = [owner for owner in mine if not drums[owner]]
        groups = [[owner] for owner in mine if drums[owner]]
        if len(pitched) < 2:
            groups += [[owner] for owner in pitched]
        else:
            whole = is_single_chunk or (len(chunks) == 1 and len(pitched) < len(mine))
            groups += _merged(pitched, program, notes, events, whole, quarter)
        found += sorted(groups)
    return found


def _merged(
    owners: list[int],
    program: Mapping[int, int],
    notes: np.ndarray,
    events: smf.Events,
    is_whole_song: bool,
    quarter: int,
) -> list[list[int]]:
    is_one_sound = len({program[owner] for owner in owners}) == 1
    if is_whole_song and is_one_sound and _is_one_player(owners, notes, events, quarter):
        return [owners]
    groups: list[list[int]] = []
    for owner in owners:  # of one program first, so that what plays in turns is compared as a whole
        like = next((group for group in groups if program[group[0]] == program[owner]), None)
        if like is None or is_whole_song:
            groups.append([owner])
        else:
            like.append(owner)
    joined: list[list[int]] = []
    for group in groups:
        for earlier in joined:
            a, b = program[group[0]], program[earlier[0]]
            may_join = a == b if is_whole_song else (a in BASS_PROGRAMS) == (b in BASS_PROGRAMS)
            if may_join and not together(_of(notes, earlier), _of(notes, group), quarter):
                earlier += group
                break
        else:
            joined.append(list(group))
    return [sorted(group) for group in joined]


def _of(notes: np.ndarray, owners: Sequence[int]) -> np.ndarray:
    """The notes of some owners, in no particular order."""
    chosen = notes["track"] == owners[0]
    for owner in owners[1:]:
        chosen |= notes["track"] == owner
    return notes.compress(chosen)


def _is_one_player(owners: list[int], notes: np.ndarray, events: smf.Events, quarter: int) -> bool:
    """Whether each channel holds one voice, and several are bent: a channel for each finger or string."""
    bends = (events.status & 0xF0) == smf.BEND
    bent = np.intersect1d(events.chunk[bends] << 4 | events.status[bends] & 0x0F, owners)
    if len(bent) < _LEAST_SHARED_BENDS:
        return False
    for owner in owners:
        mine = _of(notes, [owner])
        mine = mine[np.argsort(mine["start"], kind="stable")]
        if len(mine) > 1 and (mine["end"][:-1] - mine["start"][1:] > quarter // 8).mean() > _MOST_OVERLAPS:
            return False
    return True


def together(a: np.ndarray, b: np.ndarray, ticks_per_quarter: int) -> bool:
    """Whether notes of both ever sound at the same time, by more than a 32nd, or begin on the same tick."""
    start = np.concatenate([a["start"], b["start"]])
    order = np.argsort(start, kind="stable")
    start, is_b = start[order], order >= len(a)
    if ((start[1:] == start[:-1]) & (is_b[1:] != is_b[:-1])).any():
        return True
    end, allowed = np.concatenate([a["end"], b["end"]])[order], ticks_per_quarter // 8
    for mine in (is_b, ~is_b):
        other = np.maximum.accumulate(np.where(mine, -1, end))
        if (mine & (other - start > allowed)).any():
            return True
    return False
