"""A collection as an Apache Beam pipeline: for clusters of CPUs, with a file system that all workers share.

Each bundle of songs goes the same way as on one machine, through a `Pipeline` of its own with one worker process, so a
damaged file costs that file here too, and the notes are the same. Needs the extra `[beam]`.
"""

import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from jaxaccomp.collection import manifest, songfile
from jaxaccomp.collection.decoders import DeviceDecoders
from jaxaccomp.collection.manifest import Entry
from jaxaccomp.collection.pipeline import Order, Pipeline
from jaxaccomp.collection.songfile import SongSettings
from jaxaccomp.errors import CollectionError
from jaxaccomp.processes import Workers

_SONGS_IN_BUNDLE = 64


class Accompany(beam.DoFn):
    """Orders of songs → JSON lines of the manifest."""

    def __init__(
        self, settings: SongSettings, load: Callable[[], DeviceDecoders], time_limit_s: float, memory_limit_mib: int
    ):
        """Takes what is needed, all of it picklable.

        Args:
            settings: of reading and writing.
            load: makes a `DeviceDecoders`; called once in each of Beam's processes.
            time_limit_s: for one file.
            memory_limit_mib: for one file.
        """
        self._settings, self._load = settings, load
        self._limits = {"time_limit_s": time_limit_s, "memory_limit_mib": memory_limit_mib}

    def setup(self) -> None:
        """Starts the worker and loads the model."""
        self._workers = Workers(1, **self._limits, preload=[songfile.__name__])
        self._model = self._load()

    def process(self, orders: Sequence[Order]) -> Iterator[str]:  # ty: ignore[incompatible-method-override]
        """Settles some songs."""
        entries: list[Entry] = []
        Pipeline(self._workers, self._model, self._settings, entries.append).run(orders)
        for entry in entries:
            yield json.dumps(entry)

    def teardown(self) -> None:
        """Ends the worker."""
        self._workers.close()


def run(
    orders: Iterable[Order],
    settings: SongSettings,
    load: Callable[[], DeviceDecoders],
    runner: str,
    options: str,
    time_limit_s: float,
    memory_limit_mib: int,
) -> Iterator[Entry]:
    """Runs the pipeline to its end.

    Args:
        orders: all songs.
        settings: of reading and writing.
        load: see `Accompany`.
        runner: name of a Beam runner.
        options: of the pipeline, as on a command line.
        time_limit_s: for one file.
        memory_limit_mib: for one file.

    Yields:
        The entries of the songs that were settled.

    Raises:
        CollectionError: the pipeline failed.
    """
    bundles, bundle = [], []
    for order in orders:
        bundle.append(order)
        if len(bundle) == _SONGS_IN_BUNDLE:
            bundles.append(bundle)
            bundle = []
    if bundle:
        bundles.append(bundle)
    lines = settings.staging / "entries"
    try:
        pipeline = beam.Pipeline(options=PipelineOptions(shlex.split(options), runner=runner))
        (
            pipeline
            | "songs" >> beam.Create(bundles)
            | "spread" >> beam.Reshuffle()
            | "accompany" >> beam.ParDo(Accompany(settings, load, time_limit_s, memory_limit_mib))
            | "write down" >> beam.io.WriteToText(str(lines))
        )
        pipeline.run().wait_until_finish()
    except CollectionError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise CollectionError(
            f"the Beam pipeline on {runner} failed ({reason[0]}); the same command does what is missing"
        ) from error
    for path in sorted(settings.staging.glob("entries*")):
        yield from manifest.read(path)
