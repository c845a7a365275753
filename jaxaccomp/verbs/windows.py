"""Cut a folder of MIDI files into a TFDS dataset of 16-bar trio windows: `windows MIDI_DIR --out DIR`.

The dataset lies in DIR/trio_windows/1.0.0, with `ledger.jsonl`: one line for each file, what became of it and why.
A run that was interrupted continues when the same command is given again.
"""

import argparse
import os
import sys
from pathlib import Path

from jaxaccomp import leases, locks, remote
from jaxaccomp.data.staging import WindowsConfig
from jaxaccomp.errors import DatasetError, UsageError
from jaxaccomp.verbs import flags


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    parser.add_argument(
        "source", type=remote.path, metavar="MIDI_DIR", help="folder of .mid and .midi files, at any depth"
    )
    parser.add_argument("--out", type=remote.path, required=True, metavar="DIR", help="where the dataset goes")
    flags.add(parser, WindowsConfig, "windows of a song")
    parser.add_argument(
        "--splits",
        type=Path,
        metavar="FILE.csv",
        help="table with the columns path (relative to MIDI_DIR) and split (train, validation or test); songs it does "
        "not list, and versions of a song, follow the songs they resemble (default: hashes decide)",
    )
    work = parser.add_argument_group("how the work is done")
    work.add_argument(
        "--workers", type=int, default=os.cpu_count(), metavar="INT", help="processes (default: one for each core)"
    )
    work.add_argument(
        "--shards", type=int, metavar="INT", help="shards of each split (default: one for each 32,768 windows)"
    )
    work.add_argument(
        "--beam-runner",
        metavar="NAME",
        help="run as an Apache Beam pipeline, e.g. DirectRunner, FlinkRunner, DataflowRunner; "
        "needs `pip install jaxaccomp[beam]`, and MIDI_DIR and DIR on a file system that all workers share",
    )
    work.add_argument(
        "--beam-options", default="", metavar="TEXT", help='options of the pipeline, e.g. "--direct_num_workers=4"'
    )


def run(arguments: argparse.Namespace) -> int:
    """Builds the dataset and says what is in it."""
    from jaxaccomp.data import shards, windows
    from jaxaccomp.data.publishing import Publication

    for name in ("workers", "shards"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name} must be positive, got {value}")
    config = flags.build(WindowsConfig, arguments)
    engine = None
    if arguments.beam_runner:
        from jaxaccomp.data import beam

        engine = beam.engine(arguments.beam_runner, arguments.beam_options)
    source = remote.here(arguments.source, "songs")
    out = Publication(arguments.out, windows.NAME).out
    with shards.writing(arguments.out), locks.locked(out, DatasetError), leases.held(arguments.out, DatasetError):
        summary = windows.build(
            source,
            arguments.out,
            config,
            workers=arguments.workers,
            shard_count=arguments.shards,
            engine=engine,
            split_table=arguments.splits,
        )
    files, counts = summary["files"], summary["windows"]
    print(f"{summary['folder']}")
    print("  windows  " + ", ".join(f"{split} {count:,}" for split, count in counts.items()))
    print("  files    " + ", ".join(f"{outcome} {count:,}" for outcome, count in files.items()))
    if not sum(counts.values()):
        raise DatasetError(
            f"{arguments.source}: none of the {sum(files.values()):,} files gives a window, so the dataset is empty; "
            f"{summary['folder']}/{windows.LEDGER} tells why for each file"
        )
    if files.get("used", 0) < sum(files.values()):
        print(f"  {windows.LEDGER} tells what became of each file", file=sys.stderr)
    return 0
