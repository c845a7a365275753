"""Whole collections: many songs through one machine, unattended; killed at any moment, the same command resumes.

    summary = collection.run([Path("songs")], Path("out"), CollectionConfig(workers=8), seed=1)
    print(summary.text)

What happens to a song lies in the files below this one: `inputs` names it, `songfile` reads and writes it in one of the
`workers`, a `batcher` puts its windows into a batch, the `decoders` play that on `devices`, the `pipeline` moves it
along, and the `manifest` remembers it. Nothing of all this changes a note: random keys are made of a song's content.
"""

import dataclasses
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from jaxaccomp import cluster
from jaxaccomp.collection import decoders, manifest, songfile
from jaxaccomp.collection import inputs as inputs_
from jaxaccomp.collection.decoders import DeviceDecoders
from jaxaccomp.collection.inputs import Inputs
from jaxaccomp.collection.manifest import DONE, FAILED, SKIPPED, Entry, Manifest
from jaxaccomp.collection.pipeline import Order, Pipeline, Timings
from jaxaccomp.collection.reports import Reports
from jaxaccomp.collection.reports import make as make_reports
from jaxaccomp.collection.songfile import RETRIED, SongSettings
from jaxaccomp.config import require, setting
from jaxaccomp.errors import CollectionError
from jaxaccomp.generate.options import PlayOptions
from jaxaccomp.processes import Workers
from jaxaccomp.report import index as index_page

_MANY_SONGS = 20
"""From here on workers read with machine code at once, where the first few songs take Python a tenth of a second."""


@dataclass(frozen=True, kw_only=True)
class CollectionConfig:
    """How a collection is worked through; nothing here changes a note of the result."""

    batch_size: int = setting(0, "windows decoded at a time on each device; 0 lets the backend choose")
    workers: int = setting(
        0, "processes that read and write songs; 0 takes one for each core, or for every two where CPUs decode as well"
    )
    shard: str = setting(
        "0/1", "I/N: do only the I-th of N shares, for several machines; auto asks JAX which one it is"
    )
    force: bool = setting(
        False, "do every song again, also those that are done; of one song, replace other music of the same name"
    )
    strict: bool = setting(False, "refuse damaged files instead of mending them; exit with 1 if any file failed")
    time_limit: float = setting(60.0, "seconds a worker may spend on one file")
    memory_limit: int = setting(1024, "MiB a worker may take for one file")
    beam_runner: str | None = setting(None, "run as an Apache Beam pipeline on this runner, e.g. FlinkRunner")
    beam_options: str = setting("", 'options of that pipeline, e.g. "--direct_num_workers=4"')

    def __post_init__(self) -> None:
        require(self.batch_size >= 0, f"--batch-size must be 0 or more windows, got {self.batch_size}")
        require(self.workers >= 0, f"--workers must be 0 or more processes, got {self.workers}")
        require(self.time_limit > 0, f"--time-limit must be more than 0 seconds, got {self.time_limit}")
        require(self.memory_limit > 0, f"--memory-limit must be more than 0 MiB, got {self.memory_limit}")
        index, _, count = self.shard.partition("/")
        require(
            self.shard == "auto" or (index.isdecimal() and count.isdecimal() and int(index) < int(count)),
            f"--shard must be I/N with 0 <= I < N, e.g. 0/3, or auto, got {self.shard!r}",
        )

    def share(self) -> tuple[int, int]:
        """The shard as (index, count); under `auto` this process's place among JAX's.

        Raises:
            CollectionError: there is no cluster that JAX knows of.
            ClusterError: there is one, and it cannot be joined.
        """
        if self.shard != "auto":
            index, _, count = self.shard.partition("/")
            return int(index), int(count)
        index, count = cluster.place()
        if count == 1:
            raise CollectionError(
                "--shard auto: JAX finds no cluster, so this is no share of anything; give --shard I/N instead"
            )
        return index, count


@dataclass(frozen=True)
class Summary:
    """What became of a collection.

    Attributes:
        counts: songs by status: `done`, `skipped` (nothing in it to accompany), `failed`.
        reasons: songs by (status, code), of those that are not done.
        figures: speeds and times of this run.
        text: the table to show, several lines.
        exit_code: 0, or 1 under `strict` (or for files named one by one) when something failed.
    """

    counts: Mapping[str, int]
    reasons: Mapping[tuple[str, str], int]
    figures: Mapping[str, float]
    text: str
    exit_code: int


def run(
    inputs: Sequence[Path],
    out: Path,
    config: CollectionConfig | None = None,
    *,
    checkpoint: str | Path = "trio-small",
    options: PlayOptions | None = None,
    reports: Reports | None = None,
    quiet: bool = False,
    **play: Any,
) -> Summary:
    """Accompanies every song under `inputs`, into `out`, and writes `out/manifest.jsonl`.

    Args:
        inputs: folders (searched for .mid, .midi, .smf, .kar and .rmi in any letter case, at any depth) and files. A
            song's name in the manifest, and its place under `out`, is its path relative to the folder, or with several
            inputs to the deepest folder that holds them all.
        out: folder of the results; made if need be, locked while the run lasts.
        config: how to work; see `CollectionConfig`.
        checkpoint: name or path.
        options: how to play; together with a song's content it decides every note.
        reports: what to make of the results; with pages, `out/index.html` lists all songs.
        quiet: whether to hide the progress bars.
        play: fields of `PlayOptions`, in place of `options`.

    Raises:
        UsageError: `inputs` and `out` make no sense together.
        CollectionError: another run holds `out`, the disk is full, or there is nothing to do.
    """
    from jaxaccomp.weights import checkpoint as checkpoints

    start_s = time.monotonic()
    config = config or CollectionConfig()
    model = checkpoints.shapes(checkpoint)[0]
    options = (options or PlayOptions.of(**play)).for_checkpoint(model)
    stamp = {"checkpoint": checkpoints.fingerprint(checkpoint)[:16], "options": options.digest()}
    songs = inputs_.find(inputs, out)
    index, count = share = config.share()
    with Manifest(out / manifest.shard_name(index, count)) as book:
        place = Path(os.path.realpath(out))
        staging, are_many = place / f".staging-{index}-of-{count}", len(songs.names) >= _MANY_SONGS
        settings = SongSettings(place, staging, options, share, config.strict, are_many=are_many)
        inputs_.refuse_colliding_takes(songs, options.variations)
        shutil.rmtree(settings.staging, ignore_errors=True)  # what a kill left there
        settings.staging.mkdir()
        decoders.use_all_cores(len(songs.names), model, options)
        load = partial(DeviceDecoders.on_all_devices, str(checkpoint), options, config.batch_size)
        engine = _on_a_cluster if config.beam_runner else _here
        timings, fresh = Timings(), 0
        total = len(songs.names) * options.variations
        with tqdm(total=total, unit="song", disable=True if quiet else None, smoothing=0.05) as bar:
            for variation in range(options.variations):
                ledger = _Ledger(book, songs, stamp, config, bar, variation)
                timings = timings.with_those_of(
                    engine(config, dataclasses.replace(settings, variation=variation), load, ledger)
                )
                fresh = max(fresh, ledger.fresh)
        book.finish(songs.names)
        shutil.rmtree(settings.staging, ignore_errors=True)
        summary = _summary(book, songs, timings, fresh, time.monotonic() - start_s, config.strict)
        if reports is not None and reports.any:
            summary = _with_reports(summary, book, songs, out, config, reports, quiet)
    if count > 1:
        manifest.merge_into(manifest.shards(out), out)
    if reports is not None and reports.pages is not None:
        path = index_page.write(out, manifest.read(out / manifest.NAME), f"{songs.root.name}: bass and drums")
        summary = dataclasses.replace(summary, text=f"{summary.text}\n  index   {path}")
    return summary


def _with_reports(
    summary: Summary, book: Manifest, songs: Inputs, out: Path, config: CollectionConfig, reports: Reports, quiet: bool
) -> Summary:
    entries = (entry for name in songs.names if (entry := book.entry(name)))
    limits = {"time_limit_s": float(config.time_limit), "memory_limit_mib": config.memory_limit}
    made, failures = make_reports(entries, songs.root, out, reports, workers=config.workers, quiet=quiet, **limits)
    text = f"{summary.text}\n  reports of {made} songs"
    for name, reason in list(failures.items())[:1]:
        text += f"; {len(failures)} could not be made, such as that of {_shown(name)}: {reason}"
    exit_code = max(summary.exit_code, int(bool(failures) and config.strict))
    return dataclasses.replace(summary, text=text, exit_code=exit_code)


def worker_count(config: CollectionConfig) -> int:
    """Processes that read and write songs: a tenth of the work where CPUs decode as well, all of theirs elsewhere."""
    import jax

    cores = os.cpu_count() or 1
    return config.workers or (max(1, cores // 2) if jax.default_backend() == "cpu" else cores)


def _here(
    config: CollectionConfig, settings: SongSettings, load: Callable[[], DeviceDecoders], ledger: "_Ledger"
) -> Timings:
    with Workers(
        worker_count(config),
        time_limit_s=float(config.time_limit),
        memory_limit_mib=config.memory_limit,
        preload=[songfile.__name__],
    ) as workers:
        model = load()
        pipeline = Pipeline(workers, model, settings, ledger.settle, ledger.duplicate)
        pipeline.run(ledger.orders(), ledger.pass_over)
        pipeline.timings.deaths = workers.deaths
    return pipeline.timings


def _on_a_cluster(
    config: CollectionConfig, settings: SongSettings, load: Callable[[], DeviceDecoders], ledger: "_Ledger"
) -> Timings:
    try:
        from jaxaccomp.collection import beam
    except ImportError as error:
        raise CollectionError("--beam-runner needs Apache Beam: pip install 'jaxaccomp[beam]'") from error
    timings = Timings()
    limits = (float(config.time_limit), config.memory_limit)
    for entry in beam.run(ledger.orders(), settings, load, config.beam_runner, config.beam_options, *limits):
        ledger.settle(entry)
        timings.windows += entry.get("windows", 0)
    return timings


class _Ledger:
    """Between the manifest and the pipeline: what there is to do of one take of every song, and what was done."""

    def __init__(
        self, book: Manifest, songs: Inputs, stamp: Entry, config: CollectionConfig, bar: tqdm, variation: int = 0
    ):
        self.fresh = 0
        self._book, self._songs, self._stamp, self._bar, self._take = book, songs, stamp, bar, variation
        self._strict = config.strict
        if config.force and variation == 0:
            book.forget()

    def orders(self) -> Iterator[Order]:
        """Every song, with the content for which nothing would have to be done; of further takes, every song done."""
        for name in self._songs.names:
            entry, output = self._book.entry(name), songfile.output_of_take(self._songs.output(name), self._take)
            settled = entry is not None and self._is_ours(entry) and entry["code"] not in RETRIED
            if settled and (entry.get("repaired") if self._strict else entry.get("strict")):
                settled = False  # what one run mended, another refuses, and the other way round
            if self._take and not (settled and entry["status"] == DONE):
                self._bar.update()
                continue
            if settled and entry["status"] == DONE:
                settled = entry["outputs"][self._take :][:1] == [output] and bool(self._book.results(name))
            yield Order(name, self._songs.path(name), output, entry["sha256"] if settled else None)

    def settle(self, entry: Entry) -> None:
        """Writes a song's fate down."""
        refused = {"strict": True} if self._strict and entry["status"] == FAILED else {}
        if self._take and entry["status"] == DONE:
            first = self._book.entry(entry["input"]) or entry
            entry = {**first, "outputs": [*first["outputs"][: self._take], *entry["outputs"]]}
        self._book.append({**entry, **self._stamp, **refused})
        self.fresh += 1
        self._bar.update()

    def pass_over(self, order: Order, mine: bool) -> None:
        """A song that is settled already, or none of ours."""
        if not mine:
            self._book.drop(order.name)
        self._bar.update()

    def duplicate(self, digest: str) -> Entry | None:
        """A song of the same content that is done and still there."""
        entry = self._book.duplicate(digest)
        usable = entry and self._is_ours(entry) and len(entry["outputs"]) > self._take
        return entry if usable and self._book.results(entry["input"]) else None

    def _is_ours(self, entry: Entry) -> bool:
        return all(entry.get(name) == value for name, value in self._stamp.items())


def _summary(book: Manifest, songs: Inputs, timings: Timings, fresh: int, elapsed_s: float, strict: bool) -> Summary:
    entries = [(name, entry["status"], entry["code"]) for name in songs.names if (entry := book.entry(name))]
    counts = Counter(status for _, status, _ in entries)
    reasons = Counter((status, code) for _, status, code in entries if status != DONE)
    named = any(status == FAILED and name in songs.named for name, status, _ in entries)
    figures = {
        "seconds": elapsed_s,
        "songs": float(fresh),
        "songs_per_s": fresh / elapsed_s,
        "windows": float(timings.windows),
        "windows_per_s": timings.windows / elapsed_s,
        "tries": float(timings.tries),
        "device_busy_share": timings.busy_s / timings.decode_s if timings.decode_s else 0.0,
        "decode_s": timings.decode_s,
        "device_s": timings.busy_s,
        "read_s": timings.read_s,
        "write_s": timings.write_s,
        "twins": float(timings.duplicates),
        "worker_deaths": float(timings.deaths),
    }
    lines = [
        f"{len(entries)} songs: {counts[DONE]} done, {counts[SKIPPED]} skipped, {counts[FAILED]} failed"
        + (f" ({len(entries) - fresh} of them settled before)" if fresh < len(entries) else "")
    ]
    lines += [f"  {status:8}{code:20}{number:8}" for (status, code), number in sorted(reasons.items())]
    mended = sum(bool(entry.get("repaired")) for name in songs.names if (entry := book.entry(name)))
    lines += [f"  mended  {mended} damaged files were mended; the manifest says how"] if mended else []
    if songs.passed_over:
        lines.append(f"  passed over, being called otherwise: {inputs_.told_passed_over(songs.passed_over)}")
    if fresh:
        lines += [
            f"  speed   {figures['songs_per_s']:.1f} songs/s, {figures['windows_per_s']:.1f} windows/s"
            + (
                f", each played {timings.tries / timings.windows:.1f} times; "
                if timings.tries and timings.windows
                else "; "
            )
            + f"device busy {figures['device_busy_share']:.0%} of the {timings.decode_s:.1f} s "
            "from first to last batch",
            f"  time    {elapsed_s:.1f} s in all; device {timings.busy_s:.1f} s; workers read {timings.read_s:.1f} s, "
            f"wrote {timings.write_s:.1f} s",
            f"  copies  {timings.duplicates} songs of the same content as another, decoded once"
            if timings.duplicates
            else "",
            f"  deaths  {timings.deaths} worker processes died and were replaced" if timings.deaths else "",
            "  slowest "
            + ", ".join(f"{_shown(name)} {took_s:.2f} s" for took_s, name in sorted(timings.slowest)[::-1]),
        ]
    exit_code = int(bool(counts[FAILED]) and (strict or named))
    return Summary(dict(counts), dict(reasons), figures, "\n".join(filter(None, lines)), exit_code)


def _shown(name: str) -> str:
    """A file name as text that any terminal takes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
