"""Encode a dataset of windows into MusicVAE's posteriors: `latents --windows DIR --checkpoint C --out DIR`.

The dataset lies in DIR/trio_latents/1.0.0: for each window its parts' tokens, mean and scale of z, in the same split.
All devices of all JAX processes take part, each process its own shards; a run that was interrupted continues when the
same command is given again.
"""

import argparse
import contextlib

from jaxaccomp import remote
from jaxaccomp.errors import DatasetError, UsageError


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    parser.add_argument(
        "--windows", type=remote.path, required=True, metavar="DIR", help="dataset of windows, as `windows` wrote it"
    )
    parser.add_argument(
        "--checkpoint", required=True, metavar="C", help="checkpoint folder, or a name such as trio-small"
    )
    parser.add_argument("--out", type=remote.path, required=True, metavar="DIR", help="where the dataset goes")
    parser.add_argument(
        "--limit",
        type=int,
        metavar="INT",
        help="windows of a song, at most; they are spread over the song (default: all)",
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        default=256,
        metavar="INT",
        help="windows that a device encodes at a time (default: 256)",
    )
    parser.add_argument(
        "--shards", type=int, metavar="INT", help="shards of each split (default: one for each 4,096 windows)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Encodes and says what is there."""
    for name in ("limit", "batch_size", "shards"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} must be positive, got {value}")
    from jaxaccomp import runtime

    runtime.join_processes()
    if arguments.owns_process:
        runtime.restart_with_device_for_each_core(arguments.batch_size * runtime.MOST_DEVICES)
    runtime.use_compilation_cache()
    from jaxaccomp import cluster, leases, locks
    from jaxaccomp.data import latents, shards
    from jaxaccomp.data.publishing import Publication

    out = Publication(arguments.out, latents.NAME).out
    with contextlib.ExitStack() as alone:
        alone.enter_context(shards.writing(arguments.out))
        if cluster.index() == 0:
            alone.enter_context(locks.locked(out, DatasetError))
            alone.enter_context(leases.held(arguments.out, DatasetError))
        summary = latents.build(
            arguments.windows,
            arguments.checkpoint,
            arguments.out,
            batch_size=arguments.batch_size,
            limit=arguments.limit,
            shard_count=arguments.shards,
        )
    if not sum(summary["windows"].values()):
        raise DatasetError(
            f"{arguments.windows}: holds no windows, so there are no latents; give `windows` other songs"
        )
    if cluster.index():
        return 0
    print(summary["folder"])
    counts = ", ".join(f"{split} {count:,}" for split, count in summary["windows"].items())
    print(f"  windows  {counts}; z of {summary['latent_size']} dimensions")
    return 0
