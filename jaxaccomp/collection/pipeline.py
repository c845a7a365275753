"""The way of many songs through workers and device: read, packed, decoded, written, settled; all at the same time."""

import contextlib
import heapq
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jaxaccomp.collection import songfile
from jaxaccomp.collection.decoders import DeviceDecoders
from jaxaccomp.collection.devices import Device
from jaxaccomp.collection.manifest import DONE, FAILED, Entry
from jaxaccomp.collection.songfile import ReadSong, SongSettings, Verdict, Written
from jaxaccomp.errors import CollectionError
from jaxaccomp.generate.batcher import Batcher, PendingTake
from jaxaccomp.processes import Job, JobFailure, Workers

_AHEAD_BATCHES = 3
"""Batches of windows that are prepared before the device asks for them; what lies further ahead waits on disk."""
_SLOWEST = 5


@dataclass(eq=False)
class Order:
    """One song to be done.

    Attributes:
        name: what the manifest calls it.
        path: where it is.
        output: where its result goes, relative to the output folder.
        known: hex digest of its content when it was last settled, or None if it has to be done in any case.
    """

    name: str
    path: Path
    output: str
    known: str | None = None


@dataclass
class Timings:
    """Where the time of a run went.

    Attributes:
        read_s: time of workers that read songs, all together.
        write_s: time of workers that wrote songs, all together.
        busy_s: time in which devices had work, on average over them.
        decode_s: from the first batch to the last.
        windows: windows of the songs that were decoded.
        tries: windows decoded, each as often as it was played.
        duplicates: songs whose content had been decoded already.
        deaths: workers that died.
        slowest: (seconds of a worker, name) of the songs that took longest.
    """

    read_s: float = 0.0
    write_s: float = 0.0
    busy_s: float = 0.0
    decode_s: float = 0.0
    windows: int = 0
    tries: int = 0
    duplicates: int = 0
    deaths: int = 0
    slowest: list[tuple[float, str]] = field(default_factory=list)

    def with_those_of(self, later: "Timings") -> "Timings":
        """The sum of two runs, one after the other."""
        added = {
            name: getattr(self, name) + getattr(later, name)
            for name in ("read_s", "write_s", "busy_s", "decode_s", "windows", "tries", "duplicates", "deaths")
        }
        return Timings(**added, slowest=heapq.nlargest(_SLOWEST, [*self.slowest, *later.slowest]))

    def song(self, seconds: float, name: str) -> None:
        """Takes note of a settled song."""
        (heapq.heappush if len(self.slowest) < _SLOWEST else heapq.heappushpop)(self.slowest, (seconds, name))


@dataclass(eq=False)
class _Bundle:
    """Songs of one content on their way: decoded once, written as often as needed."""

    song: ReadSong
    orders: list[Order]
    late: list[Order] = field(default_factory=list)
    """Those that came when the writing had begun."""
    is_written: bool = False
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Reading:
    """What a reading job is for."""

    order: Order


@dataclass(frozen=True)
class _Writing:
    """What a writing or copying job is for."""

    bundle: _Bundle


class Pipeline:
    """Takes orders as fast as the device can decode, and no faster, so that memory does not grow with a collection.

    Args:
        workers: processes that read and write.
        model: on all devices.
        settings: of reading and writing.
        settle: is told the manifest's entry of each song.
        duplicate: the entry of a song of this content (hex digest) that was done before with these settings, or None.
    """

    def __init__(
        self,
        workers: Workers,
        model: DeviceDecoders,
        settings: SongSettings,
        settle: Callable[[Entry], None],
        duplicate: Callable[[str], Entry | None] = lambda digest: None,
    ):
        self.timings = Timings()
        self._workers = workers
        self._model = model
        self._batcher = Batcher(model.batch_size, model.scorer, settings.options, model.drums_first)
        self._settings = settings
        self._settle = settle
        self._duplicate = duplicate
        self._bundles: dict[str, _Bundle] = {}
        self._reading = 0
        self._is_prepared = False

    def run(
        self, orders: Iterable[Order], passed_over: Callable[[Order, bool], None] = lambda order, mine: None
    ) -> None:
        """Works until every order is settled.

        Args:
            orders: taken one by one, when there is room.
            passed_over: is told the orders that need nothing, and whether that is because they are unchanged since
                they were settled (True) or another share's (False).

        Raises:
            CollectionError: the disk is full, the device failed, or workers cannot be started.
        """
        self._passed_over = passed_over
        waiting = iter(orders)
        more = True
        with contextlib.ExitStack() as stack:
            devices = [stack.enter_context(Device(decode)) for decode in self._model.decoders]
            while True:
                while more and self._can_read_more():
                    order = next(waiting, None)
                    more = order is not None
                    if order is not None:
                        self._read(order)
                self._feed(devices, partial=not more and not self._reading)
                if not (more or self._workers.pending or any(device.pending for device in devices)):
                    break
                for job, result in self._workers.results(others=[device.news for device in devices]):
                    if isinstance(job.tag, _Reading):
                        self._take_read(job.tag.order, result)
                    else:
                        self._written(job.tag.bundle, result)
                for device in devices:
                    for batch, decoded in device.results():
                        for take in self._batcher.deliver(batch, decoded):
                            self._write(take)
            self._add_device_times(devices)

    def _feed(self, devices: Sequence[Device], partial: bool) -> None:
        """Hands out batches, to the device with the least to do first."""
        while True:
            device = min(devices, key=lambda device: device.pending)
            any_size = partial or (self._model.takes_any and not device.pending)
            batch = self._batcher.next_batch(any_size) if device.is_free else None
            if batch is None:
                return
            device.submit(batch)

    def _add_device_times(self, devices: Sequence[Device]) -> None:
        used = [device for device in devices if device.first_s is not None]
        if used:
            span_s = max(device.last_s for device in used) - min(device.first_s for device in used)
            self.timings.decode_s += span_s
            self.timings.busy_s += sum(device.busy_s for device in used) / len(devices)
            self.timings.tries += sum(device.windows for device in used) // self._batcher.stages

    def _can_read_more(self) -> bool:
        ahead = self._batcher.windows < _AHEAD_BATCHES * self._batcher.batch_size * len(self._model.decoders)
        return ahead and self._workers.pending < 2 * self._workers.count

    def _read(self, order: Order) -> None:
        self._reading += 1
        if order.known is None and not self._is_prepared:
            self._is_prepared = True
            threading.Thread(target=self._model.prepare, name="load the model").start()
        arguments = (str(order.path), order.name, self._settings, order.known)
        self._workers.submit(Job(songfile.read, arguments, tag=_Reading(order)))

    def _take_read(self, order: Order, result: ReadSong | Verdict | JobFailure | str | None) -> None:
        self._reading -= 1
        if result is None or result == songfile.UNCHANGED:
            self._passed_over(order, result is not None)
            return
        if not isinstance(result, ReadSong):
            self._end(order, result)
            return
        self.timings.read_s += result.seconds
        self._take(order, result)

    def _take(self, order: Order, song: ReadSong) -> None:
        bundle = self._bundles.get(song.sha256)
        if bundle is not None:
            self.timings.duplicates += not bundle.is_written  # else counted when its turn comes
            (bundle.late if bundle.is_written else bundle.orders).append(order)
            return
        bundle = _Bundle(song, [order])
        duplicate = self._duplicate(song.sha256)
        if duplicate is not None:
            self.timings.duplicates += 1
            bundle.scores = duplicate.get("scores", {})
            self._copy(bundle, duplicate["outputs"][self._settings.variation])
            return
        self._bundles[song.sha256] = bundle
        melody_NL = song.melody_NL.astype(np.int32)
        take = PendingTake(melody_NL, song.fingerprint, self._settings.variation, tag=bundle, used_NL=song.used_NL)
        self._batcher.add(take)

    def _copy(self, bundle: _Bundle, source: str) -> None:
        outputs = [order.output for order in bundle.orders]
        arguments = (source, bundle.song.sha256, outputs, self._settings)
        self._workers.submit(Job(songfile.copy, arguments, tag=_Writing(bundle)), urgent=True)

    def _write(self, take: PendingTake) -> None:
        bundle: _Bundle = take.tag
        bundle.is_written = True
        bundle.scores = {name: round(score, 4) for name, score in take.scores.items()}
        self.timings.windows += len(take.melody_NL)
        outputs = [order.output for order in bundle.orders]
        song = (bundle.song.sha256, bundle.song.choice)
        arguments = (str(bundle.orders[0].path), *song, take.tokens_NLP, outputs, self._settings)
        self._workers.submit(Job(songfile.write, arguments, tag=_Writing(bundle)), urgent=True)

    def _written(self, bundle: _Bundle, result: Written | Verdict | JobFailure) -> None:
        verdicts = result.verdicts if isinstance(result, Written) else [result] * len(bundle.orders)
        for order, verdict in zip(bundle.orders, verdicts, strict=True):
            if isinstance(verdict, Verdict) and verdict.code == songfile.DISK_FULL:
                raise CollectionError(f"{self._settings.out}: {verdict.reason}")
            if verdict is None:
                self._done(order, bundle, result.seconds / len(bundle.orders))
            else:
                self._end(order, verdict)
        self._bundles.pop(bundle.song.sha256, None)
        for order in bundle.late:
            self._take(order, bundle.song)

    def _done(self, order: Order, bundle: _Bundle, write_s: float) -> None:
        self.timings.write_s += write_s
        song = bundle.song
        seconds = song.seconds + write_s
        self.timings.song(seconds, order.name)
        entry = {"input": order.name, "status": DONE, "reason": None, "code": None, "sha256": song.sha256}
        facts = {**song.facts, "scores": bundle.scores}
        self._settle({**entry, **facts, "outputs": [order.output], "seconds": round(seconds, 4)})

    def _end(self, order: Order, result: Verdict | JobFailure) -> None:
        verdict = _verdict_on_failure(result) if isinstance(result, JobFailure) else result
        self.timings.read_s += verdict.seconds
        self.timings.song(verdict.seconds, order.name)
        entry = {"input": order.name, "status": verdict.status, "reason": verdict.reason, "code": verdict.code}
        self._settle({**entry, "sha256": verdict.sha256, "outputs": [], "seconds": round(verdict.seconds, 4)})


def _verdict_on_failure(failure: JobFailure) -> Verdict:
    note = " (a defect of this program; please report the file)" if failure.code == "unexpected" else ""
    return Verdict(FAILED, failure.code, failure.reason + note)
