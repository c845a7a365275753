"""How the band plays in other meters than 4/4, bar by bar of the song, beside the songs' own bass and drums.

The model knows bars of 16 steps; a song's bar takes 12 of them in 3/4 and 6/8, and 12 and 8 in 5/4. Attempts are
scored on the steps that the song's bars have. Songs are played whole; their bars of the meter in question are measured.
Nothing is ever trained on such bars, since datasets hold 4/4 alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from jaxaccomp.arrays import BARS, STEPS_PER_BAR
from jaxaccomp.config import require, setting


@dataclass(frozen=True, kw_only=True)
class MetersConfig:
    """What is measured."""

    songs: Path = setting(Path("songs"), "folder of MIDI files with bass and drums of their own")
    checkpoint: str = setting("trio-small", "name or folder")
    meters: tuple[str, ...] = setting(("3/4", "6/8", "5/4"), "which meters")
    limit: int = setting(20, "songs of each meter, at most")
    windows: int = setting(12, "windows of a song, at most, from its beginning")
    quick: bool = setting(False, "two songs of each meter")

    def __post_init__(self) -> None:
        for name in ("limit", "windows"):
            require(getattr(self, name) >= 1, f"--{name} must be at least 1, got {getattr(self, name)}")
        for meter in self.meters:
            top, _, bottom = meter.partition("/")
            require(top.isdigit() and bottom.isdigit(), f"--meters expects meters such as 3/4,6/8, got {meter!r}")


_LEAST = 8
"""Bars of the meter in which each part plays at least."""

MEASURES = {
    "bass_notes": "bass notes a bar",
    "bars_without_bass": "bars without a bass note",
    "bass_on_one": "bars with a bass note on the first beat",
    "consonance": "bass consonant with the melody on first beats",
    "drum_steps": "drum steps a bar",
    "kick_on_one": "bars with a kick on the first beat",
    "hits_kept": "drum steps kept from bar to bar",
    "bars_repeated": "drum bars equal to the one before",
    "places": "unlike the real drums in where in the bar they strike",
    "cut_off": "notes decoded where the bar has no step",
}
"""What the table shows, in words. `places` is half the sum of differences between the shares of hits at each step."""


class SongBars(NamedTuple):
    """Whole bars of one song, in order, at the steps that they have (T)."""

    melody_MT: Int[np.ndarray, "M T"]
    """Pitch that sounds."""
    bass_MT: Int[np.ndarray, "M T"]
    onset_MT: Bool[np.ndarray, "M T"]
    """Whether a bass note begins."""
    drums_MT: Int[np.ndarray, "M T"]
    cut_off: float
    """Share of notes where the bars have no step."""


def bars(
    melody_NL: np.ndarray, bass_NL: np.ndarray, drums_NL: np.ndarray, grid: Any, wanted_X: np.ndarray | None = None
) -> SongBars:
    """Cuts tokens into the song's bars.

    Args:
        melody_NL: melody tokens, window by window.
        bass_NL: bass tokens, likewise.
        drums_NL: drum tokens, likewise.
        grid: of the song.
        wanted_X: which of the model's bars are in the meter in question; None: all are.
    """
    from jaxaccomp.music import tokens

    count = min(melody_NL.size // STEPS_PER_BAR, len(grid))
    used_XT = (np.arange(STEPS_PER_BAR) >= grid.used_from[:count, None]) & (
        np.arange(STEPS_PER_BAR) < grid.used_to[:count, None]
    )
    number_X = np.cumsum(grid.opens_bar[:count]) - 1
    length_M = np.bincount(number_X, used_XT.sum(1))
    if count < len(grid) and not grid.opens_bar[count]:
        length_M[-1] = 0  # goes on in the next window
    wanted_X = np.ones(count, bool) if wanted_X is None else wanted_X[:count]
    usual = np.bincount(length_M[number_X[wanted_X]].astype(int)).argmax() if wanted_X.any() else 0
    whole_X = wanted_X & (length_M[number_X] == usual) & (usual > 0)

    def cut(values_NL: np.ndarray) -> np.ndarray:
        found_XT = values_NL.reshape(-1, STEPS_PER_BAR)[:count][whole_X]
        return found_XT[used_XT[whole_X]].reshape(len(np.unique(number_X[whole_X])), -1)

    event_XT = ((drums_NL > 0).astype(int) + tokens.onsets(bass_NL)).reshape(-1, STEPS_PER_BAR)[:count]
    event_XT = event_XT * wanted_X[:, None]
    sounding_NL = np.zeros(melody_NL.size, bool)
    sounding_NL[: count * STEPS_PER_BAR] = used_XT.ravel()
    bass_NL = np.where(sounding_NL.reshape(bass_NL.shape), bass_NL, 0)
    pitches = (tokens.sounding(part.reshape(1, -1))[0] for part in (melody_NL, bass_NL))
    return SongBars(
        *(cut(values) for values in (*pitches, tokens.onsets(bass_NL), drums_NL)),
        cut_off=float((event_XT * ~used_XT).sum() / max(event_XT.sum(), 1)),
    )


def measure(config: MetersConfig | None = None) -> dict[str, Any]:
    """Accompanies songs of each meter by default and with `--fast`, and measures them and the songs' own bands.

    Args:
        config: which songs; None: the defaults.
    """
    from jaxaccomp.generate import accompanist
    from jaxaccomp.generate.batcher import PendingTake
    from jaxaccomp.generate.options import PlayOptions, fast

    settings = config or MetersConfig()
    band = accompanist.load(settings.checkpoint)
    ways = {"default": PlayOptions(), "fast": PlayOptions(**fast())}
    limit = 2 if settings.quick else settings.limit
    found: dict[str, Any] = {}
    for meter in settings.meters:
        sources: dict[str, list[SongBars]] = {"real": [], "default": [], "fast": []}
        cut = slice(settings.windows)
        for prepared, grid, wanted_X, bass_NL, drums_NL in _songs(settings.songs, meter, limit, settings.windows):
            melody_NL = prepared.melody_NL[cut]
            sources["real"].append(bars(melody_NL, bass_NL[cut], drums_NL[cut], grid, wanted_X))
            for name, options in ways.items():
                used_NL = None if prepared.used_NL is None else prepared.used_NL[cut]
                take = PendingTake(melody_NL, prepared.fingerprint, used_NL=used_NL)
                band.settle([take], options)
                parts = (take.tokens_NLP[:, :, place].astype(np.int32) for place in range(2))
                sources[name].append(bars(melody_NL, *parts, grid, wanted_X))
        songs = len(sources["real"])
        profile_T = _profile(sources["real"]) if songs else None
        found[meter] = {
            "songs": songs,
            "bars": sum(len(one.drums_MT) for one in sources["real"]),
            "sources": {name: _summary(each, profile_T) if songs else None for name, each in sources.items()},
        }
    return {"meters": found}


def _songs(folder: Path, meter: str, limit: int, windows_at_most: int) -> Iterator[tuple[Any, ...]]:
    """Songs with bars in this meter in which both bass and drums play.

    Each is prepared, with its grid, which of its bars are in the meter, and both parts' tokens.
    """
    from jaxaccomp import files
    from jaxaccomp.errors import MidiError
    from jaxaccomp.generate import song
    from jaxaccomp.music import accompaniment, melody, midi
    from jaxaccomp.music.grid import settle

    wanted = tuple(int(number) for number in meter.split("/"))
    count = 0
    for path in sorted(Path(path) for path, _ in files.find_midi(folder)):
        if count == limit:
            return
        try:
            score = midi.read(path)
            told = settle(score.metres, score.ticks_per_quarter)
            is_meter_X = (told["numerator"] == wanted[0]) & (told["denominator"] == wanted[1])
            if not is_meter_X.any():
                continue
            prepared = song.prepare(score)
            windows = melody.windows(score, prepared.choice)
            parts = [accompaniment.tokens(score, windows, part) for part in ("bass", "drums")]
        except (MidiError, OSError):
            continue
        place_X = np.searchsorted(told["tick"], windows.grid.start_ticks, side="right") - 1
        wanted_X = is_meter_X[np.maximum(place_X, 0)]
        shown = np.flatnonzero(wanted_X[: windows_at_most * BARS])
        if all(len(shown) and (part.reshape(-1, STEPS_PER_BAR)[shown] > 1).any(1).sum() >= _LEAST for part in parts):
            count += 1
            yield prepared, windows.grid, wanted_X, *parts


def _profile(songs: Sequence[SongBars]) -> np.ndarray:
    """Share of the drums' hits at each step of the bar."""
    count_T = np.sum([(one.drums_MT > 0).sum(0) for one in songs], axis=0)
    return count_T / max(count_T.sum(), 1)


def _summary(songs: Sequence[SongBars], profile_T: np.ndarray) -> dict[str, float]:
    from jaxaccomp.music import measures, tokens

    melody_MT, bass_MT, onset_MT, drums_MT = (
        np.concatenate(part) for part in zip(*(one[:4] for one in songs), strict=True)
    )
    struck_MT = drums_MT > 0
    both_M = (melody_MT[:, 0] != tokens.SILENT) & (bass_MT[:, 0] != tokens.SILENT)
    consonant_M = np.isin((melody_MT[:, 0] - bass_MT[:, 0]) % 12, measures.CONSONANCES)
    kept, repeated = [], []
    for one in songs:
        struck_XT = one.drums_MT > 0
        either_X = (struck_XT[1:] | struck_XT[:-1]).sum(1)
        kept.append((struck_XT[1:] & struck_XT[:-1]).sum(1)[either_X > 0] / either_X[either_X > 0])
        repeated.append((one.drums_MT[1:] == one.drums_MT[:-1]).all(1))
    return {
        "bass_notes": float(onset_MT.sum(1).mean()),
        "bars_without_bass": float(1 - onset_MT.any(1).mean()),
        "bass_on_one": float(onset_MT[:, 0].mean()),
        "consonance": float(consonant_M[both_M].mean()) if both_M.any() else 0.0,
        "drum_steps": float(struck_MT.sum(1).mean()),
        "kick_on_one": float((drums_MT[:, 0] >> tokens.KICK & 1).mean()),
        "hits_kept": float(np.concatenate(kept).mean()),
        "bars_repeated": float(np.concatenate(repeated).mean()),
        "places": float(np.abs(_profile(songs) - profile_T).sum() / 2),
        "cut_off": float(np.mean([one.cut_off for one in songs])),
    }


def table(results: dict[str, Any]) -> str:
    """A block for each meter: a line for each measure; the songs' own band, as it plays, and `--fast`."""
    lines: list[str] = []
    for meter, found in results["meters"].items():
        lines += [f"{meter}: {found['songs']} songs, {found['bars']} bars", ""]
        if not found["songs"]:
            continue
        lines += [f"| {meter} | real | as it plays | `--fast` |", "|---|---|---|---|"]
        for name, title in MEASURES.items():
            cells = " | ".join(f"{found['sources'][source][name]:.2f}" for source in ("real", "default", "fast"))
            lines.append(f"| {title} | {cells} |")
        lines.append("")
    return "\n".join(lines)
