"""The listening page: one HTML file with a song and its takes, to hear, see and compare, that needs no network.

    page.write("song.html", page.Contents(original=score, melody=choice, takes=(page.Version("Take 1", take.score),)))

The original and every take are stored part by part as short MP3s, equal parts once. The page's own code lies in `web/`.
"""

import base64
import html
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from jaxaccomp import files
from jaxaccomp.errors import RenderError
from jaxaccomp.music.melody import Choice
from jaxaccomp.music.midi import Score
from jaxaccomp.report import audio, clock, facts, pianoroll, segments, stems
from jaxaccomp.report.bars import bars
from jaxaccomp.report.scores import in_words
from jaxaccomp.report.segments import Quality
from jaxaccomp.report.stems import Stem

ROLE_NAMES = {"melody": "Melody", "bass": "Bass", "drums": "Drums", "other": "Other tracks"}
OTHER_DRUM = len(pianoroll.DRUM_NAMES)
"""Lane of percussion that belongs to none of the nine classes."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """One way in which a song sounds.

    Attributes:
        name: what to call it, such as "Take 2".
        score: its music.
        melody: the melody's track or tracks in `score`, None for what a rule takes.
        file: name under which its MIDI file is downloaded.
        scores: what it was judged by, by name; see `scores.in_words`. Takes are sorted by the first, largest first.
    """

    name: str
    score: Score
    melody: int | tuple[int, ...] | None = None
    file: str = "song.mid"
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a page is made of.

    Attributes:
        title: heading of the page.
        original: the song as it was read.
        choice: which of its tracks is the melody, and why.
        takes: versions of the song, in the order of their numbers.
        settings: name and value of each setting worth telling.
        command: what makes the takes again.
    """

    title: str
    original: Version
    choice: Choice
    takes: Sequence[Version]
    settings: Mapping[str, str] = field(default_factory=dict)
    command: str = ""


def write(path: str | os.PathLike, song: Contents, *, quality: Quality | None = None, **sound: Any) -> Path:
    """Writes a song's page, which appears under its name only when it is complete.

    Args:
        path: where to.
        song: what to show.
        quality: of the sound; None: the better one, unless the song is long.
        sound: synthesizer and sound font, see `audio.synthesize`.

    Raises:
        RenderError: sound cannot be rendered, or the page cannot be written.
    """
    return save(Path(path), render(song, quality=quality, **sound), "page")


def save(path: Path, text: str, what: str) -> Path:
    """Writes a file of text that is whole or not there.

    Raises:
        RenderError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(path) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RenderError(f"{path}: cannot write the {what} there ({error.strerror})") from error
    return path


def render(song: Contents, *, quality: Quality | None = None, **sound: Any) -> str:
    """The page as text; see `write`."""
    versions = [song.original, *song.takes]
    seconds = max(audio.length_s(version.score) for version in versions)
    parts = {}  # by what sounds, so that a part that several versions share is stored once
    found: list[dict[str, str]] = []
    for version in versions:
        split = stems.split(version.score, pianoroll.roles(version.score, version.melody))
        names = {}
        for stem in split:
            number, _ = parts.setdefault((stem.role, stem.score.data), (len(parts), stem))
            names[stem.role] = f"s{number}"
        found.append(names)
    sounds = {}
    for number, stem in parts.values():
        stereo = audio.synthesize(stem.score, seconds=seconds, **sound)
        sounds[f"s{number}"] = stereo.mean(1, keepdims=True)  # half the memory, and what is stored in the end
    gain = audio.shared_gain([_mix([sounds[name] for name in names.values()]) for names in found])
    quality = quality or segments.quality(seconds * len(sounds))
    encoded = {name: segments.encode(samples, gain, quality) for name, samples in sounds.items()}
    data = {
        "title": song.title,
        "facts": facts.of_song(song.original.score, song.choice),
        "settings": list(song.settings.items()),
        "command": song.command,
        "length_s": round(seconds, 3),
        "segment_s": segments.SEGMENT_S,
        "lead_s": segments.LEAD_S,
        "segments": max(len(pieces) for pieces in encoded.values()),
        "roles": [role for role in stems.ROLES if any(role in names for names in found)],
        "role_names": ROLE_NAMES,
        "drums": [{"lane": lane, "name": name} for lane, name in reversed([*enumerate(pianoroll.DRUM_NAMES)])]
        + [{"lane": OTHER_DRUM, "name": "other"}],
        "stems": {f"s{n}": {"role": stem.role, "notes": _notes(stem)} for n, stem in parts.values()},
        "sources": [_source(version, names) for version, names in zip(versions, found, strict=True)],
        **_bars(versions),
    }
    pieces = [
        f'<script type="text/plain" id="audio-{name}-{n}">{piece}</script>'
        for name, row in encoded.items()
        for n, piece in enumerate(row)
        if piece is not None
    ]
    return fill(
        "page.html",
        title=html.escape(song.title),
        style=web("style.css"),
        song=embed(data),
        audio="\n".join(pieces),
        script="\n".join(map(web, ("player.js", "roll.js", "page.js"))),
    )


def frame(song: Contents, height: int = 900) -> str:
    """The page as an HTML fragment that a notebook shows: it can run and save files, but reach nothing around it."""
    return (
        f'<iframe sandbox="allow-scripts allow-downloads" width="100%" height="{height}" style="border: 0" '
        f'title="{html.escape(song.title)}" srcdoc="{html.escape(render(song))}"></iframe>'
    )


def fill(template: str, **values: str) -> str:
    """A file of `web/` with every `{{name}}` replaced."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], web(template))


@cache
def web(name: str) -> str:
    """A file of `web/`."""
    return (resources.files("jaxaccomp.report") / "web" / name).read_text(encoding="utf-8")


def embed(data: Any) -> str:
    """JSON that may stand inside a script element."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _mix(parts: Sequence[np.ndarray]) -> np.ndarray:
    total = np.zeros_like(parts[0])
    for part in parts:
        total += part
    return total


def _source(version: Version, names: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": version.name,
        "file": version.file,
        "midi": base64.b64encode(version.score.data).decode("ascii"),
        "stems": dict(names),
        "scores": [told._asdict() for told in in_words(version.scores)],
    }


def _notes(stem: Stem) -> list[list[float | int]]:
    """Start and length in seconds, pitch or drum lane, velocity of each note, by start."""
    notes = np.sort(stem.score.notes, order=["start", "pitch"])
    start_s, end_s = clock.seconds(stem.score, notes["start"]), clock.seconds(stem.score, notes["end"])
    places = notes["pitch"].tolist()
    if stem.role == "drums":
        places = [pianoroll.LANE.get(pitch, OTHER_DRUM) for pitch in places]
    rows = zip(start_s.tolist(), (end_s - start_s).tolist(), places, notes["velocity"].tolist(), strict=True)
    return [[round(start, 3), round(length, 3), place, velocity] for start, length, place, velocity in rows]


def _bars(versions: Sequence[Version]) -> dict[str, list[float]]:
    """When bars and beats begin, in seconds, to the end of the longest version."""
    longest = max((version.score for version in versions), key=audio.length_s)
    grid = bars(longest)
    return {
        "bars": np.round(clock.seconds(longest, grid.bar_ticks), 3).tolist(),
        "beats": np.round(clock.seconds(longest, grid.beat_ticks), 3).tolist(),
    }
