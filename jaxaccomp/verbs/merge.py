"""Merge the shares of a collection run: `merge DIR…`.

One DIR that all machines wrote to: its manifest-I-of-N.jsonl become DIR/manifest.jsonl.
Several DIRs, one from each machine, and --out OUT: their manifests become OUT/manifest.jsonl, and the songs are linked
(or, across disks, copied) to OUT. Where two tell of the same song, `done` wins.
"""

import argparse
import sys
from pathlib import Path

from jaxaccomp.errors import CollectionError, UsageError


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declares the folders."""
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="--out of the runs, one or several")
    parser.add_argument("--out", type=Path, metavar="OUT", help="where all goes (default: DIR, if there is one)")


def run(arguments: argparse.Namespace) -> int:
    """Merges, and says what is in the whole and which shares are missing."""
    from jaxaccomp.collection import manifest

    if arguments.out is None and len(arguments.folders) > 1:
        raise UsageError("several folders need --out OUT, the folder of the whole")
    out = arguments.out or arguments.folders[0]
    sources = []
    for folder in arguments.folders:
        if not folder.is_dir():
            raise CollectionError(f"{folder}: no such folder; expected the --out of a collection run")
        found = manifest.shards(folder) or [path for path in (folder / manifest.NAME,) if path.is_file()]
        if not found:
            raise CollectionError(f"{folder}: no manifest there; expected the --out of a collection run")
        sources += found
    for source in sources:
        if source.parent.resolve() != out.resolve():
            manifest.gather(source, out)
    counts = manifest.merge_into(sources, out)
    total = sum(counts.values())
    print(
        f"{out / manifest.NAME}: {total} songs: " + ", ".join(f"{n} {status}" for status, n in sorted(counts.items()))
    )
    missing = manifest.missing_shards(sources)
    if missing:
        print(f"not there yet: {', '.join(missing)}", file=sys.stderr)
    return int(bool(missing))
