"""Which track is the tune, and its tokens.

choice = choose(score)                        # or choose(score, track="Vocals"), choose(score, rule="magenta")
melody = windows(score, choice)               # .tokens_NL int32 [N, 256], .grid, .choice
"""

import re
from typing import Literal, NamedTuple

import numpy as np

from jaxaccomp.arrays import HIGHEST_PITCH, LOWEST_PITCH, NO_EVENT, STEPS, STEPS_PER_BAR
from jaxaccomp.errors import MelodyError
from jaxaccomp.music.grid import Grid
from jaxaccomp.music.midi import Score, Track
from jaxaccomp.music.trio import BASS_PROGRAMS, MELODY_PROGRAMS, top_line

Rule = Literal["default", "magenta"]

_MELODY_NAME = re.compile(r"melod|lead|vocal|vox|voice|voz|solo|canto|sing|tune|theme|chant|gesang|stimme", re.I)
_OTHER_NAME = re.compile(r"bass|drum|perc|pad|string|chord|rhythm|accomp|backing|harmon|choir|left", re.I)


class Choice(NamedTuple):
    """The track taken for the tune."""

    track: int
    """Index into `Score.tracks`."""
    reason: str
    """Why, in one phrase."""


class Melody(NamedTuple):
    """A tune as the model hears it, and where in the song it lies."""

    tokens_NL: np.ndarray
    """int32; 16 model bars a window, the last one padded with `no event`. Windows do not overlap."""
    grid: Grid
    """Model bars from the song's beginning to the bar in which the melody ends; it has at most 16·N rows."""
    choice: Choice


def choose(score: Score, rule: Rule = "default", track: int | str | None = None, names: bool = True) -> Choice:
    """Decides which track is the tune.

    Args:
        score: any music.
        rule: `magenta` takes the track with most notes among programs 0 to 31; `default` weighs name, register,
            monophony, density and share of the song of every track but drums and basses.
        track: the user's own word: an index into `score.tracks`, or a name (its part, in any letter case).
        names: whether `default` may look at track names.

    Raises:
        MelodyError: `no-melody`, if no track can be the tune; `no-such-track`, if none is called so.
    """
    if track is not None:
        return _forced(score, track)
    pitched = [candidate for candidate in score.tracks if not candidate.is_drums]
    if rule == "magenta":
        pitched = [candidate for candidate in pitched if candidate.program in MELODY_PROGRAMS]
        if not pitched:
            raise MelodyError("no-melody", score.source, f"no track has a program of 0 to 31; it has {_list(score)}")
        counts = [int((score.notes["track"] == candidate.index).sum()) for candidate in pitched]
        best = int(np.argmax(counts))
        return Choice(pitched[best].index, f"most notes ({counts[best]}) among programs 0 to 31")
    usable = [candidate for candidate in pitched if len(_in_range(score, candidate.index))]
    if not usable:
        raise MelodyError(
            "no-melody", score.source, f"only drums, or nothing between A0 and C8, so no tune: it has {_list(score)}"
        )
    singing = [candidate for candidate in usable if candidate.program not in BASS_PROGRAMS] or usable
    scored = [_weigh(score, candidate, names) for candidate in singing]
    weight, reason = max(scored, key=lambda pair: pair[0])
    return Choice(singing[scored.index((weight, reason))].index, reason)


def windows(score: Score, choice: Choice) -> Melody:
    """The tune's tokens, window by window, for the whole song.

    Windows cut the token row and nothing else, as training windows do: a note that sounds across a window's left edge
    is not struck again there. The last window is the one in which the melody ends.

    Raises:
        MelodyError: `no-melody`, if the track has no note between A0 and C8.
    """
    notes = _in_range(score, choice.track)
    if not len(notes):
        raise MelodyError("no-melody", score.source, f"track {choice.track} has no note between A0 and C8")
    grid = Grid.of(score, int(notes["end"].max()))
    count = -(-len(grid) // (STEPS // STEPS_PER_BAR))
    steps = len(grid) * STEPS_PER_BAR
    starts, ends = grid.step_of(notes["start"]), grid.step_of(notes["end"])
    ends = np.where(ends > starts, ends, starts + 1)
    tokens = np.full(count * STEPS, NO_EVENT, np.int32)
    tokens[:steps] = top_line(starts, ends, notes["pitch"].astype(np.int64), steps)
    return Melody(tokens.reshape(count, STEPS), grid, choice)


def _forced(score: Score, track: int | str) -> Choice:
    if isinstance(track, str) and not track.lstrip("-").isdigit():
        wanted = track.casefold()
        exact = [t for t in score.tracks if t.name.casefold() == wanted]
        found = exact or [t for t in score.tracks if wanted in t.name.casefold()]
        if not found:
            raise MelodyError("no-such-track", score.source, f"no track is called {track!r}; it has {_list(score)}")
        return Choice(found[0].index, f"asked for by name {track!r}")
    index = int(track)
    if not 0 <= index < len(score.tracks):
        raise MelodyError("no-such-track", score.source, f"there is no track {index}; it has {_list(score)}")
    if score.tracks[index].is_drums:
        raise MelodyError("no-such-track", score.source, f"track {index} is drums; it has {_list(score)}")
    return Choice(index, f"asked for by number {index}")


def _list(score: Score) -> str:
    return ", ".join(
        f"{t.index} {t.name!r} ({'drums' if t.is_drums else f'program {t.program}'})" for t in score.tracks
    )


def _in_range(score: Score, track: int) -> np.ndarray:
    notes = score.track_notes(track)
    return notes[(notes["pitch"] >= LOWEST_PITCH) & (notes["pitch"] <= HIGHEST_PITCH)]


def _weigh(score: Score, track: Track, names: bool) -> tuple[float, str]:
    """How much a track looks like a tune, and why."""
    notes = _in_range(score, track.index)
    starts, ends = notes["start"], notes["end"]
    pitch = float(np.average(notes["pitch"]))
    alone = (
        float(np.mean(starts[1:] >= np.maximum.accumulate(ends)[:-1] - score.ticks_per_quarter // 8))
        if len(notes) > 1
        else 1.0
    )
    bar = 4 * score.ticks_per_quarter
    played = np.unique(starts // bar)
    total = max(1, int(score.notes["end"].max()) // bar + 1)
    share = len(played) / total
    density = len(notes) / max(1, len(played))
    weight = -abs(pitch - 69) / 12 + 2 * alone + 2 * min(share, 0.8) - abs(density - 6) / 6
    named = names and bool(_MELODY_NAME.search(track.name))
    if named:
        weight += 4
    elif names and _OTHER_NAME.search(track.name):
        weight -= 1
    reason = f"mean pitch {pitch:.0f}, {alone:.0%} one voice, {density:.1f} notes a bar in {share:.0%} of the bars"
    return weight, (f"called {track.name!r}, " if named else "") + reason
