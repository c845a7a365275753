"""A Score part by part: what each sounds like alone, so that a listener can mute one or take another in its place."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jaxaccomp.music import build, smf
from jaxaccomp.music.midi import Score

ROLES = ("melody", "bass", "drums", "other")
"""Parts of a listening page, in the order in which they are listed."""


class Stem(NamedTuple):
    """One part of a Score as a Score of its own, at the same ticks."""

    role: str
    tracks: tuple[int, ...]
    """Indices into the whole Score's tracks."""
    score: Score


def split(score: Score, roles: Mapping[int, str]) -> list[Stem]:
    """The parts of a Score; together they sound like the whole.

    Each holds the notes of its own tracks, and every tempo, program change, bend and controller that bears on them,
    from whichever chunk of the file. Equal parts of two Scores become equal bytes, whatever else these hold.

    Args:
        score: any music.
        roles: what each track plays, as `pianoroll.roles` tells it.

    Returns:
        A stem for each role that any track has, in the order of `ROLES`.
    """
    found = []
    for role in ROLES:
        tracks = tuple(track.index for track in score.tracks if roles[track.index] == role)
        if tracks:
            found.append(Stem(role, tracks, _alone(score, tracks)))
    return found


def _alone(score: Score, tracks: tuple[int, ...]) -> Score:
    events = score.events
    kind = events.status & 0xF0
    is_voice, is_note = events.status < 0xF0, (kind == smf.NOTE_ON) | (kind == smf.NOTE_OFF)
    is_tempo = (events.status == smf.META) & (events.first == smf.TEMPO)
    is_system = (events.status == 0xF0) | (events.status == 0xF7)
    owner = events.chunk << 4 | events.status & 0x0F
    channel = score.ports[events.chunk] << 4 | events.status & 0x0F
    mine = [score.tracks[index] for index in tracks]
    is_mine = np.isin(owner, [owner for track in mine for owner in track.owners])
    bears = np.isin(channel, [track.port << 4 | channel for track in mine for channel in track.channels])
    wanted = is_voice & np.where(is_note, is_mine, bears)
    rows = [np.flatnonzero(is_tempo | is_system)]
    rows[0] = rows[0][np.argsort(events.tick[rows[0]], kind="stable")]
    rows += [np.flatnonzero(wanted & (events.chunk == chunk)) for chunk in np.unique(events.chunk[wanted])]
    chunks = [build.excerpt(score.data, events.select(row)) for row in rows]
    return Score(build.assemble(1, score.ticks_per_quarter, chunks), score.source, score.limits)
