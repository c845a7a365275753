"""Batches of windows from many songs: full ones as long as there is work, and every attempt back to its song.

Where a critic can judge drums by themselves, a song is settled in two stages: the drums are chosen among their
attempts, then every attempt at the bass is played to the chosen drums. It takes as much decoding as attempts at both
together, and finds better pairs.

How often a window is played, and which attempt is kept, depends on its own song alone, so a song's notes do not depend
on its company.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

from jaxaccomp.arrays import STEPS
from jaxaccomp.generate import coverage, selection
from jaxaccomp.generate.options import PlayOptions
from jaxaccomp.generate.scoring import COVERAGE, TOTAL, Scores, TakeScorer
from jaxaccomp.music import sections


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
    """A take of a song on its way through the device.

    Attributes:
        melody_NL: the song's windows.
        fingerprint: of which its random keys are made.
        variation: number of the take.
        tag: what the caller knows it by.
        used_NL: which steps the song's bars have, see `Song`.
        given_NL: tokens of the part that is given, where one is.
        known: its latents by attempt [A, N, Z], where something else than the melody tells them.
        encoded: mean and standard deviation of its latents, where the surrogate has told them already.
        part: the part that is being settled, `drums` and then `bass`; None: all at once.
        missing: how often windows are still to be decoded for that.
        times_decoded_N: how often each window was.
    """

    melody_NL: Int[np.ndarray, "N L"]
    fingerprint: UInt32[np.ndarray, "2"]
    variation: int = 0
    tag: Any = None
    used_NL: Bool[np.ndarray, "N L"] | None = None
    given_NL: Int[np.ndarray, "N L"] | None = None
    known: Float[np.ndarray, "A N Z"] | None = None
    encoded: tuple[Float[np.ndarray, "N Z"], Float[np.ndarray, "N Z"]] | None = None
    part: str | None = None
    missing: int = 0
    times_decoded_N: Int[np.ndarray, "N"] = field(init=False)
    _attempts: list[Decoded] = field(default_factory=list)
    _scores: dict[str, list[Float[np.ndarray, "N"]]] = field(default_factory=dict)
    _chosen_N: Int[np.ndarray, "N"] | None = None
    _parts: tuple[str, ...] = ()
    _drum_scores: dict[str, float] = field(default_factory=dict)
    _first: Decoded | None = None

    def __post_init__(self) -> None:
        self.times_decoded_N = np.zeros(len(self.melody_NL), np.int32)

    @property
    def is_encoded(self) -> bool:
        """Whether its latents' distributions are known before anything is decoded."""
        return self.known is not None or self.encoded is not None

    @cached_property
    def form(self) -> sections.Form:
        """Form of its melody."""
        return sections.form(self.melody_NL)

    @property
    def tokens_NLP(self) -> Int[np.ndarray, "N L P"]:
        """Each window's tokens as they were chosen; there when `missing` is 0, like all below."""
        tokens_NLP = self._pick([attempt.tokens_BLP for attempt in self._attempts])
        if self.part != "bass":
            return tokens_NLP
        found: dict[str, Any] = {"bass": tokens_NLP[:, :, 0], "drums": self.given_NL}
        return np.stack([found[part] for part in self._parts], axis=-1)

    @property
    def z_NZ(self) -> Float[np.ndarray, "N Z"]:
        """The latents of these; the bass's where drums were chosen before it."""
        return self._pick([attempt.z_BZ for attempt in self._attempts])

    @property
    def scores(self) -> dict[str, float]:
        """What these were chosen by: means over the windows."""
        found = {name: float(np.mean(self._pick(scores))) for name, scores in self._scores.items()}
        if self._drum_scores:
            found["drum_critic"] = self._drum_scores[TOTAL]
            found[COVERAGE] = (found[COVERAGE] + self._drum_scores[COVERAGE]) / 2
        return found

    def posterior(self, windows: np.ndarray, attempt: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the latents of windows that were decoded before, or known from the start."""
        if self.known is not None:
            known_BZ = self.known[attempt % len(self.known), windows]
            return known_BZ, np.zeros_like(known_BZ)
        if self.encoded is not None:
            mean_NZ, scale_NZ = self.encoded
            return mean_NZ[windows], scale_NZ[windows]
        told = self._first or self._attempts[0]
        return told.mean_BZ[windows], told.scale_BZ[windows]

    def keep(self, windows: np.ndarray, attempt: int, decoded: Decoded, scores: Scores) -> None:
        """Keeps an attempt at some windows."""
        count = len(self.melody_NL)
        while len(self._attempts) <= attempt:
            kinds = [np.int16, *(array.dtype for array in decoded[1:])]  # tokens have at most 512 classes
            self._attempts.append(
                Decoded(*(np.zeros((count, *a.shape[1:]), k) for a, k in zip(decoded, kinds, strict=True)))
            )
        for mine, new in zip(self._attempts[attempt], decoded, strict=True):
            mine[windows] = new
        for name, score_B in scores.items():
            of_attempts = self._scores.setdefault(name, [])
            while len(of_attempts) <= attempt:
                of_attempts.append(np.full(count, np.nan))
            of_attempts[attempt][windows] = score_B
        self.times_decoded_N[windows] += 1

    def best(self, name: str, windows: np.ndarray) -> Float[np.ndarray, "B"]:
        """The highest score of this name that any attempt at these windows has so far."""
        return np.nanmax(np.stack(self._scores[name])[:, windows], axis=0)

    def choose(self, options: PlayOptions) -> None:
        """Settles which attempt of each window is kept, of the part in question."""
        tokens = [attempt.tokens_BLP for attempt in self._attempts]
        total_AN, coverage_AN = (np.stack(self._scores[name]) for name in (TOTAL, COVERAGE))
        self._parts = options.parts
        parts = options.parts if self.part is None else (self.part,)
        form = None if options.attempts == 1 else self.form
        of_attempts = (tokens, total_AN, coverage_AN)
        self._chosen_N = selection.of_take(self.melody_NL, *of_attempts, options, parts, self.used_NL, form)

    def go_on_to_bass(self) -> None:
        """Keeps the chosen drums, and begins anew with the bass."""
        self.given_NL, self._drum_scores = self.tokens_NLP[:, :, 0].astype(np.int32), self.scores
        self.part, self._scores, self._first = "bass", {}, self._attempts[0]
        self._attempts, self.times_decoded_N = [], np.zeros_like(self.times_decoded_N)

    def _pick(self, of_attempts: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack(of_attempts)[self._chosen_N, np.arange(len(self.melody_NL))]


@dataclass(eq=False)
class Batch:
    """Windows for one call of the device.

    Attributes:
        melody_BL: the windows.
        fingerprints_B2: of each row's song, two words a row.
        windows_B: each row's number in its song.
        variations_B: each row's take.
        attempts_B: each row's attempt, from 0.
        posterior: mean and standard deviation of the latents [B, Z], if they are known from an earlier attempt.
        given_BL: tokens of the part that is given, if one is to all of these songs.
        part: the part that is to be decoded, the bass to given drums; None: all that are asked for.
        slices: (song, its windows here, their attempt) from the first row on.
    """

    melody_BL: Int[np.ndarray, "B L"]
    fingerprints_B2: UInt32[np.ndarray, "B 2"]
    windows_B: Int[np.ndarray, "B"]
    variations_B: Int[np.ndarray, "B"]
    attempts_B: Int[np.ndarray, "B"]
    posterior: tuple[np.ndarray, np.ndarray] | None = None
    given_BL: Int[np.ndarray, "B L"] | None = None
    part: str | None = None
    slices: list[tuple[PendingTake, np.ndarray, int]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.melody_BL)

    @property
    def rows(self) -> tuple[Any, ...]:
        """What `Accompanist.play` takes."""
        numbers = (self.windows_B, self.variations_B, self.attempts_B)
        return self.melody_BL, self.fingerprints_B2, *numbers, self.posterior, self.given_BL, self.part


class Batcher:
    """Queues of windows, filled song by song and emptied batch by batch, first come, first served.

    Each window is decoded `candidates` times, and up to `retries` times more while a part rests too much in all of its
    attempts. What ends a song's way goes first, basses to chosen drums and retries, but in batches of their own, which
    need not be encoded by the surrogate once more; so do takes whose posteriors are known.
    """

    def __init__(self, batch_size: int, scorer: TakeScorer, options: PlayOptions, drums_first: bool = False):
        """Makes an empty one.

        Args:
            batch_size: windows in a batch.
            scorer: says what each attempt is worth.
            options: which parts are played, and how often.
            drums_first: settles the drums before the bass; the scorer can judge them by themselves.
        """
        self.batch_size = batch_size
        self._scorer, self._options = scorer, options
        first = "drums" if drums_first else None
        self._bass = _Queue(has_posteriors=True, part="bass")
        self._again, self._fresh = (_Queue(has_posteriors, part=first) for has_posteriors in (True, False))
        self.stages = 1 if first is None else 2

    @property
    def windows(self) -> int:
        """Windows that wait."""
        return self._bass.windows + self._again.windows + self._fresh.windows

    def add(self, take: PendingTake) -> None:
        """Queues all windows of a song."""
        take.part = self._fresh.part
        self._add_all(take, self._again if take.is_encoded else self._fresh)

    def unsettled(self, take: PendingTake) -> int:
        """Windows of a take that are not settled yet, in round figures."""
        todo = len(take.melody_NL) * self._options.attempts if take.part == "drums" else 0
        return -(-(take.missing + todo) // (self._options.attempts * self.stages))

    def _add_all(self, take: PendingTake, queue: "_Queue") -> None:
        windows = np.arange(len(take.melody_NL), dtype=np.int32)
        take.missing = len(windows) * self._options.attempts
        queue.add(take, windows, range(self._options.attempts))

    def next_batch(self, partial: bool = False) -> Batch | None:
        """The next batch, or None.

        Args:
            partial: also gives a batch that is not full, because nothing more will come for now.
        """
        for least in (self.batch_size, 1) if partial else (self.batch_size,):
            for queue in (self._bass, self._again, self._fresh):
                if queue.windows >= least:
                    return queue.pop(min(self.batch_size, queue.windows))
        return None

    def deliver(self, batch: Batch, decoded: Decoded) -> list[PendingTake]:
        """Hands decoded rows to their songs, and queues those again that had better be played again.

        Returns:
            The songs that are whole now.
        """
        scores = self._score(batch, decoded)
        whole, at = [], 0
        for take, windows, attempt in batch.slices:
            here = slice(at, at + len(windows))
            rows = Decoded(*(array[here] for array in decoded))
            take.keep(windows, attempt, rows, {name: score_B[here] for name, score_B in scores.items()})
            take.missing -= len(windows)
            times = max(attempt + 1, self._options.attempts)  # candidates may come back in any order
            if times < self._options.attempts + self._options.retries:
                settled = windows[take.times_decoded_N[windows] == times]
                poor = settled[take.best(COVERAGE, settled) < self._options.enough]
                if len(poor):
                    take.missing += len(poor)
                    (self._bass if batch.part == "bass" else self._again).add(take, poor, range(times, times + 1))
            if not take.missing:
                take.choose(self._options)
                if take.part == "drums":
                    take.go_on_to_bass()
                    self._add_all(take, self._bass)
                else:
                    whole.append(take)
            at = here.stop
        return whole

    def _score(self, batch: Batch, decoded: Decoded) -> Scores:
        """Scores of what was decoded, and of a bass together with the drums that it is played to."""
        tokens_BLP = np.asarray(decoded.tokens_BLP)
        if batch.part != "bass":
            parts = self._options.parts if batch.part is None else (batch.part,)
            return self._scorer(batch.melody_BL, self._as_decoded(batch, tokens_BLP), parts)
        bass_BLP = self._as_decoded(batch, tokens_BLP)
        both_BLP = self._as_decoded(batch, np.concatenate([tokens_BLP, batch.given_BL[:, :, None]], axis=2))
        scores = self._scorer(batch.melody_BL, both_BLP, ("bass", "drums"))
        return {**scores, COVERAGE: coverage.bar_coverage(batch.melody_BL, bass_BLP, ("bass",))}

    def _as_decoded(self, batch: Batch, tokens_BLP: Int[np.ndarray, "B L parts"]) -> Int[np.ndarray, "B L parts"]:
        """The tokens as they will be played: where candidates compete, only at the steps that the song's bars have."""
        if self._options.attempts == 1 or all(take.used_NL is None for take, _, _ in batch.slices):
            return tokens_BLP
        tokens_BLP, at = tokens_BLP.copy(), 0
        for take, windows, _ in batch.slices:
            here = slice(at, at + len(windows))
            if take.used_NL is not None:
                tokens_BLP[here] *= take.used_NL[windows][:, :, None]
            at = here.stop
        return tokens_BLP


class _Queue:
    """Windows in the order they came, all for one part; either the posteriors of all are known, or those of none.

    Attempts at one window are kept together, so that the surrogate hears it in one batch alone.
    """

    def __init__(self, has_posteriors: bool, part: str | None = None) -> None:
        self.windows = 0
        self.part = part
        self._has_posteriors = has_posteriors
        self._entries: deque[tuple[PendingTake, np.ndarray, range]] = deque()

    def add(self, take: PendingTake, windows: np.ndarray, attempts: range) -> None:
        """Queues windows, each as often as there are attempts."""
        self.windows += len(windows) * len(attempts)
        if len(windows):
            self._entries.append((take, windows, attempts))

    def pop(self, size: int) -> Batch:
        numbers = (np.empty(size, np.int32) for _ in range(3))
        batch = Batch(np.empty((size, STEPS), np.int32), np.empty((size, 2), np.uint32), *numbers, part=self.part)
        posteriors, given, at = [], [], 0
        while at < size:
            take, windows, attempts = self._take(size - at)
            for attempt in attempts:
                here = slice(at, at + len(windows))
                batch.melody_BL[here] = take.melody_NL[windows]
                batch.fingerprints_B2[here] = take.fingerprint
                batch.windows_B[here] = windows
                batch.variations_B[here] = take.variation
                batch.attempts_B[here] = attempt
                batch.slices.append((take, windows, attempt))
                if self._has_posteriors:
                    posteriors.append(take.posterior(windows, attempt))
                if take.given_NL is not None:
                    given.append(take.given_NL[windows])
                at = here.stop
        if given:
            batch.given_BL = np.concatenate(given)
        if posteriors:
            batch.posterior = tuple(map(np.concatenate, zip(*posteriors, strict=True)))
        self.windows -= size
        return batch

    def _take(self, space: int) -> tuple[PendingTake, np.ndarray, range]:
        """Windows at the head with all of their attempts, or some attempts at one where there is no room for more."""
        take, windows, attempts = self._entries.popleft()
        whole = space // len(attempts)
        now, rest = windows[: max(whole, 1)], windows[max(whole, 1) :]
        if len(rest):
            self._entries.appendleft((take, rest, attempts))
        if not whole:
            self._entries.appendleft((take, now, attempts[space:]))
            attempts = attempts[:space]
        return take, now, attempts
