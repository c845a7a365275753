"""The index of a collection: one HTML file that lists, searches and sorts its songs, with links to their results."""

import html
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jaxaccomp.report import page, scores

NAME = "index.html"

_LINKS = ((".html", "page"), (".mid", "MIDI"), (".png", "roll"), (".mp3", "sound"))
"""What may lie beside a song's result, by ending, and what the link to it is called."""


def write(folder: Path, entries: Iterable[Mapping[str, Any]], title: str) -> Path:
    """Writes `index.html` into a folder of results.

    Args:
        folder: of the results.
        entries: a mapping for each song, as in `manifest.jsonl`: `input` and `status`, and where known `code`,
            `reason`, `outputs`, `metres`, `bars`, `melody`, `scores`.
        title: heading.

    Returns:
        The path written.

    Raises:
        RenderError: it cannot be written.
    """
    return page.save(folder / NAME, render(folder, list(entries), title), "index")


def render(folder: Path, entries: Sequence[Mapping[str, Any]], title: str) -> str:
    """The index as text; see `write`."""
    names = list(dict.fromkeys(name for entry in entries for name in entry.get("scores") or ()))
    labels = {name: scores.label(name) for name in names}
    columns: list[dict[str, Any]] = [
        {"name": "Song", "width": "minmax(14rem, 3fr)", "searched": True},
        {"name": "Status", "width": "5.5rem"},
        {"name": "Reason", "width": "minmax(8rem, 2fr)", "searched": True},
        {"name": "Melody", "width": "minmax(7rem, 1fr)", "searched": True},
        {"name": "Meter", "width": "5rem"},
        {"name": "Bars", "width": "4.5rem", "numeric": True},
        *(
            {"name": labels[name], "width": "minmax(5.5rem, 8rem)", "numeric": True, "percent": scores.is_share(name)}
            for name in names
        ),
        {"name": "Files", "width": "13rem", "links": True},
    ]
    data = {
        "title": title,
        "columns": columns,
        "filters": ["Status", "Reason", "Meter"],
        "rows": [_row(folder, entry, names) for entry in entries],
    }
    return page.fill(
        "index.html",
        title=html.escape(title),
        style=page.web("style.css") + page.web("index.css"),
        songs=page.embed(data),
        script=page.web("index.js"),
    )


def _row(folder: Path, entry: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    melody = entry.get("melody") or {}
    values = entry.get("scores") or {}
    return [
        _text(entry["input"]),
        entry["status"],
        _text(entry.get("code") or entry.get("reason") or ""),
        _text(melody.get("name") or ""),
        ", ".join(entry.get("metres") or entry.get("meters") or ()),
        entry.get("bars"),
        *(None if values.get(name) is None else round(float(values[name]), 4) for name in names),
        [link for output in entry.get("outputs") or () for link in _links(folder, output)],
    ]


def _links(folder: Path, output: str) -> list[tuple[str, str]]:
    stem = os.path.splitext(output)[0]
    found = [
        (name, stem + ending) for ending, name in _LINKS if ending == ".mid" or (folder / (stem + ending)).exists()
    ]
    return [(name, quote(os.fsencode(place))) for name, place in found]


def _text(name: str) -> str:
    """A file name as text that a browser takes."""
    return os.fsencode(name).decode("utf-8", "replace")
