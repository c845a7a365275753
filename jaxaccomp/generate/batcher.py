"""Batches of windows from many songs: full ones as long as there is work, and every token back to its song.

A window in which a part rests too much is queued again, up to a number of tries (see `coverage`), and its fullest try
is the one that counts. That depends on the window alone, so a song's notes do not depend on its company.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int, UInt32

from jaxaccomp.arrays import STEPS
from jaxaccomp.generate import coverage


class Decoded(NamedTuple):
    """What the model made of a batch of windows; arrays on a device that may still be computing them, or NumPy's."""

    tokens_BLP: Int[Array | np.ndarray, "B L parts"]
    """Tokens of the parts asked for, in the order asked."""
    z_BZ: Float[Array | np.ndarray, "B Z"]
    """The latents that were decoded."""
    mean_BZ: Float[Array | np.ndarray, "B Z"]
    """Mean of the latents, as the surrogate hears the tune."""
    scale_BZ: Float[Array | np.ndarray, "B Z"]
    """Their standard deviation."""

    def fetched(self) -> "Decoded":
        """The same as NumPy arrays, once they are computed."""
        return Decoded(*map(np.asarray, self))


@dataclass(eq=False)
class PendingTake:
    """A song on its way through the device.

    Attributes:
        melody_NL: its windows.
        fingerprint: of which its random keys are made.
        variation: number of the take.
        tag: what the caller knows it by.
        missing: windows that are not settled yet.
    """

    melody_NL: Int[np.ndarray, "N L"]
    fingerprint: UInt32[np.ndarray, "2"]
    variation: int = 0
    tag: Any = None
    missing: int = 0
    _best: Decoded | None = None
    _fullness_N: Float[np.ndarray, "N"] | None = None

    @property
    def tokens_NLP(self) -> Int[np.ndarray, "N L P"]:
        """Each window's fullest try so far; settled when `missing` is 0."""
        return self._best.tokens_BLP

    @property
    def z_NZ(self) -> Float[np.ndarray, "N Z"]:
        """The latents of these."""
        return self._best.z_BZ

    def posterior(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the latents of windows that were played before."""
        return self._best.mean_BZ[windows], self._best.scale_BZ[windows]

    def keep(self, windows: np.ndarray, decoded: Decoded, parts: Sequence[str]) -> Int[np.ndarray, "poor"]:
        """Keeps a try of some windows where it is the fullest so far.

        Returns:
            The windows that have not enough yet.
        """
        full_B = coverage.fullness(self.melody_NL[windows], decoded.tokens_BLP, parts)
        if self._best is None:
            kinds = [np.int16, *(array.dtype for array in decoded[1:])]  # tokens have at most 512 classes
            shapes = [(len(self.melody_NL), *array.shape[1:]) for array in decoded]
            self._best = Decoded(*map(np.empty, shapes, kinds))
            self._fullness_N = np.full(len(self.melody_NL), -1.0)
        fuller = full_B > self._fullness_N[windows]
        self._fullness_N[windows[fuller]] = full_B[fuller]
        for best, new in zip(self._best, decoded, strict=True):
            best[windows[fuller]] = new[fuller]
        return windows[self._fullness_N[windows] < 1]


@dataclass(eq=False)
class Batch:
    """Windows for one call of the device.

    Attributes:
        melody_BL: the windows.
        fingerprints_B2: of each row's song, two words a row.
        windows_B: each row's number in its song.
        variations_B: each row's take.
        attempts_B: how often each row was played before.
        posterior: mean and standard deviation of the latents [B, Z], if they are known from an earlier attempt.
        slices: (song, its windows here) from the first row on; all of a slice for the same time.
    """

    melody_BL: Int[np.ndarray, "B L"]
    fingerprints_B2: UInt32[np.ndarray, "B 2"]
    windows_B: Int[np.ndarray, "B"]
    variations_B: Int[np.ndarray, "B"]
    attempts_B: Int[np.ndarray, "B"]
    posterior: tuple[np.ndarray, np.ndarray] | None = None
    slices: list[tuple[PendingTake, np.ndarray]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.melody_BL)

    @property
    def rows(self) -> tuple[Any, ...]:
        """What `Accompanist.play` takes."""
        numbers = (self.windows_B, self.variations_B, self.attempts_B)
        return self.melody_BL, self.fingerprints_B2, *numbers, self.posterior


class Batcher:
    """Two queues of windows, filled song by song and emptied batch by batch, first come, first served.

    Those that are played again go first, so that their songs get away, but in batches of their own, which need not be
    heard by the surrogate once more.
    """

    def __init__(self, batch_size: int, parts: Sequence[str], tries: int | None = None):
        """Makes an empty one.

        Args:
            batch_size: windows in a batch.
            parts: that are played, in the order of the tokens' last axis.
            tries: how often a window is played at most; None: as often as `coverage` says.
        """
        self.batch_size = batch_size
        self._parts = tuple(parts)
        self._tries = coverage.ATTEMPTS if tries is None else tries
        self._again, self._fresh = _Queue(), _Queue()

    @property
    def windows(self) -> int:
        """Windows that wait."""
        return self._again.windows + self._fresh.windows

    def add(self, take: PendingTake) -> None:
        """Queues all windows of a song."""
        take.missing = len(take.melody_NL)
        self._fresh.add(take, np.arange(take.missing, dtype=np.int32), 0)

    def next_batch(self, partial: bool = False) -> Batch | None:
        """The next batch, or None.

        Args:
            partial: also gives a batch that is not full, because nothing more will come for now.
        """
        for least in (self.batch_size, 1) if partial else (self.batch_size,):
            for queue in (self._again, self._fresh):
                if queue.windows >= least:
                    return queue.pop(min(self.batch_size, queue.windows))
        return None

    def deliver(self, batch: Batch, decoded: Decoded) -> list[PendingTake]:
        """Hands decoded rows to their songs, and queues those again that had better be played again.

        Returns:
            The songs that are whole now.
        """
        whole, at = [], 0
        for take, windows in batch.slices:
            here = slice(at, at + len(windows))
            poor = take.keep(windows, Decoded(*(array[here] for array in decoded)), self._parts)
            attempt = int(batch.attempts_B[at]) + 1
            take.missing -= len(windows)
            if len(poor) and attempt < self._tries:
                take.missing += len(poor)
                self._again.add(take, poor, attempt)
            if not take.missing:
                whole.append(take)
            at = here.stop
        return whole


class _Queue:
    """Windows that were all played before, or none of them."""

    def __init__(self) -> None:
        self.windows = 0
        self._entries: deque[tuple[PendingTake, np.ndarray, int]] = deque()

    def add(self, take: PendingTake, windows: np.ndarray, attempt: int) -> None:
        self.windows += len(windows)
        self._entries.append((take, windows, attempt))

    def pop(self, size: int) -> Batch:
        numbers = (np.empty(size, np.int32) for _ in range(3))
        batch = Batch(np.empty((size, STEPS), np.int32), np.empty((size, 2), np.uint32), *numbers)
        posteriors, at = [], 0
        while at < size:
            take, windows, attempt = self._entries.popleft()
            windows, rest = windows[: size - at], windows[size - at :]
            here = slice(at, at + len(windows))
            batch.melody_BL[here] = take.melody_NL[windows]
            batch.fingerprints_B2[here] = take.fingerprint
            batch.windows_B[here] = windows
            batch.variations_B[here] = take.variation
            batch.attempts_B[here] = attempt
            batch.slices.append((take, windows))
            if attempt:
                posteriors.append(take.posterior(windows))
            if len(rest):
                self._entries.appendleft((take, rest, attempt))
            at = here.stop
        if posteriors:
            batch.posterior = tuple(map(np.concatenate, zip(*posteriors, strict=True)))
        self.windows -= size
        return batch
