"""The way of many songs through workers and device: read, packed, decoded, written, settled; all at the same time."""

import contextlib
import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jaxaccomp.collection import songfile
from jaxaccomp.collection.devices import Device
from jaxaccomp.collection.manifest import DONE, FAILED, Entry
from jaxaccomp.collection.songfile import Heard, Settings, Verdict, Written
from jaxaccomp.errors import CollectionError
from jaxaccomp.generate.batcher import Batch, Packer, Parcel, Played
from jaxaccomp.processes import Job, Loss, Workers

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
class Clock:
    """Where the time of a run went.

    Attributes:
        read_s: time of workers that read songs, all together.
        write_s: time of workers that wrote songs, all together.
        busy_s: time in which devices had work, on average over them.
        decode_s: from the first batch to the last.
        windows: windows of the songs that were decoded.
        tries: windows decoded, each as often as it was played.
        twins: songs whose content had been decoded already.
        deaths: workers that died.
        slowest: (seconds of a worker, name) of the songs that took longest.
    """

    read_s: float = 0.0
    write_s: float = 0.0
    busy_s: float = 0.0
    decode_s: float = 0.0
    windows: int = 0
    tries: int = 0
    twins: int = 0
    deaths: int = 0
    slowest: list[tuple[float, str]] = field(default_factory=list)

    def song(self, seconds: float, name: str) -> None:
        """Takes note of a settled song."""
        (heapq.heappush if len(self.slowest) < _SLOWEST else heapq.heappushpop)(self.slowest, (seconds, name))


@dataclass(eq=False)
class _Bundle:
    """Songs of one content on their way: decoded once, written as often as needed."""

    heard: Heard
    orders: list[Order]
    late: list[Order] = field(default_factory=list)
    """Those that came when the writing had begun."""
    is_written: bool = False


class Conveyor:
    """Takes orders as fast as the device can decode, and no faster, so that memory does not grow with a collection.

    Args:
        workers: processes that read and write.
        decoders: for each device, what hands it a batch; see `Device`.
        batch_size: windows in a batch.
        settings: of reading and writing.
        settle: is told the manifest's entry of each song.
        twin: the entry of a song of this content (hex digest) that was done before with the same settings, or None.
    """

    def __init__(
        self,
        workers: Workers,
        decoders: Sequence[Callable[[Batch], Played]],
        batch_size: int,
        settings: Settings,
        settle: Callable[[Entry], None],
        twin: Callable[[str], Entry | None] = lambda digest: None,
    ):
        self.clock = Clock()
        self._workers = workers
        self._decoders = decoders
        self._packer = Packer(batch_size, settings.parts)
        self._settings = settings
        self._settle = settle
        self._twin = twin
        self._bundles: dict[str, _Bundle] = {}
        self._reading = 0

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
            devices = [stack.enter_context(Device(decode)) for decode in self._decoders]
            while True:
                while more and self._has_room():
                    order = next(waiting, None)
                    more = order is not None
                    if order is not None:
                        self._read(order)
                self._feed(devices, partial=not more and not self._reading)
                if not (more or self._workers.pending or any(device.pending for device in devices)):
                    break
                for job, result in self._workers.results(others=[device.news for device in devices]):
                    job.tag[0](*job.tag[1:], result)
                for device in devices:
                    for batch, played in device.results():
                        for parcel in self._packer.deliver(batch, played):
                            self._write(parcel)
            self._take_time(devices)

    def _feed(self, devices: Sequence[Device], partial: bool) -> None:
        """Hands out batches, to the device with the least to do first."""
        while True:
            device = min(devices, key=lambda device: device.pending)
            batch = self._packer.take(partial) if device.has_room else None
            if batch is None:
                return
            device.submit(batch)

    def _take_time(self, devices: Sequence[Device]) -> None:
        used = [device for device in devices if device.first_s is not None]
        if used:
            span_s = max(device.last_s for device in used) - min(device.first_s for device in used)
            self.clock.decode_s += span_s
            self.clock.busy_s += sum(device.busy_s for device in used) / len(devices)
            self.clock.tries += sum(device.windows for device in used)

    def _has_room(self) -> bool:
        ahead = self._packer.windows < _AHEAD_BATCHES * self._packer.batch_size * len(self._decoders)
        return ahead and self._workers.pending < 2 * self._workers.count

    def _read(self, order: Order) -> None:
        self._reading += 1
        arguments = (str(order.path), order.name, self._settings, order.known)
        self._workers.submit(Job(songfile.hear, arguments, tag=(self._heard, order)))

    def _heard(self, order: Order, result: Heard | Verdict | Loss | str | None) -> None:
        self._reading -= 1
        if result is None or result == songfile.UNCHANGED:
            self._passed_over(order, result is not None)
            return
        if not isinstance(result, Heard):
            self._end(order, result)
            return
        self.clock.read_s += result.seconds
        self._take(order, result)

    def _take(self, order: Order, heard: Heard) -> None:
        bundle = self._bundles.get(heard.sha256)
        if bundle is not None:
            self.clock.twins += not bundle.is_written  # else counted when its turn comes
            (bundle.late if bundle.is_written else bundle.orders).append(order)
            return
        bundle = _Bundle(heard, [order])
        twin = self._twin(heard.sha256)
        if twin is not None:
            self.clock.twins += 1
            self._copy(bundle, twin["outputs"][0])
            return
        self._bundles[heard.sha256] = bundle
        self._packer.add(Parcel(heard.melody_NL.astype(np.int32), heard.fingerprint, tag=bundle))

    def _copy(self, bundle: _Bundle, source: str) -> None:
        outputs = [order.output for order in bundle.orders]
        arguments = (source, bundle.heard.sha256, outputs, self._settings)
        self._workers.submit(Job(songfile.copy, arguments, tag=(self._written, bundle)), urgent=True)

    def _write(self, parcel: Parcel) -> None:
        bundle: _Bundle = parcel.tag
        bundle.is_written = True
        self.clock.windows += len(parcel.melody_NL)
        outputs = [order.output for order in bundle.orders]
        heard = (bundle.heard.sha256, bundle.heard.choice)
        arguments = (str(bundle.orders[0].path), *heard, parcel.tokens_NLP, outputs, self._settings)
        self._workers.submit(Job(songfile.write, arguments, tag=(self._written, bundle)), urgent=True)

    def _written(self, bundle: _Bundle, result: Written | Verdict | Loss) -> None:
        verdicts = result.verdicts if isinstance(result, Written) else [result] * len(bundle.orders)
        for order, verdict in zip(bundle.orders, verdicts, strict=True):
            if isinstance(verdict, Verdict) and verdict.code == songfile.DISK_FULL:
                raise CollectionError(f"{self._settings.out}: {verdict.reason}")
            if verdict is None:
                self._done(order, bundle.heard, result.seconds / len(bundle.orders))
            else:
                self._end(order, verdict)
        self._bundles.pop(bundle.heard.sha256, None)
        for order in bundle.late:
            self._take(order, bundle.heard)

    def _done(self, order: Order, heard: Heard, write_s: float) -> None:
        self.clock.write_s += write_s
        seconds = heard.seconds + write_s
        self.clock.song(seconds, order.name)
        entry = {"input": order.name, "status": DONE, "reason": None, "code": None, "sha256": heard.sha256}
        self._settle({**entry, **heard.facts, "outputs": [order.output], "seconds": round(seconds, 4)})

    def _end(self, order: Order, result: Verdict | Loss) -> None:
        verdict = _mourn(result) if isinstance(result, Loss) else result
        self.clock.read_s += verdict.seconds
        self.clock.song(verdict.seconds, order.name)
        entry = {"input": order.name, "status": verdict.status, "reason": verdict.reason, "code": verdict.code}
        self._settle({**entry, "sha256": verdict.sha256, "outputs": [], "seconds": round(verdict.seconds, 4)})


def _mourn(loss: Loss) -> Verdict:
    note = " (a defect of this program; please report the file)" if loss.code == "unexpected" else ""
    return Verdict(FAILED, loss.code, loss.reason + note)
