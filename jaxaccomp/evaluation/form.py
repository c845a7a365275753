"""Whether an accompaniment is one song: its groove across the edges of windows, and what returns with the melody.

The same songs' own drums stand beside. Windows are 16 bars of a song, in order; edges at which the melody says that a
section begins are left out, since a drummer may change there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxaccomp.config import require, setting


@dataclass(frozen=True, kw_only=True)
class FormConfig:
    """What is measured."""

    songs: Path = setting(Path("songs"), "folder of MIDI files with drums of their own")
    checkpoint: str = setting("trio-small", "name or folder")
    limit: int = setting(100, "songs, at most")
    windows: int = setting(12, "windows of a song, at most, from its beginning")
    quick: bool = setting(False, "five songs")

    def __post_init__(self) -> None:
        require(self.limit >= 1, f"--limit must be at least 1, got {self.limit}")
        require(self.windows >= 2, f"--windows must be at least 2, got {self.windows}")


SAME = 0.5
"""Change of groove up to which two windows have the same one."""


@dataclass(frozen=True)
class Changes:
    """Changes of groove in one song's drums, see `selection.groove_change`.

    Attributes:
        inside: from bar to bar within windows.
        across: from the last bar of a window to the first of the next, where no section begins.
        repeats: between a window and the one whose melody it repeats, mean over their bars.
    """

    inside: Float[np.ndarray, " inside"]
    across: Float[np.ndarray, " across"]
    repeats: Float[np.ndarray, " repeats"]


def changes(melody_NL: Int[np.ndarray, "N L"], drums_NL: Int[np.ndarray, "N L"]) -> Changes:
    """Changes of groove in one song; bars in which neither side has drums do not count."""
    from jaxaccomp.generate.selection import groove_change
    from jaxaccomp.music import sections, tokens

    form = sections.form(melody_NL)
    struck_NST = tokens.bars(drums_NL > 0)
    busy_NS = struck_NST.any(2)

    def between(one: Bool[np.ndarray, "K T"], other: Bool[np.ndarray, "K T"]) -> Float[np.ndarray, " kept"]:
        return groove_change(one, other)[one.any(1) | other.any(1)]

    inside = between(struck_NST[:, :-1].reshape(-1, 16), struck_NST[:, 1:].reshape(-1, 16))
    goes_on_N = ~form.begins_with_window_N[1:]
    across = between(struck_NST[:-1, -1][goes_on_N], struck_NST[1:, 0][goes_on_N])
    again = np.flatnonzero(form.repeats_N != np.arange(len(melody_NL)))
    again = again[busy_NS[again].any(1) & busy_NS[form.repeats_N[again]].any(1)]
    repeats = groove_change(struck_NST[again], struck_NST[form.repeats_N[again]]).mean(1)
    return Changes(inside, across, repeats)


def measure(config: FormConfig | None = None) -> dict[str, Any]:
    """Accompanies songs by default and with `--fast`, and measures them and the songs' own drums.

    Args:
        config: which songs; None: the defaults.
    """
    from jaxaccomp import files
    from jaxaccomp.errors import MidiError
    from jaxaccomp.generate import accompanist, song
    from jaxaccomp.generate.batcher import PendingTake
    from jaxaccomp.generate.options import PlayOptions, fast
    from jaxaccomp.music import midi

    settings = config or FormConfig()
    band = accompanist.load(settings.checkpoint)
    limit = 5 if settings.quick else settings.limit
    found: dict[str, list[Changes]] = {"real": [], "default": [], "fast": []}
    ways = {"default": PlayOptions(), "fast": PlayOptions(**fast())}
    for path in sorted(path for path, _ in files.find_midi(settings.songs)):
        if len(found["real"]) == limit:
            break
        try:
            score = midi.read(path)
            prepared = song.prepare(score)
        except (MidiError, OSError):
            continue
        melody_NL = prepared.melody_NL[: settings.windows]
        drums_NL = own_drums(score, prepared.choice)[: settings.windows]
        if len(melody_NL) < 2 or not (drums_NL > 0).any():
            continue
        found["real"].append(changes(melody_NL, drums_NL))
        for name, options in ways.items():
            take = PendingTake(melody_NL, prepared.fingerprint)
            band.settle([take], options)
            found[name].append(changes(melody_NL, take.tokens_NLP[:, :, 1].astype(np.int32)))
    return {"songs": len(found["real"]), "sources": {name: _summary(each) for name, each in found.items()}}


def own_drums(score: Any, choice: Any) -> Int[np.ndarray, "N L"]:
    """Tokens of a song's own drums, window by window as its melody's."""
    from jaxaccomp.music import melody, tokens

    windows = melody.windows(score, choice)
    drums = [track.index for track in score.tracks if track.is_drums]
    notes = score.notes[np.isin(score.notes["track"], drums)]
    row = tokens.drum_line(windows.grid.step_of(notes["start"]), notes["pitch"], windows.tokens_NL.size)
    return row.reshape(windows.tokens_NL.shape)


def _summary(songs: Sequence[Changes]) -> dict[str, Any]:
    inside, across, repeats = (
        np.concatenate([getattr(one, name) for one in songs]) if songs else np.zeros(0)
        for name in ("inside", "across", "repeats")
    )
    return {
        "inside": float(inside.mean()) if len(inside) else None,
        "across": float(across.mean()) if len(across) else None,
        "repeats": float(repeats.mean()) if len(repeats) else None,
        "same_groove": float((repeats <= SAME).mean()) if len(repeats) else None,
        "edges": len(across),
        "repeated_windows": len(repeats),
    }


def table(results: dict[str, Any]) -> str:
    """One line a source."""
    real = results["sources"]["real"]
    lines = [
        f"{results['songs']} songs, {real['edges']} edges of windows inside a section, "
        f"{real['repeated_windows']} repeats",
        "",
        "| | groove's change inside windows | across their edges | from a repeat | repeats of the same groove |",
        "|---|---|---|---|---|",
    ]
    for name, row in results["sources"].items():
        cells = [
            "–" if row[key] is None else f"{row[key]:.2f}" for key in ("inside", "across", "repeats", "same_groove")
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)
