"""Songs ⇄ windows for the latent space: a song's own trio, and trios as MIDI files with a report beside them."""

import json
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxaccomp import files
from jaxaccomp.arrays import PARTS, WindowTokens
from jaxaccomp.config import require
from jaxaccomp.errors import MidiError
from jaxaccomp.generate import song as songs
from jaxaccomp.latent.space import Latents, LatentSpace
from jaxaccomp.music import midi, tokens, trio


class Windows(NamedTuple):
    """A song's windows of three parts, one after the other."""

    tokens_NLP: WindowTokens
    qpm: float


def windows(path: str | PathLike) -> Windows:
    """A song's windows by the reference's rules, without overlap: of its longest trio of melody, bass and drums.

    Raises:
        MidiError: it cannot be read, or has no 16 bars in which all three play (`no-windows`).
    """
    found = list(trio.trios(midi.read(path), hop=16))
    if not found:
        raise MidiError(
            "no-windows",
            str(path),
            "has no 16 bars of 4/4 without a change of tempo in which melody, bass and drums all play; "
            "choose another song, or start from the melody alone: --from surrogate",
        )
    longest = max(found, key=lambda one: len(one.bars))
    return Windows(longest.windows(longest.bars), longest.qpm)


def place(space: LatentSpace, path: str | PathLike, window: int, source: str) -> tuple[np.ndarray, float]:
    """Where a window of a song lies in the latent space, the posterior's mean [Z], and the song's tempo.

    Args:
        space: the latent space.
        path: the song.
        window: its number, from 0.
        source: `encoder` reads all parts of the song, `surrogate` its melody alone.

    Raises:
        MidiError: the song cannot be read, or has no such window.
    """
    if source == "surrogate":
        score = midi.read(path)
        rows, qpm = songs.prepare(score).melody_NL, 6e7 / float(score.tempos["microseconds"][0])
    else:
        rows, qpm = windows(path)
    if not 0 <= window < len(rows):
        raise MidiError("no-windows", str(path), f"has windows 0 to {len(rows) - 1}, so no window {window}")
    posterior = (space.guess if source == "surrogate" else space.encode)(rows[window : window + 1])
    return posterior.mean_BZ[0], qpm


def path_report(points_NZ: Latents, tokens_NLP: WindowTokens) -> dict[str, list[float]]:
    """How far each point of a path is from its beginning: in z, and as the share of steps that differ, by part."""
    differs_NLP = tokens_NLP != tokens_NLP[:1]
    return {
        "z_distance": np.linalg.norm(points_NZ - points_NZ[0], axis=1).tolist(),
        **{f"{part}_steps_changed": differs_NLP[:, :, p].mean(1).tolist() for p, part in enumerate(PARTS)},
    }


def agreement(original_NLP: WindowTokens, said_NLP: WindowTokens) -> dict[str, dict[str, float]]:
    """Of each part, the share of steps that are equal, and of note or hit onsets that come back as they were."""
    found = {}
    for p, part in enumerate(PARTS):
        original_NL, said_NL = original_NLP[:, :, p], said_NLP[:, :, p]
        onset_NL = original_NL > 0 if part == "drums" else tokens.onsets(original_NL)
        equal_NL = original_NL == said_NL
        found[part] = {
            "steps": float(equal_NL.mean()),
            "onsets": float(equal_NL[onset_NL].mean()) if onset_NL.any() else float("nan"),
        }
    return found


def write_trio(tokens_NLP: WindowTokens, path: Path, qpm: float = 120.0) -> None:
    """Writes windows as one MIDI file, one after the other.

    Raises:
        MidiError: `unwritable`.
    """
    require(len(tokens_NLP) > 0, f"{path}: there are no windows to write")
    midi.write(trio.to_score(np.concatenate(list(tokens_NLP)), qpm), path)


def write_report(report: Mapping[str, Any], path: Path) -> None:
    """Writes JSON that appears whole.

    Raises:
        MidiError: `unwritable`.
    """
    try:
        with files.replacing(path) as draft:
            draft.write_text(json.dumps(report, indent=1) + "\n")
    except OSError as error:
        raise MidiError("unwritable", str(path), f"cannot be written ({error.strerror})") from error


def compare(ours_NLP: WindowTokens, real_NLP: WindowTokens) -> Sequence[tuple[str, float, float, float]]:
    """Measures of two sets of windows: title, mean of ours, mean and standard deviation of the real ones."""
    from jaxaccomp.music import measures

    ours, real = measures.measure(ours_NLP), measures.measure(real_NLP)
    return [
        (title, float(ours[name].mean()), float(real[name].mean()), float(real[name].std()))
        for name, title in measures.TITLES.items()
    ]
