"""A whole collection, end to end: read, choose, decode, stitch, write; against a plain loop over `accompany()`."""

import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxaccomp.arrays import STEPS
from jaxaccomp.bench import fresh_process, machine, timing
from jaxaccomp.bench.settings import CollectionBenchConfig
from jaxaccomp.errors import CollectionError
from jaxaccomp.music import build, midi, smf


def measure(config: CollectionBenchConfig | None = None) -> dict[str, Any]:
    """Times a collection run, and then the loop on some of the same songs, in a process that has one device.

    Args:
        config: which songs, how many, and how they are played; None: the defaults.

    Raises:
        CollectionError: no song could be accompanied.
    """
    from jaxaccomp.collection import decoders
    from jaxaccomp.collection import run as collection
    from jaxaccomp.collection.run import CollectionConfig
    from jaxaccomp.generate.options import PlayOptions
    from jaxaccomp.weights import checkpoint

    config, others = config or CollectionBenchConfig(), timing.Others()
    # The loop runs in a second process while this one holds the device: a GPU's memory must do for both.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    settings = CollectionConfig(batch_size=config.batch_size, workers=config.workers)
    count = config.songs or (40 if config.quick else 500)
    loop_count = min(count, config.loop_songs or (10 if config.quick else 60))
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        songs = _multiply(_sources(config.folder), count, place / "songs")
        model = checkpoint.shapes(config.checkpoint)[0]
        decoders.use_all_cores(count, model, PlayOptions())
        _compile(config.checkpoint, config.batch_size)
        summary = collection.run([place / "songs"], place / "out", settings, checkpoint=config.checkpoint)
        if not summary.counts.get("done"):
            raise CollectionError(f"none of the {count} songs could be accompanied:\n{summary.text}")
        workers = collection.worker_count(settings)
        peak_memory_mib = _peak_memory_mib(workers)
        loop_s = _loop_elsewhere(config.checkpoint, songs[:loop_count], place / "loop")
    figures = dict(summary.figures)
    return {
        **figures,
        "counts": dict(summary.counts),
        "workers": workers,
        "batch_size": config.batch_size or None,
        "loop_songs": loop_count,
        "loop_songs_per_s": loop_count / loop_s,
        "ratio_to_loop": figures["songs_per_s"] * loop_s / loop_count,
        "peak_memory_mib": peak_memory_mib,
        "checkpoint": config.checkpoint,
        "machine": machine.describe(),
        "others": others.share(),
    }


def table(results: dict[str, Any]) -> str:
    """The results for people."""
    here, songs = results["machine"], results["songs"]
    rows = [
        ("songs/s", f"{results['songs_per_s']:.2f}"),
        ("windows/s", f"{results['windows_per_s']:.1f}"),
        ("windows/s, first to last", f"{results['windows'] / results['decode_s']:.1f}"),
        ("tries/s, first to last", f"{results['tries'] / results['decode_s']:.1f}"),
        ("device busy", f"{results['device_busy_share']:.1%} of {results['decode_s']:.1f} s"),
        ("plain loop, songs/s", f"{results['loop_songs_per_s']:.2f} ({results['loop_songs']} songs)"),
        ("ratio", f"{results['ratio_to_loop']:.2f}"),
        ("reading, ms a song", f"{1e3 * results['read_s'] / songs:.1f}, in {results['workers']} workers"),
        ("decoding, ms a song", f"{1e3 * results['device_s'] / songs:.1f}"),
        ("writing, ms a song", f"{1e3 * results['write_s'] / songs:.1f}"),
        ("others, of the CPUs", f"{results['others']:.0%}"),
        ("peak memory, MiB", f"{results['peak_memory_mib']:.0f}, workers included"),
    ]
    title = f"{songs:.0f} songs, {results['windows']:.0f} windows, {results['checkpoint']}, {here['processor']}"
    return "\n".join([title, *(f"  {name:26}{value}" for name, value in rows)])


def _sources(folder: Path | None) -> list[Path]:
    if folder is None:
        from jaxaccomp import demos

        return [demos.path(name) for name in demos.names()]
    from jaxaccomp.collection import inputs

    found = inputs.find([folder], folder / "none")
    return [found.path(name) for name in found.names]


def _multiply(sources: Sequence[Path], count: int, folder: Path) -> list[Path]:
    """`count` songs in a folder, the same each time: a selection, or copies that differ in a comment."""
    folder.mkdir()
    order = random.Random(0).sample(range(len(sources)), len(sources))
    made = []
    for i in range(count):
        source, path = sources[order[i % len(order)]], folder / f"{i:06}.mid"
        if i < len(order):
            path.symlink_to(source.absolute())
        else:
            path.write_bytes(_with_comment(midi.read(source), f"copy {i}"))
        made.append(path)
    return made


def _with_comment(score: midi.Score, text: str) -> bytes:
    chunks = [score.data[start - 8 : end] for start, end in score.header.chunks]
    comment = build.encode_marks([(0, smf.meta(smf.TEXT, text.encode()))])
    return build.assemble(1, score.ticks_per_quarter, [*chunks, comment])


def _compile(checkpoint: str, batch_size: int) -> None:
    """Lets each device compile its programs for a full batch, so that a short run is timed like a long one."""
    from jaxaccomp.collection.decoders import DeviceDecoders
    from jaxaccomp.generate.batcher import Batcher, PendingTake
    from jaxaccomp.generate.options import PlayOptions
    from jaxaccomp.weights import checkpoint as checkpoints

    options = PlayOptions().for_checkpoint(checkpoints.shapes(checkpoint)[0])
    band = DeviceDecoders.on_all_devices(checkpoint, options, batch_size)
    windows = -(-band.batch_size // options.attempts)
    for decode in band.decoders:
        batcher = Batcher(band.batch_size, band.scorer, options, band.drums_first)
        batcher.add(PendingTake(np.zeros((windows, STEPS), np.int32), np.zeros(2, np.uint32)))
        while (batch := batcher.next_batch(partial=True)) is not None:
            batcher.deliver(batch, decode(batch).fetched())


def _loop_elsewhere(checkpoint: str, songs: Sequence[Path], folder: Path) -> float:
    """`time_loop` in a fresh process: with a device for each core it would have one core alone."""
    folder.mkdir()
    for path in songs:
        (folder / path.name).symlink_to(path)
    return fresh_process.call("jaxaccomp.bench.collection:time_loop", checkpoint=checkpoint, folder=folder)


def time_loop(checkpoint: str, folder: str | Path) -> float:
    """Seconds that a plain loop over the songs of a folder takes, once all is compiled.

    Args:
        checkpoint: name or path.
        folder: holds the songs, and nothing else.
    """
    from jaxaccomp.errors import MidiError
    from jaxaccomp.generate import accompanist

    band, songs, took_s = accompanist.load(checkpoint), sorted(Path(folder).iterdir()), []
    with tempfile.TemporaryDirectory() as scratch:
        for _ in range(2):
            start_s = time.perf_counter()
            for path in songs:
                try:
                    band.accompany(path)[0].score.write(Path(scratch) / path.name)
                except MidiError as error:
                    print(error, file=sys.stderr)
            took_s.append(time.perf_counter() - start_s)
    return min(took_s)


def _peak_memory_mib(workers: int) -> float:
    """At most this: the largest this process was, and for each worker the largest that any of them was."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    own, child = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return (own + workers * child) / unit
