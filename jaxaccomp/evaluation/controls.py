"""What each control does: a measure of the band at several of its values, over many songs.

Every figure comes through `Accompanist.settle` and `finish`, as for a listener; melodies are compared note by note.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from jaxaccomp.config import require, setting


@dataclass(frozen=True, kw_only=True)
class ControlsConfig:
    """What is measured."""

    songs: Path | None = setting(None, "folder of MIDI files (default: the demo tunes)")
    checkpoint: str = setting("trio-small", "name or folder")
    limit: int = setting(100, "songs, at most")
    windows: int = setting(2, "windows of a song, at most, from its beginning")
    candidates: int | None = setting(None, "how often each window is played to choose from (default: as infer.py)")
    quick: bool = setting(False, "five songs")

    def __post_init__(self) -> None:
        for name in ("limit", "windows"):
            require(getattr(self, name) >= 1, f"--{name} must be at least 1, got {getattr(self, name)}")


class Control(NamedTuple):
    """One control: its values, what they should move, and how that is measured."""

    name: str
    values: tuple[Any, ...]
    measure: str


CONTROLS = (
    Control("density", (0.5, 0.75, 1.0, 1.5, 2.0), "bass notes a bar"),
    Control("density", (0.5, 0.75, 1.0, 1.5, 2.0), "drum steps a bar"),
    Control("fills", ("none", "any", "few"), "change of groove in the bars before a new section"),
    Control("fills", ("none", "few", "any", "many"), "change of groove in the eighth and last bars"),
    Control("swing", (50.0, 58.0, 62.0, 66.0, 75.0), "place of off-beat notes in their beat, %"),
    Control("humanize", (0.0, 0.25, 0.5, 1.0), "distance from the grid, ms at 120 a minute"),
    Control("humanize", (0.0, 0.25, 0.5, 1.0), "deviation of velocities"),
    Control("bass_octave", (-1, 0, 1), "mean bass pitch"),
    Control("pace", ("half", "normal", "double"), "drum hits a quarter note"),
)


def measure(config: ControlsConfig | None = None) -> dict[str, Any]:
    """Measures every control.

    Args:
        config: which songs, how many; None: the defaults.
    """
    from jaxaccomp.generate import accompanist

    settings = config or ControlsConfig()
    band = accompanist.load(settings.checkpoint)
    scores = _songs(settings.songs, 5 if settings.quick else settings.limit)
    rows, decoded = [], {}
    for control in CONTROLS:
        curve = []
        for value in control.values:
            key = (control.name, value) if control.name in ("density", "fills", "pace") else ()
            if key not in decoded:
                decoded[key] = _settle(band, scores, settings, dict([key] if key else []))
            curve.append(_figures(decoded[key], {control.name: value})[control.measure])
        rows.append(
            {
                "control": control.name,
                "measure": control.measure,
                "values": [str(value) for value in control.values],
                "curve": curve,
                "monotone": bool((np.diff(curve) > 0).all()),
            }
        )
    untouched = [_melody_is_untouched(decoded[()], {"swing": 66.0, "humanize": 1.0, "bass_octave": 1})]
    untouched += [_melody_is_untouched(takes, dict([key])) for key, takes in decoded.items() if key]
    return {"songs": len(scores), "windows": settings.windows, "rows": rows, "melody_untouched": all(untouched)}


class _DecodedSong(NamedTuple):
    """One song with what was decoded for it."""

    song: Any
    tokens_NLP: Int[np.ndarray, "N L P"]


def _songs(folder: Path | None, limit: int) -> list[Any]:
    from jaxaccomp import demos, files
    from jaxaccomp.errors import MidiError
    from jaxaccomp.generate import song
    from jaxaccomp.music import midi

    paths = [demos.path(name) for name in demos.names()]
    if folder is not None:
        paths = sorted(Path(path) for path, _ in files.find_midi(folder))
    scores = []
    for path in paths:
        if len(scores) == limit:
            break
        try:
            score = midi.read(path)
            song.prepare(score)
        except (MidiError, OSError):
            continue
        scores.append(score)
    return scores


def _settle(band: Any, scores: Sequence[Any], settings: ControlsConfig, control: dict[str, Any]) -> list[_DecodedSong]:
    from jaxaccomp.generate import song
    from jaxaccomp.generate.batcher import PendingTake
    from jaxaccomp.generate.options import PlayOptions

    options = PlayOptions.of(candidates=settings.candidates, **control)
    songs, takes = [], []
    for score in scores:
        prepared = song.prepare(score, options)
        songs.append(prepared)
        used_NL = None if prepared.used_NL is None else prepared.used_NL[: settings.windows]
        takes.append(PendingTake(prepared.melody_NL[: settings.windows], prepared.fingerprint, used_NL=used_NL))
    band.settle(takes, options)
    return [_DecodedSong(one, take.tokens_NLP.astype(np.int32)) for one, take in zip(songs, takes, strict=True)]


def _figures(decoded: Sequence[_DecodedSong], control: dict[str, Any]) -> dict[str, float]:
    """All measures of what was decoded, performed as the control says."""
    from jaxaccomp.generate.arrangement import before_section, groove_change
    from jaxaccomp.generate.options import PlayOptions
    from jaxaccomp.music import melody, sections, tokens

    options = PlayOptions.of(**control)
    tokens_NLP = np.concatenate([one.tokens_NLP for one in decoded])
    bars_NST = tokens.bars(tokens_NLP[:, :, 1] > 0)
    phases, strays, velocities, pitches, rates = [], [], [], [], []
    for one in decoded:
        score, windows = one.song.score, melody.windows(one.song.score, one.song.choice, options.pace)
        result = _finished(one, options)
        quarter = score.ticks_per_quarter
        until = windows.grid.start_ticks[min(16 * len(one.tokens_NLP), len(windows.grid)) - 1]
        for track in result.tracks:
            if track.name not in ("Bass", "Drums"):
                continue
            notes = result.track_notes(track.index)
            if track.name == "Bass":
                pitches.append(notes["pitch"].astype(float))
            else:
                rates.append(len(notes) / max(until / quarter, 1))
                velocities.append(notes["velocity"].astype(float).std() if len(notes) else 0.0)
            beats = notes["start"] / quarter % 1
            off_beat = options.swing / 100  # sixteenths lie half way to it, and half way on to the next beat
            phases.append(beats[(beats > off_beat / 2 + 0.05) & (beats < (1 + off_beat) / 2 - 0.05)])
            steps = notes["start"] * 4 / quarter
            strays.append(np.abs(steps - np.round(steps)) * 125)
    change_NS = groove_change(bars_NST[:, 1:], bars_NST[:, :-1])  # of the second bar and on
    melodies = [one.song.melody_NL[: len(one.tokens_NLP)] for one in decoded]
    before_NS = np.concatenate([before_section(sections.form(melody_NL)) for melody_NL in melodies])[:, 1:]
    return {
        "bass notes a bar": float(tokens.onsets(tokens_NLP[:, :, 0]).sum() / (16 * len(tokens_NLP))),
        "drum steps a bar": float((tokens_NLP[:, :, 1] > 0).sum() / (16 * len(tokens_NLP))),
        "change of groove in the bars before a new section": float(change_NS[before_NS].mean())
        if before_NS.any()
        else 0.0,
        "change of groove in the eighth and last bars": float(change_NS[:, [6, 14]].mean()),
        "place of off-beat notes in their beat, %": 100 * _mean(phases),
        "distance from the grid, ms at 120 a minute": _mean(strays),
        "deviation of velocities": float(np.mean(velocities)),
        "mean bass pitch": _mean(pitches),
        "drum hits a quarter note": float(np.mean(rates)),
    }


def _mean(pieces: Sequence[np.ndarray]) -> float:
    whole = np.concatenate([np.asarray(piece, float) for piece in pieces])
    return float(whole.mean()) if len(whole) else 0.0


def _finished(one: _DecodedSong, options: Any) -> Any:
    """The song with its bass and drums; windows that were not decoded are silent."""
    from jaxaccomp.generate import song

    tokens_NLP = np.zeros((*one.song.melody_NL.shape, 2), np.int32)
    tokens_NLP[: len(one.tokens_NLP)] = one.tokens_NLP
    return song.finish(one.song.score, one.song.choice, tokens_NLP, options)


def _melody_is_untouched(decoded: Sequence[_DecodedSong], control: dict[str, Any]) -> bool:
    from jaxaccomp.generate.options import PlayOptions

    columns = ["start", "end", "pitch", "velocity"]
    options = PlayOptions.of(**control)
    for one in decoded:
        result = _finished(one, options)
        wanted = one.song.score.track_notes(one.song.choice.track)[columns].tolist()
        if wanted not in [result.track_notes(track.index)[columns].tolist() for track in result.tracks]:
            return False
    return True


def table(results: dict[str, Any]) -> str:
    """A line for each control and measure."""
    lines = [
        f"{results['songs']} songs, {results['windows']} windows each at most; "
        f"the melody is {'untouched' if results['melody_untouched'] else 'CHANGED'} in all of them",
        "",
        "| control | values | measure | response | monotone |",
        "|---|---|---|---|---|",
    ]
    for row in results["rows"]:
        curve = " · ".join(f"{value:.3g}" for value in row["curve"])
        answer = "yes" if row["monotone"] else "no"
        lines.append(f"| {row['control']} | {' · '.join(row['values'])} | {row['measure']} | {curve} | {answer} |")
    return "\n".join(lines)
