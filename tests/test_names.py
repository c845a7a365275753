"""Identifiers are the field's own words, and no class name means two things."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "jaxaccomp"

BANNED = {
    "hear": "read, encode",
    "heard": "read, sounding",
    "hears": "encodes",
    "doubt": "toward_prior",
    "parcel": "pending take",
    "conveyor": "pipeline",
    "played": "decoded",
    "playing": "sounding",
    "twin": "duplicate",
    "twins": "duplicates",
    "mourn": "failure",
    "bury": "replace",
    "room": "module, part",
    "rooms": "modules, parts",
    "shelf": "folder",
    "shelves": "folders",
    "tune": "melody",
    "tunes": "melodies",
    "Loss": "JobFailure (a loss is what training minimizes)",
}
"""Word → what the field calls it."""

ALLOWED = {"demos": {"tune", "tunes"}}
"""A demo is a tune: a melody with its chords and form."""

SHARED_CLASSES: set[str] = set()


def _identifiers(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for name in (getattr(node, field, None) for field in ("id", "name", "attr", "arg", "asname")):
            if isinstance(name, str):
                yield getattr(node, "lineno", 0), name


def _words(identifier: str) -> list[str]:
    parts = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", identifier).split("_")
    return [part if part == "Loss" and identifier == "Loss" else part.lower() for part in parts]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_identifiers_use_the_standard_noun(path):
    allowed = ALLOWED.get(path.relative_to(PACKAGE).parts[0], set())
    found = {
        f"line {line}: {name} ({BANNED[word]})"
        for line, name in _identifiers(path)
        for word in _words(name)
        if word in BANNED and word not in allowed
    }
    assert not found


def test_no_class_name_has_two_meanings():
    homes = defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].add(str(path.relative_to(PACKAGE)))
    assert {name: sorted(paths) for name, paths in homes.items() if len(paths) > 1 and name not in SHARED_CLASSES} == {}
