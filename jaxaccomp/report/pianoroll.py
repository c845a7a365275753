"""Scores as pictures: a piano roll in systems of so many bars, melody red, bass blue, drums brown."""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxaccomp import files
from jaxaccomp.errors import MelodyError, RenderError
from jaxaccomp.music import melody as melodies
from jaxaccomp.music.midi import Score
from jaxaccomp.music.tokens import DRUM_CLASSES, DRUM_NAMES
from jaxaccomp.report import clock, facts
from jaxaccomp.report.bars import Bars, bars

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {"melody": "#d62728", "bass": "#1f77b4", "drums": "#8c564b", "other": "#b8b8b8"}
"""The write-up's red, blue and brown; whatever else plays is grey."""
BARS_PER_SYSTEM = 16
MOST_SYSTEMS = 8
"""A longer song gets longer systems rather than more of them."""

LANE = {pitch: lane for lane, pitches in enumerate(DRUM_CLASSES) for pitch in pitches}
"""Lane of each percussion pitch that belongs to a drum class."""
_WIDTH, _STAFF_HEIGHT, _DPI = 15.0, 2.0, 90  # inches, dots an inch


def roles(score: Score, melody: int | Sequence[int] | None = None) -> dict[int, str]:
    """What each track plays: `melody`, `bass`, `drums` or `other`.

    Args:
        score: any music.
        melody: the melody's track or tracks; None: what `melody.choose` takes, if anything.
    """
    if melody is None:
        try:
            melody = melodies.choose(score).tracks
        except MelodyError:
            melody = -1
    melody = (melody,) if isinstance(melody, int) else melody
    found = {}
    for track in score.tracks:
        if track.index in melody:
            found[track.index] = "melody"
        elif track.is_drums:
            found[track.index] = "drums"
        else:
            found[track.index] = "bass" if track.kind == "bass" else "other"
    return found


def melody_tracks(original: Score, tracks: Sequence[int], result: Score) -> tuple[int, ...] | None:
    """The numbers that tracks of an original have in a result that keeps them; None if none is there."""
    wanted = [original.track_notes(track)[["start", "pitch"]].tolist() for track in tracks]
    notes = ((track.index, result.track_notes(track.index)[["start", "pitch"]].tolist()) for track in result.tracks)
    return tuple(index for index, mine in notes if mine in wanted) or None


def draw(
    score: Score,
    path: str | os.PathLike,
    *,
    original: Score | None = None,
    melody: int | Sequence[int] | None = None,
    title: str | None = None,
    bars_per_system: int = BARS_PER_SYSTEM,
) -> Path:
    """Draws a Score, if asked with the original above it, system by system.

    Args:
        score: what to draw.
        path: where to; its ending decides the format: `.png`, `.svg` or `.pdf`.
        original: a Score of the same bars to draw above it.
        melody: the melody's track or tracks in `score`; None: see `roles`.
        title: text above; None: the name of the Score's file.
        bars_per_system: bars side by side.

    Returns:
        The path written.

    Raises:
        RenderError: an unknown ending, or a place that cannot be written to.
    """
    path = Path(path)
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise RenderError(
            f"{path}: pictures are written as .png, .svg or .pdf, not {path.suffix or 'without an ending'}"
        )
    picture = figure(score, original=original, melody=melody, title=title, bars_per_system=bars_per_system)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(path) as temporary:
            picture.savefig(temporary, dpi=_DPI, metadata=_NO_DATE[path.suffix.lower()])
    except OSError as error:
        raise RenderError(f"{path}: cannot write the picture there ({error.strerror})") from error
    return path


def figure(
    score: Score,
    *,
    original: Score | None = None,
    melody: int | Sequence[int] | None = None,
    title: str | None = None,
    bars_per_system: int = BARS_PER_SYSTEM,
    names: tuple[str, str] = ("original", "result"),
) -> "Figure":
    """The picture that `draw` writes, as a matplotlib figure; `names` stand beside the original and the score."""
    scores = [score] if original is None else [original, score]
    end_tick = max(int(one.notes["end"].max(initial=1)) for one in scores)
    grid = bars(score, end_tick)
    width = max(bars_per_system, -(-grid.count // MOST_SYSTEMS))
    systems = [range(first, min(first + width, grid.count)) for first in range(0, grid.count, width)]
    voices = [roles(score, melody)] if original is None else [roles(original), roles(score, melody)]
    shown = [""] if original is None else names
    return _page(scores, voices, shown, grid, systems, width, title or Path(score.source).name)


@dataclass(frozen=True)
class Picture:
    """A figure that a notebook shows as it is.

    Attributes:
        figure: the matplotlib figure, to be changed or saved.
    """

    figure: "Figure" = field(repr=False)

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.figure.savefig(file, format="png", dpi=_DPI)
        return file.getvalue()


_NO_DATE: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
}
"""So that the same picture is the same file."""


def _page(
    scores: Sequence[Score],
    voices: Sequence[dict[int, str]],
    names: Sequence[str],
    grid: Bars,
    systems: Sequence[range],
    width: int,
    title: str,
) -> Any:
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    staffs = [
        (score, voice, name, drums)
        for score, voice, name in zip(scores, voices, names, strict=True)
        for drums in (False, True)
        if not drums or "drums" in voice.values()
    ]
    heights = [_STAFF_HEIGHT * (0.6 if drums else 1.0) for *_, drums in staffs]
    figure = Figure(figsize=(_WIDTH, len(systems) * (sum(heights) + 0.6) + 0.8), layout="constrained")
    rows = figure.subfigures(len(systems), 1, squeeze=False)[:, 0]
    pitches = [_pitch_range(score, voice) for score, voice, _, _ in staffs]
    for row, system in zip(rows, systems, strict=True):
        axes = row.subplots(len(staffs), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        for ax, (score, voice, name, drums), pitch_range in zip(axes, staffs, pitches, strict=True):
            _lines(ax, grid, system, width)
            if drums:
                _drum_staff(ax, score, voice)
            else:
                _pitch_staff(ax, score, voice, pitch_range)
                ax.set_ylabel(name or "pitch")
        _label_bars(axes[-1], scores[-1], grid, system)
    shown = [role for role in COLOURS if any(role in voice.values() for voice in voices)]
    figure.suptitle(f"{title}   {facts.line(scores[-1])}", x=0.01, horizontalalignment="left", fontsize=11)
    figure.legend(
        handles=[Patch(color=COLOURS[role], label=role) for role in shown], loc="outside upper right", ncols=len(shown)
    )
    return figure


def _lines(ax: Any, grid: Bars, system: range, width: int) -> None:
    """Bars and beats of one system; a short last system keeps the others' scale."""
    first, last = grid.bar_ticks[system.start], grid.bar_ticks[system.stop]
    ax.set_xlim(first, first + (last - first) * width / len(system))
    beats = grid.beat_ticks[(grid.beat_ticks >= first) & (grid.beat_ticks < last)]
    lines = grid.bar_ticks[system.start : system.stop + 1]
    ax.vlines(beats, 0, 1, transform=ax.get_xaxis_transform(), color="0.92", linewidth=0.6, zorder=0)
    ax.vlines(lines, 0, 1, transform=ax.get_xaxis_transform(), color="0.7", linewidth=0.9, zorder=0)
    ax.spines[["top", "right"]].set_visible(False)


def _label_bars(ax: Any, score: Score, grid: Bars, system: range) -> None:
    """Numbers of bars, and below every fourth of them when it begins."""
    step = max(1, len(system) // 32)
    shown = list(system)[::step]
    starts = grid.bar_ticks[shown]
    times = map(facts.minutes, clock.seconds(score, starts).tolist())
    labels = [
        f"{bar + 1}\n{time}" if n % 4 == 0 else str(bar + 1)
        for n, (bar, time) in enumerate(zip(shown, times, strict=True))
    ]
    ax.set_xticks(starts, labels)
    ax.set_xlabel("bar, and minutes and seconds")


def _pitch_staff(ax: Any, score: Score, voice: dict[int, str], pitch_range: tuple[int, int]) -> None:
    for role in ("other", "bass", "melody"):
        notes = _notes_of(score, voice, role)
        _boxes(ax, notes["start"], notes["end"], notes["pitch"], role)
    low, high = pitch_range
    ax.set_ylim(low - 1, high + 1)
    octaves = [pitch for pitch in range(0, 128, 12) if low - 1 <= pitch <= high + 1]
    ax.set_yticks(octaves, [f"C{pitch // 12 - 1}" for pitch in octaves])
    ax.hlines(octaves, 0, 1, transform=ax.get_yaxis_transform(), color="0.92", linewidth=0.6, zorder=0)


def _drum_staff(ax: Any, score: Score, voice: dict[int, str]) -> None:
    notes = _notes_of(score, voice, "drums")
    lanes = np.array([LANE.get(pitch, len(DRUM_NAMES)) for pitch in notes["pitch"].tolist()], np.int64)
    used, places = np.unique(lanes, return_inverse=True)
    _boxes(ax, notes["start"], notes["start"] + score.ticks_per_quarter // 5, places, "drums")
    ax.set_ylim(-0.7, len(used) - 0.3)
    ax.set_yticks(range(len(used)), [(*DRUM_NAMES, "other")[lane] for lane in used], fontsize=7)


def _boxes(ax: Any, starts: np.ndarray, ends: np.ndarray, heights: np.ndarray, role: str) -> None:
    from matplotlib.collections import PolyCollection

    low, high = heights.astype(float) - 0.42, heights.astype(float) + 0.42
    corners = np.stack([starts, low, starts, high, ends, high, ends, low], axis=1).reshape(-1, 4, 2)
    ax.add_collection(PolyCollection(corners, facecolors=COLOURS[role], edgecolors="white", linewidths=0.3))


def _notes_of(score: Score, voice: dict[int, str], role: str) -> np.ndarray:
    tracks = [index for index, of_voice in voice.items() if of_voice == role]
    return score.notes[np.isin(score.notes["track"], tracks)]


def _pitch_range(score: Score, voice: dict[int, str]) -> tuple[int, int]:
    tracks = [index for index, role in voice.items() if role != "drums"]
    pitches = score.notes["pitch"][np.isin(score.notes["track"], tracks)].astype(int)
    return (int(pitches.min()), int(pitches.max())) if len(pitches) else (48, 72)
