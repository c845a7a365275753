"""The reader for training: which examples make up step n, and how they reach the devices in time.

A batch is a pure function of (dataset, seed, step): a resumed run needs to know its step and nothing else, and any
number of processes see the same global batches, each its own equal share.
"""

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jaxaccomp.arrays import NO_TOKEN, PARTS
from jaxaccomp.data import augmentation as augmentations
from jaxaccomp.data import shards
from jaxaccomp.data.augmentation import Augmentation
from jaxaccomp.errors import DatasetError

SONG_CAP = 150
"""Windows of a song that count when songs are weighed: a song of 3,000 windows is not heard 20 times as often."""

Batch = dict[str, np.ndarray]


class Batches:
    """Training batches and evaluation batches of one split.

    An epoch holds min(windows, cap) windows of each song, drawn anew for each epoch without replacement and shuffled;
    the remainder that does not fill a batch is left out. Examples of `trio_windows` arrive as `tokens` int32 [B, 256,
    3], augmented; those of `trio_latents` as `melody`, `bass`, `drums` int32 [B, 256] and `mean`, `scale` float32
    [B, Z], unaltered, since a latent belongs to its key.

    Attributes:
        size: examples in the split.
        songs: songs in the split.
        steps_per_epoch: batches in an epoch.
        metadata: what the dataset says of itself, e.g. `latent_size` and `checkpoint` of latents.
    """

    def __init__(
        self,
        source: str | os.PathLike,
        split: str = "train",
        *,
        batch_size: int,
        seed: int = 0,
        augmentation: Augmentation | None = None,
        song_cap: int = SONG_CAP,
        process_index: int = 0,
        process_count: int = 1,
        latent_size: int | None = None,
        in_memory: bool | None = None,
        drum_windows: "Batches | None" = None,
        drum_share: float = 0.0,
    ):
        """Opens a split.

        Args:
            source: folder of a dataset: the `--out` it was written to, or the version folder.
            split: `train`, `validation` or `test`.
            batch_size: examples of a global batch, over all processes.
            seed: decides order and augmentation.
            augmentation: variation of windows; None is transposition alone. Ignored for latents.
            song_cap: windows of a song that an epoch draws at most.
            process_index: which share this process reads, `jax.process_index()`.
            process_count: number of shares, `jax.process_count()`.
            latent_size: for latents, the size of z that the model has.
            in_memory: decode the whole split here, once, if it fits; else each example when its turn comes. The default
                is to do so where this process reads everything, not where it reads a share.
            drum_windows: batches of as many windows whose drums alone are known, to put some of in.
            drum_share: probability that an example is one of those; its melody and bass are then `NO_TOKEN`.

        Raises:
            DatasetError: no dataset there, an empty split, latents of another size, or a batch that does not divide
                into equal shares.
        """
        if batch_size < 1 or batch_size % process_count:
            raise DatasetError(
                f"a batch of {batch_size} examples does not divide into {process_count} equal shares, one for each "
                f"process; choose a multiple of {process_count}"
            )
        if latent_size is not None:
            shards.require_latent_size(source, latent_size)
        self.source, self.split = source, split
        in_memory = process_count == 1 if in_memory is None else in_memory
        self._data = shards.open_split(source, split, memory_bytes=None if in_memory else 0)
        if not len(self._data):
            raise DatasetError(f"{source}: the split '{split}' holds no examples; add songs, or choose another split")
        self.size = len(self._data)
        self.songs = len(self._data.windows_by_song)
        self.metadata = self._data.metadata
        self.batch_size, self.seed, self.song_cap = batch_size, seed, song_cap
        self.process_index, self.process_count = process_index, process_count
        self.augmentation = augmentation if augmentation is not None else Augmentation()
        self._drum_windows, self._drum_share = drum_windows, drum_share
        self._song_N = np.repeat(np.arange(len(self._data.windows_by_song)), self._data.windows_by_song)
        self._first_N = np.repeat(
            np.cumsum(self._data.windows_by_song) - self._data.windows_by_song, self._data.windows_by_song
        )
        self.epoch_size = int(np.minimum(self._data.windows_by_song, song_cap).sum())
        self._rounds = -(-batch_size // self.epoch_size)  # a set smaller than one batch is gone through several times
        self.steps_per_epoch = self.epoch_size * self._rounds // batch_size
        self._latest: tuple[int, np.ndarray] | None = None

    def batch(self, step: int) -> Batch:
        """This process's share of the global batch of a step; a pure function of its argument.

        Args:
            step: from 0, never wrapping: step `steps_per_epoch` is the first of epoch 1.

        Returns:
            Arrays of `batch_size / process_count` examples, by feature.
        """
        rows = self.rows(step)
        share = self._share()
        batch = self._data.take(rows[share])
        if "tokens" in batch:
            draws_BU = augmentations.draw(self.seed, step, self.batch_size)
            others_BL = self._other_drums(step, share) if self.augmentation.drum_mix else None
            batch["tokens"] = augmentations.augment(batch["tokens"], draws_BU[share], self.augmentation, others_BL)
            if self._drum_windows is not None:
                drums_BL = self._drum_windows.batch(step)["tokens"][:, :, PARTS.index("drums")]
                chance_B = np.random.default_rng([self.seed, step, 4]).random(self.batch_size)[share]
                batch["tokens"] = _with_drums_alone(batch["tokens"], drums_BL, chance_B < self._drum_share)
        return _widened(batch)

    def rows(self, step: int) -> np.ndarray:
        """Rows of the split that make up the global batch of a step, over all processes."""
        epoch, position = divmod(step, self.steps_per_epoch)
        return self._order(epoch)[position * self.batch_size : (position + 1) * self.batch_size]

    def stream(self, start_step: int = 0, place: Callable[[Batch], Any] | None = None, depth: int = 2) -> "Stream":
        """Batches from `start_step` on without end, prepared ahead by a thread of their own.

        Args:
            start_step: the first step to deliver.
            place: what to do with a batch before it is handed out, in the thread: e.g. `to_devices(devices)`.
            depth: batches held ready.
        """
        return Stream(self.batch, start_step, place, depth)

    def evaluation(self, batch_size: int | None = None, limit: int | None = None) -> Iterator[Batch]:
        """Every example of the split once, unaugmented, in batches of one shape.

        Args:
            batch_size: examples of a global batch; default the training batch size.
            limit: at most so many examples: a seeded choice that weighs songs as training does.

        Yields:
            As `batch`, and `mask` bool [B]: False marks the padding that fills the last batch. Every process yields
            the same number of batches.
        """
        size = batch_size or self.batch_size
        if size % self.process_count:
            raise DatasetError(
                f"an evaluation batch of {size} examples does not divide into {self.process_count} equal shares; "
                f"choose a multiple of {self.process_count}"
            )
        rows = np.arange(self.size)
        if limit is not None and limit < self.size:
            rows = self._drawn(0, 0)[:limit]
        share = self._share(size)
        for first in range(0, len(rows), size):
            chosen = rows[first : first + size]
            padded = np.concatenate([chosen, np.full(size - len(chosen), chosen[-1])])
            batch = _widened(self._data.take(padded[share]))
            yield batch | {"mask": (np.arange(size) < len(chosen))[share]}

    def _share(self, size: int | None = None) -> slice:
        each = (size or self.batch_size) // self.process_count
        return slice(self.process_index * each, (self.process_index + 1) * each)

    def _other_drums(self, step: int, share: slice) -> np.ndarray:
        """Drums of a window of any song for each row of a share of a step's batch; songs are equally likely."""
        draws_B2 = np.random.default_rng([self.seed, step, 2]).random((self.batch_size, 2))
        counts = np.asarray(self._data.windows_by_song)
        song_B = (draws_B2[:, 0] * len(counts)).astype(int)
        row_B = (np.cumsum(counts) - counts)[song_B] + (draws_B2[:, 1] * counts[song_B]).astype(int)
        return self._data.take(row_B[share])["tokens"][:, :, 2]

    def _order(self, epoch: int) -> np.ndarray:
        """Rows of an epoch in the order they are read."""
        latest = self._latest
        if latest is None or latest[0] != epoch:
            latest = epoch, np.concatenate([self._drawn(epoch, round_) for round_ in range(self._rounds)])
            self._latest = latest
        return latest[1]

    def _drawn(self, epoch: int, round_: int) -> np.ndarray:
        random = np.random.default_rng([self.seed, epoch, round_, 0])
        by_song = np.lexsort((random.random(self.size), self._song_N))
        rank_N = np.arange(self.size) - self._first_N
        return random.permutation(by_song[rank_N < self.song_cap])


class Stream:
    """An endless iterator over batches that a thread prepares ahead.

    Attributes:
        waited_s: time its consumer has spent waiting for batches, in seconds.
    """

    def __init__(self, make: Callable[[int], Batch], start_step: int, place: Callable[[Batch], Any] | None, depth: int):
        self.waited_s = 0.0
        self._ready: queue.Queue = queue.Queue(maxsize=depth)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._fill, args=(make, start_step, place), daemon=True)
        self._thread.start()

    def __iter__(self) -> "Stream":
        return self

    def __next__(self) -> Any:
        if self._stopped.is_set():
            raise StopIteration
        start_s = time.perf_counter()
        batch = self._ready.get()
        self.waited_s += time.perf_counter() - start_s
        if isinstance(batch, BaseException):
            self.close()
            raise batch
        return batch

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops the thread."""
        self._stopped.set()
        self._thread.join()

    def _fill(self, make: Callable[[int], Batch], step: int, place: Callable[[Batch], Any] | None) -> None:
        while not self._stopped.is_set():
            try:
                item = make(step)
                item = item if place is None else place(item)
            except BaseException as error:  # it belongs to the consumer, who is in another thread
                item = error
            while not self._stopped.is_set():
                try:
                    self._ready.put(item, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if isinstance(item, BaseException):
                return
            step += 1


def to_devices(devices: list) -> Callable[[Batch], Any]:
    """A `place` that cuts a batch's rows into one equal share for each device: arrays [D, B/D, …], already there."""
    import jax
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    sharding = NamedSharding(Mesh(np.array(devices), ("data",)), PartitionSpec("data"))

    def place(batch: Batch) -> Any:
        rows = len(next(iter(batch.values())))
        if rows % len(devices):
            raise DatasetError(
                f"a share of {rows} examples does not divide among {len(devices)} devices; choose a batch size that is "
                f"a multiple of the number of devices"
            )
        split = {name: array.reshape(len(devices), -1, *array.shape[1:]) for name, array in batch.items()}
        return {name: jax.device_put(array, sharding) for name, array in split.items()}

    return place


def _with_drums_alone(tokens_BLP: np.ndarray, drums_BL: np.ndarray, alone_B: np.ndarray) -> np.ndarray:
    """Windows of which some are replaced by other drums, to which neither melody nor bass is known."""
    unknown_BL = np.full_like(drums_BL, NO_TOKEN)
    drums_BLP = np.stack([drums_BL if part == "drums" else unknown_BL for part in PARTS], axis=2)
    return np.where(alone_B[:, None, None], drums_BLP, tokens_BLP)


def _widened(batch: Batch) -> Batch:
    """Tokens are kept in the smallest type that holds them; models take int32."""
    return {
        name: array.astype(np.int32) if np.issubdtype(array.dtype, np.integer) else array
        for name, array in batch.items()
    }
