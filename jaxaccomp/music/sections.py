"""The form of a song, as far as its melody tells: which windows repeat an earlier one, and where something new begins.

Both go by self-similarity. Two bars are alike in the share of steps at which the same pitch sounds in both, of those at
which any sounds in either. A window repeats an earlier one if its bars are like the other's, bar by bar. A section
begins at a bar where what follows is unlike what came before, though each is like itself (Foote's novelty).

Source: Foote, Automatic audio segmentation using a measure of audio novelty (2000), on bars of symbols.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxaccomp.arrays import BARS, STEPS_PER_BAR
from jaxaccomp.music import tokens
from jaxaccomp.music.tokens import SILENT

REPEAT = 0.6
"""Similarity from which on a window counts as a repeat of another."""
NOVELTY = 0.25
"""Novelty from which on a bar may begin a section."""
_SPAN = 8
"""Bars on either side that are compared to find where a section begins."""
_APART = 4
"""Bars between two beginnings at least."""


@dataclass(frozen=True)
class Form:
    """Form of a song.

    Attributes:
        repeats_N: for each window the earliest one it repeats, or its own number.
        begins_M: whether a section begins at each bar of all windows, in order; the first bar always does.
    """

    repeats_N: Int[np.ndarray, "N"]
    begins_M: Bool[np.ndarray, "M"]

    @property
    def begins_with_window_N(self) -> Bool[np.ndarray, "N"]:
        """Whether a section begins where each window begins."""
        return self.begins_M[::BARS]


def form(melody_NL: Int[np.ndarray, "N L"]) -> Form:
    """Form of a song's melody, window by window.

    Args:
        melody_NL: melody tokens of the song's windows, in order.
    """
    pitch_NL = tokens.sounding(melody_NL)
    return Form(_repeats(pitch_NL), _beginnings(pitch_NL.reshape(-1, STEPS_PER_BAR)))


def similarity(one_KL: Int[np.ndarray, "K L"], other_L: Int[np.ndarray, "L"]) -> Float[np.ndarray, "K"]:
    """How alike windows are to another, by the pitch at each step: 0 to 1; a silent window is like nothing."""
    same_K = ((one_KL == other_L) & (one_KL != SILENT)).sum(1)
    either_K = ((one_KL != SILENT) | (other_L != SILENT)).sum(1)
    return same_K / np.maximum(either_K, 1)


def _repeats(pitch_NL: Int[np.ndarray, "N L"]) -> Int[np.ndarray, "N"]:
    repeats_N = np.arange(len(pitch_NL))
    for n in range(1, len(pitch_NL)):
        originals = np.flatnonzero(repeats_N[:n] == np.arange(n))
        like_K = similarity(pitch_NL[originals], pitch_NL[n])
        best = int(np.argmax(like_K))
        if like_K[best] >= REPEAT:
            repeats_N[n] = originals[best]
    return repeats_N


def _beginnings(pitch_MT: Int[np.ndarray, "M T"]) -> Bool[np.ndarray, "M"]:
    """Local peaks of novelty; where music sets in after bars of silence is one."""
    count = len(pitch_MT)
    feature_MF = _features(pitch_MT)
    novelty_M = _novelty(feature_MF)
    begins_M = np.zeros(count, bool)
    begins_M[0] = True
    for bar in np.argsort(-novelty_M, kind="stable"):
        if novelty_M[bar] < NOVELTY:
            break
        if not begins_M[max(bar - _APART + 1, 0) : bar + _APART].any():
            begins_M[bar] = True
    return begins_M


def _novelty(feature_MF: Float[np.ndarray, "M F"]) -> Float[np.ndarray, "M"]:
    """How unlike the bars from each on are to those before it, less how unlike either are among themselves."""
    count = len(feature_MF)
    novelty_M = np.zeros(count)
    whole = range(_SPAN, count - _SPAN + 1)  # where there are as many bars as are compared on both sides
    if whole:
        span_XUF = np.moveaxis(np.lib.stride_tricks.sliding_window_view(feature_MF, _SPAN, axis=0), 2, 1)
        span_XFU = np.swapaxes(span_XUF, 1, 2)
        own_X = (span_XUF @ span_XFU).mean((1, 2))
        across_X = (span_XUF[:-_SPAN] @ span_XFU[_SPAN:]).mean((1, 2))
        novelty_M[_SPAN : count - _SPAN + 1] = (own_X[:-_SPAN] + own_X[_SPAN:]) / 2 - across_X
    for bar in range(_APART, count - _APART + 1):
        if bar not in whole:
            before, after = feature_MF[max(bar - _SPAN, 0) : bar], feature_MF[bar : bar + _SPAN]
            novelty_M[bar] = (np.mean(before @ before.T) + np.mean(after @ after.T)) / 2 - np.mean(before @ after.T)
    return novelty_M


def _features(pitch_MT: Int[np.ndarray, "M T"]) -> Float[np.ndarray, "M F"]:
    """A unit vector for each bar: when its notes change, and how long each pitch class sounds."""
    change_MT = np.diff(pitch_MT, axis=1, prepend=SILENT) != 0
    class_MC = np.stack([((pitch_MT % 12 == c) & (pitch_MT != SILENT)).sum(1) for c in range(12)], 1)
    silent_M1 = (pitch_MT == SILENT).all(1, keepdims=True)
    halves = [half / np.maximum(np.linalg.norm(half, axis=1, keepdims=True), 1) for half in (change_MT, class_MC)]
    feature_MF = np.concatenate([*halves, silent_M1], axis=1)
    return feature_MF / np.maximum(np.linalg.norm(feature_MF, axis=1, keepdims=True), 1e-9)
