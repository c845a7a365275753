"""Measure a checkpoint on songs it never saw: `evaluate --checkpoint C --data WINDOWS --out FILE.json`.

Prints likelihoods, the share of the gap that the surrogate closes, and what is heard when it plays, between a ceiling
(the encoder's own z) and floors (z = 0, another song's z). With --card it writes the model card as well, from the same
figures; --results takes figures measured before instead of measuring.
"""

import argparse
import json
import math
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from jaxaccomp import files, remote
from jaxaccomp.config import DTYPES
from jaxaccomp.errors import DatasetError, UsageError

LIMIT = 2000
"""Windows measured unless told otherwise: two minutes on two cores with the default that ships."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declares what to measure, how, and what to make of it."""
    parser.add_argument("--checkpoint", default="trio-small", metavar="C", help="name or folder (default: trio-small)")
    parser.add_argument(
        "--data",
        type=remote.path,
        metavar="DIR",
        help="dataset of windows or of latents, as `windows --out` or `latents --out` wrote it",
    )
    parser.add_argument("--split", default="test", metavar="S[,S]", help="splits to measure on (default: test)")
    parser.add_argument(
        "--limit", type=int, default=LIMIT, metavar="N", help=f"windows at most; 0 is all (default: {LIMIT})"
    )
    parser.add_argument(
        "--samples", type=int, default=500, metavar="N", help="windows to play and listen to (default: 500)"
    )
    parser.add_argument(
        "--temperature",
        type=_numbers(2),
        action="append",
        metavar="T,T",
        help="of bass,drums; given several times, the first is used and the surrogate is tried at each",
    )
    parser.add_argument(
        "--spread",
        type=_numbers(1),
        action="append",
        metavar="S",
        help="how far the surrogate's samples stray from its mean, in its own standard deviations; likewise",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="decides all draws (default: 0)")
    parser.add_argument("--batch-size", type=int, default=64, metavar="N", help="windows at a time (default: 64)")
    parser.add_argument(
        "--dtype", choices=DTYPES, default="float32", help="of the decoders' products (default: %(default)s)"
    )
    parser.add_argument("--out", type=remote.path, metavar="FILE", help="where the figures go, as JSON")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON instead of tables")
    parser.add_argument("--results", type=Path, metavar="FILE", help="take the figures from here, do not measure")
    card = parser.add_argument_group("the model card")
    card.add_argument("--card", type=remote.path, metavar="FILE", help="where to write it")
    card.add_argument("--baseline", type=Path, metavar="FILE", help="figures of another checkpoint to show beside")
    card.add_argument(
        "--surrogate",
        type=Path,
        metavar="FILE",
        help="figures of this MusicVAE with a surrogate from `train.py surrogate`, to show beside",
    )
    card.add_argument("--about", type=Path, metavar="FILE", help="text on data, licenses and limits to put into it")
    card.add_argument("--run", type=Path, action="append", metavar="WORKDIR", help="a run that trained it; repeatable")
    card.add_argument("--machine", default="", metavar="TEXT", help="what the runs ran on")


def run(arguments: argparse.Namespace) -> int:
    """Measures, or reads what was measured, and tells it in the forms asked for."""
    if (arguments.results is None) == (arguments.data is None):
        raise UsageError("give either --data, what to measure on, or --results, figures measured before")
    for name, least in (("limit", 0), ("samples", 1), ("batch_size", 1)):
        if getattr(arguments, name) < least:
            raise UsageError(f"--{name.replace('_', '-')} must be {least} or more, got {getattr(arguments, name)}")
    from jaxaccomp.evaluation import card

    baseline = _read(arguments.baseline) if arguments.baseline is not None else None
    apart = _read(arguments.surrogate) if arguments.surrogate is not None else None
    report = _read(arguments.results) if arguments.results is not None else _measure(arguments)
    if apart is not None and not _same_ceiling(apart, report):
        raise DatasetError(
            f"{arguments.surrogate}: figures of another MusicVAE, or of other windows; measure its surrogate with this "
            "MusicVAE, on the same --data, --split, --limit and --seed"
        )
    text = json.dumps(report, indent=1, ensure_ascii=False) + "\n"
    if arguments.out is not None:
        _write(arguments.out, text)
    print(text if arguments.json else card.summary(report, baseline, apart))
    if arguments.card is not None:
        _write(arguments.card, _card(arguments, report, baseline, apart))
        print(f"wrote {arguments.card}", file=sys.stderr)
    return 0


def _measure(arguments: argparse.Namespace) -> dict[str, Any]:
    from tqdm import tqdm

    from jaxaccomp.evaluation import accompanied, heldout, metrics
    from jaxaccomp.weights import checkpoint

    splits = [split.strip() for split in arguments.split.split(",") if split.strip()]
    config, params = checkpoint.load(arguments.checkpoint)
    windows = heldout.read(arguments.data, splits, arguments.limit or None, arguments.seed, metrics.encoder(params))
    defaults = metrics.Settings()
    settings = metrics.Settings(
        temperatures=tuple(arguments.temperature or defaults.temperatures),
        spreads=tuple(spread for (spread,) in arguments.spread or [(one,) for one in defaults.spreads]),
        samples=arguments.samples,
        seed=arguments.seed,
        batch_size=arguments.batch_size,
        dtype=None if arguments.dtype == "float32" else arguments.dtype,
    )
    if len(windows) < windows.available:
        print(f"measuring {len(windows):,} of {windows.available:,} windows; --limit 0 takes all", file=sys.stderr)
    total = metrics.work(windows, settings, params["surrogate"] is not None, accompanied.ways(config))
    with tqdm(total=total, unit="window", disable=None, file=sys.stderr) as bar:
        report = metrics.evaluate(config, params, windows, settings, bar.update)
    if not report["latents_are_this_encoders"]:
        print(
            f"jaxaccomp evaluate: {arguments.data}: made by another encoder than {arguments.checkpoint}'s; make "
            "latents with this checkpoint, or the encoder's figures mean nothing",
            file=sys.stderr,
        )
    said = {"checkpoint": arguments.checkpoint, "fingerprint": checkpoint.fingerprint(arguments.checkpoint)}
    said |= {"data": str(arguments.data), "splits": splits, "seed": arguments.seed, "dtype": arguments.dtype}
    return said | report


def _card(
    arguments: argparse.Namespace,
    report: dict[str, Any],
    baseline: dict[str, Any] | None,
    apart: dict[str, Any] | None,
) -> str:
    from jaxaccomp.evaluation import card
    from jaxaccomp.weights import checkpoint

    folder = checkpoint.resolve(arguments.checkpoint)
    fingerprint = checkpoint.fingerprint(folder)
    if report.get("fingerprint") not in (None, fingerprint):
        raise DatasetError(
            f"{arguments.results}: these figures are of another checkpoint than {folder}; measure this one with --data"
        )
    entry = checkpoint.record(folder)
    sizes = [array["shape"] for array in entry["arrays"].values()]
    model = card.Model(
        name=folder.name,
        config=checkpoint.shapes(folder)[0],
        parameters=sum(map(math.prod, sizes)),
        disk_bytes=sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and file.suffix != ".md"),
        dtype=entry["dtype"],
        fingerprint=fingerprint,
    )
    return card.card(
        model,
        report,
        about=_text(arguments.about) if arguments.about is not None else "",
        runs=[_run(folder) for folder in arguments.run or ()],
        machine=arguments.machine,
        command=_command(report),
        baseline=baseline,
        apart=apart,
    )


def _same_ceiling(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two reports are of one MusicVAE and the same windows, up to rounding."""
    ceiling, other_ceiling = one["nll"]["encoder"], other["nll"]["encoder"]
    if one["windows"] != other["windows"] or set(ceiling) != set(other_ceiling):
        return False
    return all(math.isclose(ceiling[part], other_ceiling[part], rel_tol=0.01) for part in ceiling)


def _command(report: dict[str, Any]) -> str:
    """The call that measures these figures again."""
    temperature = ",".join(f"{value:g}" for value in report["temperature"].values())
    words = [
        "--checkpoint",
        Path(report["checkpoint"]).name,
        "--data",
        "DATA",
        "--split",
        ",".join(report["splits"]),
    ]
    words += ["--limit", str(report["windows"]), "--samples", str(report["sampled_windows"])]
    words += ["--temperature", temperature, "--spread", f"{report['spread']:g}", "--seed", str(report["seed"])]
    if report.get("dtype", "float32") != "float32":
        words += ["--dtype", report["dtype"]]
    return "python -m jaxaccomp evaluate " + shlex.join(words)


def _run(folder: Path) -> Any:
    from jaxaccomp.evaluation import card

    lines = []
    for line in _text(folder / "metrics.jsonl").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:  # the last line of a run that was killed
            continue
    return card.Run(_read(folder / "config.json"), lines)


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(_text(path))
    except ValueError as error:
        raise DatasetError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(values, dict):
        raise DatasetError(f"{path}: expected a JSON object, got {type(values).__name__}")
    return values


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


def _write(path: os.PathLike, text: str) -> None:
    """Writes a text file whole or not at all, here or on a bucket."""
    if remote.is_remote(path):
        remote.write_text(path, text)
        return
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DatasetError(f"{path}: cannot be written ({error.strerror})") from error


def _numbers(count: int) -> Any:
    def parse(text: str) -> tuple[float, ...]:
        try:
            values = tuple(float(word) for word in text.split(","))
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"expected numbers, got {text!r}") from error
        if len(values) == 1 and count > 1:
            values *= count
        if len(values) != count or not all(0 <= value < float("inf") for value in values):
            raise argparse.ArgumentTypeError(f"expected {count} values of 0 or more, got {text!r}")
        return values

    return parse
