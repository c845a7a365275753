"""Batches of windows from many songs: full ones as long as there is work, and every token back to its song.

A window in which a part rests too much is queued again, up to a number of tries (see `presence`), and its fullest try
is the one that counts. That depends on the window alone, so a song's notes do not depend on its company.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt32

from jaxaccomp.arrays import STEPS
from jaxaccomp.generate import presence


@dataclass(eq=False)
class Parcel:
    """A song on its way through the device.

    Attributes:
        melody_NL: its windows.
        fingerprint: of which its random keys are made.
        variation: number of the take.
        tag: what the caller knows it by.
        tokens_NLP: each window's fullest try so far; settled when `missing` is 0.
        z_NZ: the latents of these, if the caller delivers any.
        missing: windows that are not settled yet.
    """

    melody_NL: Int[np.ndarray, "N L"]
    fingerprint: UInt32[np.ndarray, "2"]
    variation: int = 0
    tag: Any = None
    tokens_NLP: Int[np.ndarray, "N L P"] | None = None
    z_NZ: Float[np.ndarray, "N Z"] | None = None
    missing: int = 0
    _fullness_N: Float[np.ndarray, "N"] | None = None

    def keep(
        self, rows: np.ndarray, tokens_BLP: np.ndarray, z_BZ: np.ndarray | None, parts: Sequence[str]
    ) -> Int[np.ndarray, "poor"]:
        """Keeps a try of some windows where it is the fullest so far.

        Returns:
            The windows that have not enough yet.
        """
        full_B = presence.fullness(self.melody_NL[rows], tokens_BLP, parts)
        if self.tokens_NLP is None:
            windows = len(self.melody_NL)
            self.tokens_NLP = np.empty((windows, *tokens_BLP.shape[1:]), np.int16)  # at most 512 classes
            self.z_NZ = None if z_BZ is None else np.empty((windows, *z_BZ.shape[1:]), z_BZ.dtype)
            self._fullness_N = np.full(windows, -1.0)
        fuller = full_B > self._fullness_N[rows]
        better = rows[fuller]
        self._fullness_N[better], self.tokens_NLP[better] = full_B[fuller], tokens_BLP[fuller]
        if z_BZ is not None:
            self.z_NZ[better] = z_BZ[fuller]
        return rows[self._fullness_N[rows] < 1]


@dataclass(eq=False)
class Batch:
    """Windows for one call of the device.

    Attributes:
        melody_BL: the windows.
        fingerprints_B2: of each row's song, two words a row.
        windows_B: each row's number in its song.
        variations_B: each row's take.
        attempts_B: how often each row was tried before.
        slices: (song, its windows here) from the first row on; all of a slice for the same time.
    """

    melody_BL: Int[np.ndarray, "B L"]
    fingerprints_B2: UInt32[np.ndarray, "B 2"]
    windows_B: Int[np.ndarray, "B"]
    variations_B: Int[np.ndarray, "B"]
    attempts_B: Int[np.ndarray, "B"]
    slices: list[tuple[Parcel, np.ndarray]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.melody_BL)

    @property
    def rows(self) -> tuple[np.ndarray, ...]:
        """What `Accompanist.play` takes."""
        return self.melody_BL, self.fingerprints_B2, self.windows_B, self.variations_B, self.attempts_B


class Packer:
    """A queue of windows that is filled song by song and emptied batch by batch.

    First come, first served; but those to be played again go before all others, so that their songs get away.
    """

    def __init__(self, batch_size: int, parts: Sequence[str], tries: int | None = None):
        """Makes an empty queue.

        Args:
            batch_size: windows in a batch.
            parts: that are played, in the order of the tokens' last axis.
            tries: how often a window is played at most; None: as often as `presence` says.
        """
        self.batch_size = batch_size
        self.windows = 0
        self._parts = tuple(parts)
        self._tries = presence.TRIES if tries is None else tries
        self._queue: deque[tuple[Parcel, np.ndarray, int]] = deque()

    def add(self, parcel: Parcel) -> None:
        """Queues all windows of a song."""
        parcel.missing = len(parcel.melody_NL)
        self.windows += parcel.missing
        self._queue.append((parcel, np.arange(parcel.missing, dtype=np.int32), 0))

    def take(self, partial: bool = False) -> Batch | None:
        """The next batch, or None.

        Args:
            partial: also gives a batch that is not full, because nothing more will come for now.
        """
        size = min(self.batch_size, self.windows)
        if not size or (size < self.batch_size and not partial):
            return None
        numbers = (np.empty(size, np.int32) for _ in range(3))
        batch = Batch(np.empty((size, STEPS), np.int32), np.empty((size, 2), np.uint32), *numbers)
        at = 0
        while at < size:
            parcel, windows, attempt = self._queue.popleft()
            windows, rest = windows[: size - at], windows[size - at :]
            here = slice(at, at + len(windows))
            batch.melody_BL[here] = parcel.melody_NL[windows]
            batch.fingerprints_B2[here] = parcel.fingerprint
            batch.windows_B[here] = windows
            batch.variations_B[here] = parcel.variation
            batch.attempts_B[here] = attempt
            batch.slices.append((parcel, windows))
            if len(rest):
                self._queue.appendleft((parcel, rest, attempt))
            at = here.stop
        self.windows -= size
        return batch

    def deliver(
        self, batch: Batch, tokens_BLP: Int[np.ndarray, "B L P"], z_BZ: Float[np.ndarray, "B Z"] | None = None
    ) -> list[Parcel]:
        """Hands decoded rows to their songs, and queues those again that had better be played again.

        Returns:
            The songs that are whole now.
        """
        whole, at = [], 0
        for parcel, windows in batch.slices:
            here = slice(at, at + len(windows))
            poor = parcel.keep(windows, tokens_BLP[here], None if z_BZ is None else z_BZ[here], self._parts)
            attempt = int(batch.attempts_B[at]) + 1
            if len(poor) and attempt < self._tries:
                self._queue.appendleft((parcel, poor, attempt))
                self.windows += len(poor)
                parcel.missing += len(poor)
            parcel.missing -= len(windows)
            if not parcel.missing:
                whole.append(parcel)
            at = here.stop
        return whole
