"""Measure throughput against this machine's own limits: `bench [SECTION] --preset NAME --batch-size N,… --json FILE`.

Without a section the models are timed. Each section has its own flags: `bench SECTION --help`. Each is a function of a
config, too, for use from Python: `jaxaccomp.bench.models.measure(ModelsConfig(quick=True))`.
"""

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from jaxaccomp.bench import settings
from jaxaccomp.errors import RenderError, UsageError
from jaxaccomp.evaluation import controls, form, meters, precision
from jaxaccomp.verbs import flags


class Section(NamedTuple):
    """One section of the bench.

    Attributes:
        summary: for `--help`.
        module: has `measure(config)`, which gives the results, and `table(results)`, their text.
        config: the class of its settings.
    """

    summary: str
    module: str
    config: type


SECTIONS = {
    "models": Section(
        "encoder, surrogate and decoder (what runs when no section is named)",
        "jaxaccomp.bench.models",
        settings.ModelsConfig,
    ),
    "music": Section("reading, windowing and writing MIDI", "jaxaccomp.bench.music", settings.MusicConfig),
    "data": Section("building and reading datasets", "jaxaccomp.bench.data", settings.DataConfig),
    "train": Section("training steps", "jaxaccomp.bench.train", settings.TrainConfig),
    "collection": Section(
        "accompanying a whole collection", "jaxaccomp.bench.collection", settings.CollectionBenchConfig
    ),
    "precision": Section(
        "what rounding to bfloat16 changes in what is played",
        "jaxaccomp.evaluation.precision",
        precision.PrecisionConfig,
    ),
    "controls": Section(
        "what density, fills, swing and the other controls do, over many songs",
        "jaxaccomp.evaluation.controls",
        controls.ControlsConfig,
    ),
    "form": Section(
        "whether the groove holds across windows and returns with the melody, beside the songs' own drums",
        "jaxaccomp.evaluation.form",
        form.FormConfig,
    ),
    "meters": Section(
        "how the band plays in 3/4, 6/8 and 5/4, beside the songs' own",
        "jaxaccomp.evaluation.meters",
        meters.MetersConfig,
    ),
    "startup": Section(
        "from `infer.py` to the file it writes: where the seconds go",
        "jaxaccomp.bench.startup",
        settings.StartupConfig,
    ),
    "all": Section(
        "all that tells how fast this machine is, one after the other: results.json and tables.md",
        "jaxaccomp.bench.everything",
        settings.EverythingConfig,
    ),
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declares the flags of the default section, and one sub-parser for each section."""
    _add(parser, "models")
    sections = parser.add_subparsers(dest="section", metavar="SECTION")
    for name, section in SECTIONS.items():
        below = sections.add_parser(name, help=section.summary, description=section.summary, conflict_handler="resolve")
        _add(below, name)


def run(arguments: argparse.Namespace) -> int:
    """Runs one section; prints its table, or its results as JSON."""
    name = arguments.section or "models"
    config = flags.build(SECTIONS[name].config, arguments)
    given = vars(arguments)
    destination, picture, earlier = (given.get(flag) for flag in ("json", "plot", "compare"))
    if destination not in (None, "-"):
        _require_writable(Path(destination))
    if picture and not picture.absolute().parent.is_dir():
        raise RenderError(f"{picture}: the picture cannot be written, its folder does not exist")
    before = None
    if earlier:
        from jaxaccomp.bench import comparison

        before = comparison.read(earlier)
    module = import_module(SECTIONS[name].module)
    results: dict[str, Any] = module.measure(config)
    if picture:
        from jaxaccomp.bench import plot

        plot.draw(results, picture)
    if before is not None:
        results["ratio_to_earlier"] = comparison.ratios(results, before)
    text = json.dumps(results, indent=2)
    if destination == "-":
        print(text)
        return 0
    print(module.table(results))
    if before is not None:
        print(comparison.table(results, before))
    if destination:
        Path(destination).write_text(text + "\n")
        print(f"wrote {destination}", file=sys.stderr)
    return 0


def _add(parser: argparse.ArgumentParser, name: str) -> None:
    flags.add(parser, SECTIONS[name].config, "what is measured")
    results = parser.add_argument_group("results")
    results.add_argument(
        "--json",
        nargs="?",
        const="-",
        default=argparse.SUPPRESS,
        metavar="FILE",
        help="write the results as JSON to FILE; without FILE to stdout, in place of the table",
    )
    results.add_argument(
        "--compare",
        type=Path,
        default=argparse.SUPPRESS,
        metavar="OLD.json",
        help="also show each rate beside that of an earlier run, and their ratio",
    )
    if name == "models":
        results.add_argument(
            "--plot",
            type=Path,
            default=argparse.SUPPRESS,
            metavar="FILE",
            help="draw the roofline and throughput against batch size",
        )


def _require_writable(path: Path) -> None:
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise UsageError(f"--json {path}: expected a file in a folder that exists")
