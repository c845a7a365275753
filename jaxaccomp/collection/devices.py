"""The device's own thread: the next batch is under way before the last one is fetched."""

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing import Pipe

from jaxaccomp.errors import CollectionError, JaxAccompError
from jaxaccomp.generate.batcher import Batch, Decoded

_IN_FLIGHT = 2
"""Batches on the device: one that computes, and one that waits to."""


class Device:
    """Decodes batches in the order they come.

    Attributes:
        news: becomes readable when results are there, so that one loop can wait for the device and for workers.
        busy_s: time during which the device had a batch to work on.
        first_s: when the first batch was handed over, as of `time.monotonic`, or None.
        last_s: when the last batch came back.
        windows: windows decoded.
    """

    def __init__(self, decode: Callable[[Batch], Decoded]):
        """Starts the thread.

        Args:
            decode: hands a batch to the device and returns what is played to be, without waiting for it.
        """
        self.news, self._bell = Pipe(duplex=False)
        self.busy_s = 0.0
        self.first_s: float | None = None
        self.last_s: float | None = None
        self.windows = 0
        self.pending = 0
        self._decode = decode
        self._batches: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[tuple[Batch, Decoded | Exception]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="device", daemon=True)
        self._thread.start()

    @property
    def is_free(self) -> bool:
        """Whether another batch would be started soon; else it had better wait where it takes less memory."""
        return self.pending <= _IN_FLIGHT

    def submit(self, batch: Batch) -> None:
        """Queues a batch."""
        if self.first_s is None:
            self.first_s = time.monotonic()
        self.pending += 1
        self._batches.put(batch)

    def results(self) -> Iterator[tuple[Batch, Decoded]]:
        """The batches that are decoded by now; never waits.

        Raises:
            CollectionError: the device failed.
            JaxAccompError: the model could not be loaded, or not asked for this.
        """
        while self.news.poll():
            self.news.recv_bytes()
            batch, decoded = self._results.get()
            self.pending -= 1
            if isinstance(decoded, JaxAccompError):
                raise decoded
            if isinstance(decoded, Exception):
                reason = str(decoded).strip().splitlines() or [type(decoded).__name__]
                raise CollectionError(
                    f"the device failed on a batch of {len(batch)} windows ({reason[0]}); try a smaller --batch-size"
                ) from decoded
            self.windows += len(batch)
            yield batch, decoded

    def close(self) -> None:
        """Ends the thread; batches under way are given up."""
        self._batches.put(None)
        self._thread.join()
        self.news.close()
        self._bell.close()

    def __enter__(self) -> "Device":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _work(self) -> None:
        under_way: deque[tuple[Batch, Decoded, float]] = deque()
        while True:
            if len(under_way) < _IN_FLIGHT:
                with contextlib.suppress(queue.Empty):
                    batch = self._batches.get(block=not under_way)
                    if batch is None:
                        return
                    self._start(batch, under_way)
                    continue
            if under_way:
                self._fetch(*under_way.popleft())

    def _start(self, batch: Batch, under_way: deque[tuple[Batch, Decoded, float]]) -> None:
        started_s = time.monotonic()
        try:
            under_way.append((batch, self._decode(batch), started_s))
        except Exception as error:
            self._tell(batch, error)

    def _fetch(self, batch: Batch, decoded: Decoded, started_s: float) -> None:
        try:
            fetched = decoded.fetched()
        except Exception as error:
            self._tell(batch, error)
            return
        now_s = time.monotonic()
        self.busy_s += now_s - max(started_s, self.last_s or started_s)
        self.last_s = now_s
        self._tell(batch, fetched)

    def _tell(self, batch: Batch, result: Decoded | Exception) -> None:
        self._results.put((batch, result))
        self._bell.send_bytes(b"!")
