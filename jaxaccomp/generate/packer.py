"""Batches of windows from many songs: full ones as long as there is work, and every token back to its song."""

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int, UInt32

from jaxaccomp.arrays import STEPS


@dataclass(eq=False)
class Parcel:
    """A song on its way through the device.

    Attributes:
        melody_NL: its windows.
        fingerprint: of which its random keys are made.
        tag: what the caller knows it by.
        tokens_NLP: what was decoded so far; whole when `missing` is 0.
        missing: windows that are not decoded yet.
    """

    melody_NL: Int[np.ndarray, "N L"]
    fingerprint: UInt32[np.ndarray, "2"]
    tag: Any = None
    tokens_NLP: Int[np.ndarray, "N L P"] | None = None
    missing: int = 0


@dataclass(eq=False)
class Batch:
    """Windows for one call of the device.

    Attributes:
        melody_BL: the windows.
        fingerprints: of each row's song, two words a row.
        windows_B: each row's number in its song.
        slices: (song, its first window here, how many) from the first row on.
    """

    melody_BL: Int[np.ndarray, "B L"]
    fingerprints: UInt32[np.ndarray, "B 2"]
    windows_B: Int[np.ndarray, "B"]
    slices: list[tuple[Parcel, int, int]]

    def __len__(self) -> int:
        return len(self.melody_BL)

    def deliver(self, tokens_BLP: Int[np.ndarray, "B L P"]) -> list[Parcel]:
        """Hands the decoded rows to their songs.

        Returns:
            The songs that are whole now.
        """
        whole, row = [], 0
        for parcel, first, count in self.slices:
            if parcel.tokens_NLP is None:
                shape = (len(parcel.melody_NL), *tokens_BLP.shape[1:])
                parcel.tokens_NLP = np.empty(shape, np.int16)  # the widest vocabulary has 512 classes
            parcel.tokens_NLP[first : first + count] = tokens_BLP[row : row + count]
            parcel.missing -= count
            row += count
            if not parcel.missing:
                whole.append(parcel)
        return whole


class Packer:
    """A queue of windows that is filled song by song and emptied batch by batch, first come, first served."""

    def __init__(self, batch_size: int):
        self.batch_size = batch_size
        self.windows = 0
        self._queue: deque[tuple[Parcel, int]] = deque()

    def add(self, parcel: Parcel) -> None:
        """Queues all windows of a song."""
        parcel.missing = len(parcel.melody_NL)
        self.windows += parcel.missing
        self._queue.append((parcel, 0))

    def take(self, partial: bool = False) -> Batch | None:
        """The next batch, or None.

        Args:
            partial: also gives a batch that is not full, because nothing more will come for now.
        """
        size = min(self.batch_size, self.windows)
        if not size or (size < self.batch_size and not partial):
            return None
        slices, melodies = [], np.empty((size, STEPS), np.int32)
        fingerprints, windows = np.empty((size, 2), np.uint32), np.empty(size, np.int32)
        row = 0
        while row < size:
            parcel, first = self._queue.popleft()
            count = min(len(parcel.melody_NL) - first, size - row)
            rows = slice(row, row + count)
            melodies[rows] = parcel.melody_NL[first : first + count]
            fingerprints[rows] = parcel.fingerprint
            windows[rows] = np.arange(first, first + count)
            slices.append((parcel, first, count))
            if first + count < len(parcel.melody_NL):
                self._queue.appendleft((parcel, first + count))
            row += count
        self.windows -= size
        return Batch(melodies, fingerprints, windows, slices)
