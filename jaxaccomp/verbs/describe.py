"""Say what a checkpoint, the folder of a training run, or a dataset is: sizes, identity, figures.

X is a folder here, at a gs://, s3:// or https:// address, or the name of a checkpoint that ships.
"""

import argparse
import json
import math
import os
from pathlib import Path
from typing import Any

from jaxaccomp import remote
from jaxaccomp.errors import CheckpointError, DatasetError, JaxAccompError, UsageError


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    parser.add_argument("what", metavar="X", help="a checkpoint, a run's folder, or a dataset")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Describes."""
    described = describe(arguments.what)
    if arguments.json:
        print(json.dumps(described, indent=1))
    else:
        print("\n".join(_lines(described)))
    return 0


def describe(what: str) -> dict[str, Any]:
    """What a checkpoint, a run or a dataset is, as JSON values by name.

    Raises:
        UsageError: it is none of the three.
    """
    is_here = remote.scheme(what) is None
    if (is_here and (Path(what) / "metrics.jsonl").is_file()) or (not is_here and _is_run(what)):
        return _run(what)
    refusals: list[JaxAccompError] = []
    for kind in (_checkpoint, _dataset):
        try:
            return kind(what)
        except (CheckpointError, DatasetError) as error:
            refusals.append(error)
    if (is_here and Path(what).exists()) or not is_here:
        raise UsageError(f"{what}: expected a checkpoint, a run's folder or a dataset; {refusals[0]}")
    raise refusals[0]


def _is_run(what: str) -> bool:
    return remote.is_remote(what) and "metrics.jsonl" in remote.listing(what)


def _checkpoint(what: str) -> dict[str, Any]:
    from jaxaccomp.weights import checkpoint

    folder = checkpoint.resolve(what)
    entry = checkpoint.record(folder)
    parameters: dict[str, int] = {}
    for name, array in entry["arrays"].items():
        part = name.split("/", 1)[0]
        parameters[part] = parameters.get(part, 0) + math.prod(array["shape"])
    return {
        "kind": "checkpoint",
        "place": what,
        "parameters": parameters,
        "dtype": entry["dtype"],
        "bytes": sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
        "fingerprint": checkpoint.fingerprint(folder),
        "format version": entry["format_version"],
        "config": entry["config"],
        "provenance": entry["provenance"],
    }


def _dataset(what: str) -> dict[str, Any]:
    from jaxaccomp.data import shards

    metadata = shards.read_metadata(what)
    folder = shards.find(what)
    songs = shards.read_songs(folder)
    counts = metadata.pop("shard_lengths")
    splits = {
        split: {
            "windows": sum(lengths),
            "songs": sum(song["split"] == split for song in songs),
            "shards": len(lengths),
        }
        for split, lengths in counts.items()
    }
    return {"kind": f"dataset {metadata.pop('name')}", "place": what, "splits": splits, **metadata}


def _run(what: str) -> dict[str, Any]:
    if remote.is_remote(what):
        settings = json.loads(remote.read_text(f"{what.rstrip('/')}/config.json") or "{}")
        text = remote.read_text(f"{what.rstrip('/')}/metrics.jsonl") or ""
        states = {name.split("/", 2)[1] for name in remote.listing(what) if name.startswith("snapshots/")}
    else:
        try:
            settings = json.loads((Path(what) / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{what}: the run's config.json cannot be read ({error})") from error
        text = (Path(what) / "metrics.jsonl").read_text(encoding="utf-8")
        folder = Path(what) / "snapshots"
        states = set(os.listdir(folder)) if folder.is_dir() else set()
    lines = []
    for line in text.splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:  # the last line of a run that was killed
            continue
    measured = [line for line in lines if line.get("validation") is not None]
    best = min(measured, key=lambda line: line["validation"], default=None)
    return {
        "kind": f"run of train {settings.get('objective', '?')}",
        "place": what,
        "steps done": max((line["step"] for line in lines), default=0),
        "steps asked for": settings.get("steps"),
        "saved states": sorted(int(name) for name in states if name.isdecimal()),
        "best validation": None if best is None else {"validation": best["validation"], "step": best["step"]},
        "last": lines[-1] if lines else None,
        "settings": settings,
    }


def _lines(described: dict[str, Any], indent: str = "") -> list[str]:
    lines = []
    for name, value in described.items():
        if isinstance(value, dict):
            lines += [f"{indent}{name}", *_lines(value, indent + "  ")]
        elif isinstance(value, int) and not isinstance(value, bool):
            lines.append(f"{indent}{name}  {value:,}" if name not in ("seed", "step") else f"{indent}{name}  {value}")
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else value
            lines.append(f"{indent}{name}  {shown}")
    return lines
