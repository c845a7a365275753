"""Measure throughput against this machine's own limits: `bench [SECTION] --preset NAME --batch-size N,… --json FILE`.

Without a section the models are timed. Each section has its own flags: `bench SECTION --help`.
"""

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path

from jaxaccomp.errors import UsageError

SECTIONS = {
    "models": "encoder, surrogate and decoder (what runs when no section is named)",
    "music": "reading, windowing and writing MIDI",
    "data": "building and reading datasets",
    "train": "training steps",
    "collection": "accompanying a whole collection",
    "precision": "what rounding to bfloat16 changes in what is played",
    "startup": "from `infer.py` to the file it writes: where the seconds go",
}
"""Each section lives in the module of its name in `jaxaccomp.bench`: `add_flags`, `run` → results, `table`."""


class _SectionParser(argparse.ArgumentParser):
    """A section's parser, which imports the section only when it is the one asked for."""

    def __init__(self, *, section: str, **settings):
        super().__init__(conflict_handler="resolve", **settings)
        self._section = section

    def parse_known_args(self, args=None, namespace=None):
        _add_common(self)
        _section(self._section).add_flags(self)
        return super().parse_known_args(args, namespace)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declares the flags of the default section, and one sub-parser for each section."""
    from jaxaccomp.bench import models

    _add_common(parser)
    models.add_flags(parser)
    sections = parser.add_subparsers(dest="section", metavar="SECTION", parser_class=_SectionParser)
    for section, summary in SECTIONS.items():
        sections.add_parser(section, section=section, help=summary, description=summary)


def run(arguments: argparse.Namespace) -> int:
    """Runs one section; prints its table, or its results as JSON."""
    if arguments.json not in (None, "-"):
        _require_writable(Path(arguments.json))
    section = _section(arguments.section or "models")
    results = section.run(arguments)
    text = json.dumps(results, indent=2)
    if arguments.json == "-":
        print(text)
        return 0
    print(section.table(results))
    if arguments.json:
        Path(arguments.json).write_text(text + "\n")
        print(f"wrote {arguments.json}", file=sys.stderr)
    return 0


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="few repeats: whether it works, and a rough figure")
    parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="write the results as JSON to FILE; without FILE to stdout, in place of the table",
    )


def _section(name: str):
    package = "evaluation" if name == "precision" else "bench"
    return import_module(f"jaxaccomp.{package}.{name}")


def _require_writable(path: Path) -> None:
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise UsageError(f"--json {path}: expected a file in a folder that exists")
