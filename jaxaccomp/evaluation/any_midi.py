"""Whether the original's notes come through, song by song: what stays is in the result once, and the band sounds right.

    faults = check(path)                       # one sentence for each thing that is wrong; none needs a model
    data = mutated(data, generator)            # a damaged copy, for `midi.read` to mend or to refuse

The band is made up: a bass note and a kick on every beat. `benchmarks/any_midi.py` runs this over folders.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxaccomp.errors import MidiError
from jaxaccomp.music import melody, midi, smf, stitch
from jaxaccomp.music.midi import Score

_FIELDS = ["start", "end", "pitch", "velocity"]
_BASS, _KICK = 20, 1


class Checked(NamedTuple):
    """What was found in one song."""

    kept: int
    """Notes of the original that stay, under all ways of keeping together."""
    faults: tuple[str, ...]
    """What is wrong, one sentence each."""
    refused: str = ""
    """Why the song cannot be accompanied at all."""


def check(path: str | Path) -> Checked:
    """Accompanies a song under both ways of keeping, reads the result, and compares."""
    try:
        score = midi.read(path)
        choice = melody.choose(score)
        found = melody.windows(score, choice)
    except MidiError as error:
        return Checked(0, (), error.reason)
    tokens = np.zeros((*found.tokens_NL.shape, 2), np.int32)
    tokens[:, ::4] = (_BASS, _KICK)
    kept, faults = 0, []
    for keep in ("melody", "all"):
        made = stitch.stitch(score, found, tokens, keep=keep)
        result = midi.read(made.data, strict=True)
        tracks = stitch.kept(score, choice, keep)
        before = score.notes_of([track.index for track in tracks])
        band = [stitch.band_notes(score, found, tokens[:, :, k], part) for k, part in enumerate(("bass", "drums"))]
        kept += len(before)
        faults += [f"keep {keep}: {fault}" for fault in _faults(before, np.concatenate(band), result)]
        faults += [f"keep {keep}: {fault}" for fault in _band_faults(result)]
        if not set(choice.tracks) <= {track.index for track in tracks}:
            faults.append(f"keep {keep}: a track of the melody does not stay")
    return Checked(kept, tuple(faults))


def _faults(before: np.ndarray, band: np.ndarray, result: Score) -> Iterator[str]:
    """Notes that are missing or added; and whether another reader finds as many."""
    wanted = np.sort(np.concatenate([before[_FIELDS], band[_FIELDS]]), order=_FIELDS)
    got = np.sort(result.notes[_FIELDS], order=_FIELDS)
    if len(wanted) != len(got):
        yield f"{len(got)} notes in the result, {len(wanted)} expected"
    elif (wanted != got).any():
        yield f"{int((wanted != got).sum())} notes differ, the first {wanted[wanted != got][0]}"
    try:
        import mido

        file = mido.MidiFile(file=io.BytesIO(result.data))
        struck = sum(m.type == "note_on" and m.velocity > 0 for track in file.tracks for m in track)
        if struck != len(result.notes):
            yield f"mido reads {struck} notes, {len(result.notes)} were written"
    except Exception as error:  # a foreign reader's, of any kind
        yield f"mido cannot read the result: {type(error).__name__} {error}"


def _band_faults(result: Score) -> Iterator[str]:
    """Whether the bass is heard under its own program, whatever resets and other chunks say."""
    events, bass = result.events, result.tracks[-2]
    place = result.ports[events.chunk] << 4 | events.status & 0x0F
    mine = (events.status < 0xF0) & (place == (bass.port << 4 | bass.channel))
    kind = events.status & 0xF0
    programs = np.flatnonzero(mine & (kind == smf.PROGRAM))
    strikes = np.flatnonzero(mine & (kind == smf.NOTE_ON) & (events.second > 0))
    if len(np.unique(events.chunk[strikes])) > 1:
        yield "the bass shares its channel"
    resets = result.setup.reset_ticks
    order = np.concatenate([programs, strikes])
    order = order[np.argsort(events.tick[order], kind="stable")]
    now, since = -1, -1
    for row in order.tolist():
        tick = int(events.tick[row])
        if kind[row] == smf.PROGRAM:
            now, since = int(events.first[row]), tick
        elif now != bass.program or (len(resets) and (resets[resets <= tick] > since).any()):
            yield f"the bass is heard under program {now} at tick {tick}, after a reset or another's program"
            return


def mutated(data: bytes, random: np.random.Generator) -> bytes:
    """Damage of one to six places: mostly of events, at times of lengths, of the header, or a cut."""
    damaged = bytearray(data)
    for _ in range(random.integers(1, 7)):
        kind, at = random.random(), int(random.integers(14, max(len(damaged), 15)))
        if kind < 0.6:
            damaged[at : at + 1] = random.bytes(1)
        elif kind < 0.8:
            other, size = int(random.integers(len(damaged) + 1)), int(random.integers(1, 40))
            damaged[at : at + size] = damaged[other : other + size]
        elif kind < 0.87:
            damaged[at:at] = random.bytes(int(random.integers(1, 5)))
        elif kind < 0.94:
            del damaged[at : at + int(random.integers(1, 9))]
        elif kind < 0.98:
            damaged[int(random.integers(14))] = int(random.integers(256))
        else:
            del damaged[at:]
    return bytes(damaged)
