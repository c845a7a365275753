"""Whether an accompaniment is one song: its groove across the edges of windows, and what returns with the melody.

Also whether its drums mark the form: crashes where sections begin, rest after the melody's last note. The same songs'
own drums stand beside. Windows are 16 bars of a song, in order; edges at which the melody says that a section begins
are left out, since a drummer may change there.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxaccomp.arrays import STEPS_PER_BAR
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
        crash_on_section: whether there is a crash on the first beat of each new section.
        crash_elsewhere: whether there is one on each other first beat.
        one_drum: whether each group of four bars with drums is played on one drum alone.
        usual: how many steps of a bar are struck, a figure for each bar before the one in which the last melody note
            begins, where the song is whole.
        at_end: the same of the steps after that note, to the end of its bar.
    """

    inside: Float[np.ndarray, " inside"]
    across: Float[np.ndarray, " across"]
    repeats: Float[np.ndarray, " repeats"]
    crash_on_section: Float[np.ndarray, " sections"]
    crash_elsewhere: Float[np.ndarray, " others"]
    one_drum: Float[np.ndarray, " groups"]
    usual: Float[np.ndarray, " bars"]
    at_end: Float[np.ndarray, " ends"]


def changes(melody_NL: Int[np.ndarray, "N L"], drums_NL: Int[np.ndarray, "N L"], is_whole: bool = True) -> Changes:
    """Changes of groove in one song; bars in which neither side has drums do not count.

    Args:
        melody_NL: melody tokens of its windows.
        drums_NL: drum tokens, likewise.
        is_whole: whether these are all of the song's windows, so that its end is among them.
    """
    from jaxaccomp.generate.arrangement import groove_change
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
    busy_M, crash_M = busy_NS.ravel(), (drums_NL[:, ::STEPS_PER_BAR] >> tokens.CRASH & 1).ravel().astype(float)
    section_M = form.begins_M & (np.arange(len(busy_M)) > 0)
    kinds_G = tokens.hits(drums_NL).reshape(-1, 4 * STEPS_PER_BAR, tokens.DRUMS).any(1).sum(1)
    usual, at_end = _ends(melody_NL, drums_NL) if is_whole else (np.zeros(0), np.zeros(0))
    return Changes(
        inside=inside,
        across=across,
        repeats=repeats,
        crash_on_section=crash_M[section_M & busy_M],
        crash_elsewhere=crash_M[~form.begins_M & busy_M],
        one_drum=(kinds_G[kinds_G > 0] == 1).astype(float),
        usual=usual,
        at_end=at_end,
    )


def _ends(melody_NL: Int[np.ndarray, "N L"], drums_NL: Int[np.ndarray, "N L"]) -> tuple[np.ndarray, np.ndarray]:
    """How much is struck before the melody's last note, bar by bar, and after it."""
    from jaxaccomp.music import tokens

    onset_X = np.flatnonzero(tokens.onsets(melody_NL))
    if not len(onset_X):
        return np.zeros(0), np.zeros(0)
    bar, step = divmod(int(onset_X[-1]), STEPS_PER_BAR)
    struck_MT = (drums_NL > 0).reshape(-1, STEPS_PER_BAR)
    after_X = struck_MT[bar, step + 1 :]
    return struck_MT[:bar].mean(1), after_X.mean(keepdims=True) if len(after_X) else np.zeros(0)


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
        is_whole = len(prepared.melody_NL) <= settings.windows
        found["real"].append(changes(melody_NL, drums_NL, is_whole))
        for name, options in ways.items():
            take = PendingTake(melody_NL, prepared.fingerprint)
            band.settle([take], options)
            found[name].append(changes(melody_NL, take.tokens_NLP[:, :, 1].astype(np.int32), is_whole))
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
    names = [field.name for field in dataclasses.fields(Changes)]
    of_all = {name: np.concatenate([getattr(one, name) for one in songs]) if songs else np.zeros(0) for name in names}
    repeats = of_all["repeats"]
    return {
        **{name: float(values.mean()) if len(values) else None for name, values in of_all.items()},
        "same_groove": float((repeats <= SAME).mean()) if len(repeats) else None,
        "edges": len(of_all["across"]),
        "repeated_windows": len(repeats),
        "sections": len(of_all["crash_on_section"]),
        "ends": len(of_all["at_end"]),
    }


COLUMNS = {
    "inside": "groove's change inside windows",
    "across": "across their edges",
    "repeats": "from a repeat",
    "same_groove": "repeats of the same groove",
    "crash_on_section": "crash where a section begins",
    "crash_elsewhere": "on other first beats",
    "usual": "steps struck",
    "at_end": "after the last note",
    "one_drum": "four bars on one drum",
}
"""What the table shows, in words."""


def table(results: dict[str, Any]) -> str:
    """One line a source."""
    real = results["sources"]["real"]
    lines = [
        f"{results['songs']} songs, {real['edges']} edges of windows inside a section, "
        f"{real['repeated_windows']} repeats, {real['sections']} beginnings of sections, {real['ends']} ends",
        "",
        f"| | {' | '.join(COLUMNS.values())} |",
        "|---" * (1 + len(COLUMNS)) + "|",
    ]
    for name, row in results["sources"].items():
        cells = ["–" if row[key] is None else f"{row[key]:.2f}" for key in COLUMNS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)
