"""Where things are and where they recur: features of a window for the critic, beside the nineteen measures.

Counts alone can be pleased by scattering: so many different drum tokens, anywhere. A drummer's tokens have places: the
snare on the same beats in every bar, the fill at the end of four or eight, the crash after it. A bass line repeats its
rhythm, and comes back to its notes. Each feature is a number a window; shares without meaning are 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxaccomp.arrays import BARS, STEPS, STEPS_PER_BAR, WindowTokens
from jaxaccomp.music import measures, tokens
from jaxaccomp.music.tokens import (
    CLOSED_HAT,
    CRASH,
    HIGH_TOM,
    KICK,
    LOW_TOM,
    MID_TOM,
    OPEN_HAT,
    RIDE,
    SILENT,
    SNARE,
)

LAGS = (1, 2, 4, 8)
"""Bars after which something may come back."""
GROUPS = {
    "kick": (KICK,),
    "snare": (SNARE,),
    "hat": (CLOSED_HAT, OPEN_HAT, RIDE),
    "toms": (LOW_TOM, MID_TOM, HIGH_TOM),
    "crash": (CRASH,),
}
"""Drums that do one job."""
_STEP_L = np.arange(STEPS) % STEPS_PER_BAR
_BAR_L = np.arange(STEPS) // STEPS_PER_BAR
_DRUMS = ("kicks", "snares", "closed_hats", "open_hats", "low_toms", "mid_toms", "high_toms", "crashes", "rides")
INTERVALS = ((0, 0), (1, 2), (3, 4), (5, 7), (8, 11), (12, 12), (13, 127))
"""Bass leaps by size in semitones: repeats, steps, thirds, fourths and fifths, sixths and sevenths, octaves, more."""

Features = dict[str, Float[np.ndarray, " N"]]


@dataclass(frozen=True)
class _View:
    """Windows, and what several features are made of."""

    windows_NLP: WindowTokens

    @cached_property
    def hit_NLD(self) -> Bool[np.ndarray, "N L D"]:
        return tokens.hits(self.windows_NLP[:, :, 2])

    @cached_property
    def melody_NL(self) -> Int[np.ndarray, "N L"]:
        return tokens.sounding(self.windows_NLP[:, :, 0])

    @cached_property
    def bass_NL(self) -> Int[np.ndarray, "N L"]:
        return tokens.sounding(self.windows_NLP[:, :, 1])

    @cached_property
    def onset_NL(self) -> Bool[np.ndarray, "N L"]:
        """Where the bass strikes a note."""
        return tokens.onsets(self.windows_NLP[:, :, 1])


def features(windows_NLP: WindowTokens) -> Features:
    """The nineteen measures and all patterns of each window, by name."""
    view, found = _View(windows_NLP.astype(np.int32)), {}
    for group in _GROUPS:
        found.update(group(view))
    return found


def table(windows_NLP: WindowTokens) -> Float[np.ndarray, "N F"]:
    """`features` as one array, a column for each of `NAMES`."""
    return np.stack(list(features(windows_NLP).values()), axis=1)


def columns(windows_NLP: WindowTokens, names: Sequence[str]) -> Float[np.ndarray, "N F"]:
    """Some of the features, in the order asked; groups of which none is asked are not computed."""
    view, found = _View(windows_NLP.astype(np.int32)), {}
    for group in dict.fromkeys(_GROUP_OF[name] for name in names):
        found.update(group(view))
    return np.stack([found[name] for name in names], axis=1)


def _measures_of_bass(view: _View) -> Features:
    return measures.of_bass(view.windows_NLP)


def _measures_of_drums(view: _View) -> Features:
    return measures.of_drums(view.windows_NLP[:, :, 2])


def _melody(view: _View) -> Features:
    onset_NL = tokens.onsets(view.windows_NLP[:, :, 0])
    pitch_NL = view.melody_NL
    sounds_NL = pitch_NL != SILENT
    return {
        "melody_notes_per_bar": onset_NL.sum(1) / BARS,
        "melody_sounds": sounds_NL.mean(1),
        "melody_pitch": _mean(sounds_NL, pitch_NL),
        "melody_on_beats": _share(onset_NL, _STEP_L % 4 == 0),
        "melody_off_eighths": _share(onset_NL, _STEP_L % 2 == 1),
    }


def _drum_counts(view: _View) -> Features:
    return {f"{name}_per_bar": view.hit_NLD[:, :, bit].sum(1) / BARS for bit, name in enumerate(_DRUMS)}


def _drum_places(view: _View) -> Features:
    drums_NL, hit_NLD = view.windows_NLP[:, :, 2], view.hit_NLD
    found: Features = {}
    group = {name: np.asarray(hit_NLD[:, :, list(bits)].any(2)) for name, bits in GROUPS.items()}
    for name, hit_NL in group.items():
        for lag in LAGS:
            found[f"{name}_after_{lag}"] = _recurrence(hit_NL, lag)
    for name in ("kick", "snare", "hat"):
        by_place_NT = tokens.bars(group[name]).mean(1)
        for step in range(0, STEPS_PER_BAR, 2):
            found[f"{name}_at_{step}"] = by_place_NT[:, step]
        found[f"{name}_off_eighths"] = _share(group[name], _STEP_L % 2 == 1)
        # How settled a drum's places are: 1 where every place is always or never hit.
        found[f"{name}_settled"] = (4 * (by_place_NT - 0.5) ** 2).mean(1)
        per_bar_NS = tokens.bars(group[name]).sum(2)
        found[f"{name}_spread"] = per_bar_NS.std(1)
    fill_NL = group["toms"] | (group["snare"] & ~np.isin(_STEP_L, (4, 12)))
    found["crash_on_one"] = _share(group["crash"], _STEP_L == 0)
    found["crash_opens_four"] = _share(group["crash"], (_STEP_L == 0) & (_BAR_L % 4 == 0))
    found["crash_most_usual_place"] = _usual(group["crash"])
    found["toms_late"] = _share(group["toms"], _STEP_L >= 8)
    found["toms_most_usual_bar"] = _bar_of_four(group["toms"])
    found["fills_most_usual_bar"] = _bar_of_four(fill_NL)
    found["tom_bars"] = tokens.bars(group["toms"]).any(2).mean(1)
    found["tom_steps_in_tom_bars"] = group["toms"].sum(1) / np.maximum(tokens.bars(group["toms"]).any(2).sum(1), 1)
    found["crash_bars"] = tokens.bars(group["crash"]).any(2).mean(1)
    found["fill_steps"] = fill_NL.mean(1)
    bar_NST = tokens.bars(drums_NL)
    for lag in (2, 4, 8):
        found[f"drum_bars_after_{lag}"] = (bar_NST[:, lag:] == bar_NST[:, :-lag]).all(2).mean(1)
    code_NS = _codes(bar_NST)
    found["drum_bars_different"] = _different(code_NS)
    found["drum_bars_most_usual"] = (code_NS[:, :, None] == code_NS[:, None]).mean(2).max(1)
    struck_NS = (bar_NST > 0).sum(2)
    found["drum_steps_spread"] = struck_NS.std(1)
    found["drum_bars_bare"] = (struck_NS < 4).mean(1)
    found["drums_at_once"] = _mean(drums_NL > 0, hit_NLD.sum(2))
    found["hats_and_rides"] = (group["hat"] & hit_NLD[:, :, [RIDE]].any(2)).mean(1)
    found["kick_with_snare"] = _share(group["kick"], group["snare"])
    return found


def _drum_tokens_once(view: _View) -> Features:
    """Different drum tokens that occur only once in the window."""
    ordered_NL = np.sort(view.windows_NLP[:, :, 2], axis=1)
    changes_NL = np.ones((len(ordered_NL), STEPS + 1), bool)
    changes_NL[:, 1:-1] = ordered_NL[:, 1:] != ordered_NL[:, :-1]
    return {"drum_tokens_once": (changes_NL[:, 1:] & changes_NL[:, :-1]).sum(1).astype(float)}


def _drum_steps_settled(view: _View) -> Features:
    step_NT = (tokens.bars(view.windows_NLP[:, :, 2]) > 0).mean(1)
    return {"drum_steps_settled": (4 * (step_NT - 0.5) ** 2).mean(1)}


def _bass_rhythm(view: _View) -> Features:
    bass_NL, onset_NL = view.bass_NL, view.onset_NL
    found: Features = {}
    note_NL = np.where(onset_NL, bass_NL, 0)
    note_NST, onset_NST = tokens.bars(note_NL), tokens.bars(onset_NL)
    for lag in LAGS:
        found[f"bass_rhythm_after_{lag}"] = _recurrence(onset_NL, lag)
        both_NST = onset_NST[:, lag:] & onset_NST[:, :-lag]
        same_NST = both_NST & (note_NST[:, lag:] == note_NST[:, :-lag])
        found[f"bass_notes_after_{lag}"] = same_NST.sum((1, 2)) / np.maximum(both_NST.sum((1, 2)), 1)
        found[f"bass_bars_after_{lag}"] = (note_NST[:, lag:] == note_NST[:, :-lag]).all(2).mean(1)
    by_place_NT = onset_NST.mean(1)
    for step in range(0, STEPS_PER_BAR, 2):
        found[f"bass_at_{step}"] = by_place_NT[:, step]
    found["bass_off_eighths"] = _share(onset_NL, _STEP_L % 2 == 1)
    found["bass_settled"] = (4 * (by_place_NT - 0.5) ** 2).mean(1)
    found["bass_spread"] = onset_NST.sum(2).std(1)
    return found


def _bass_pitch(view: _View) -> Features:
    mean_N = _mean(view.onset_NL, view.bass_NL)
    spread_N = np.sqrt(_mean(view.onset_NL, (view.bass_NL - mean_N[:, None]) ** 2))
    return {"bass_pitch": mean_N, "bass_pitch_spread": spread_N}


def _bass_notes(view: _View) -> Features:
    windows_NLP, hit_NLD = view.windows_NLP, view.hit_NLD
    melody_NL, bass_NL, onset_NL = view.melody_NL, view.bass_NL, view.onset_NL
    ends_NL = windows_NLP[:, :, 1] == 1
    rows = len(bass_NL)
    found: Features = {}
    found["bass_sounds"] = (bass_NL != SILENT).mean(1)
    found["bass_ends_per_note"] = ends_NL.sum(1) / np.maximum(onset_NL.sum(1), 1)
    class_NLC = (bass_NL[..., None] % 12 == np.arange(12)) & onset_NL[..., None]
    share_NC = class_NLC.sum(1) / np.maximum(onset_NL.sum(1), 1)[:, None]
    found["bass_most_usual_class"] = share_NC.max(1)
    found["bass_classes"] = (share_NC > 0).sum(1).astype(float)
    # Leaps between neighboring notes, by size, and how often a bar stays on one pitch class.
    row_X, step_X = np.nonzero(onset_NL)
    pitch_X = bass_NL[row_X, step_X]
    follows_X = row_X[1:] == row_X[:-1]
    leap_X = np.abs(np.diff(pitch_X))[follows_X]
    owner_X = row_X[1:][follows_X]
    leaps_N = np.maximum(np.bincount(owner_X, minlength=rows), 1)
    for low, high in INTERVALS:
        within_X = (leap_X >= low) & (leap_X <= high)
        found[f"bass_leap_{low}"] = np.bincount(owner_X, within_X, rows) / leaps_N
    kinds_NSC = tokens.bars(np.moveaxis(class_NLC, 2, 1)).any(3).sum(1)  # N S: classes struck in each bar
    found["bass_classes_per_bar"] = kinds_NSC.mean(1)
    found["bass_bars_on_one_class"] = (kinds_NSC == 1).mean(1)
    root_NS = bass_NL[:, ::STEPS_PER_BAR]
    moves_NS = (root_NS[:, 1:] % 12 != root_NS[:, :-1] % 12) & (root_NS[:, 1:] != SILENT) & (root_NS[:, :-1] != SILENT)
    found["bass_moves_at_bar"] = moves_NS.mean(1)
    for lag in (4, 8):
        same_NS = (root_NS[:, lag:] % 12 == root_NS[:, :-lag] % 12) & (root_NS[:, lag:] != SILENT)
        found[f"bass_roots_after_{lag}"] = same_NS.mean(1)
    found["bass_struck_on_one"] = onset_NL[:, ::STEPS_PER_BAR].mean(1)
    both_NL = (melody_NL != SILENT) & (bass_NL != SILENT)
    consonant_NL = np.isin((melody_NL - bass_NL) % 12, measures.CONSONANCES)
    found["consonance_everywhere"] = _share(both_NL, consonant_NL)
    found["consonance_on_notes"] = _share(both_NL & onset_NL, consonant_NL)
    for interval in (0, 1, 2, 5, 7, 10):
        found[f"melody_above_bass_{interval}"] = _share(both_NL & onset_NL, (melody_NL - bass_NL) % 12 == interval)
    kick_NL, snare_NL = hit_NLD[:, :, KICK], hit_NLD[:, :, SNARE]
    found["kick_with_bass"] = _share(kick_NL, onset_NL)
    found["bass_with_snare"] = _share(onset_NL, snare_NL)
    found["melody_with_bass"] = _share(tokens.onsets(windows_NLP[:, :, 0]), onset_NL)
    return found


def _recurrence(hit_NL: np.ndarray, lag: int) -> np.ndarray:
    """Hits common to a bar and the one `lag` bars later, of all hits in either."""
    hit_NST = tokens.bars(hit_NL)
    common_N = (hit_NST[:, lag:] & hit_NST[:, :-lag]).sum((1, 2))
    either_N = (hit_NST[:, lag:] | hit_NST[:, :-lag]).sum((1, 2))
    return common_N / np.maximum(either_N, 1)


def _usual(hit_NL: np.ndarray) -> np.ndarray:
    """Share of hits on the place of the bar that has most of them."""
    by_place_NT = tokens.bars(hit_NL).sum(1)
    return by_place_NT.max(1) / np.maximum(by_place_NT.sum(1), 1)


def _bar_of_four(hit_NL: np.ndarray) -> np.ndarray:
    """Share of hits in that bar of four that has most of them: fills come at the end of a phrase, whichever it is."""
    by_bar_N4 = tokens.bars(hit_NL).sum(2).reshape(len(hit_NL), -1, 4).sum(1)
    return by_bar_N4.max(1) / np.maximum(by_bar_N4.sum(1), 1)


def _codes(bar_NST: np.ndarray) -> np.ndarray:
    """A number for each bar, equal where bars are."""
    weight_T = np.random.default_rng(0).integers(1, 2**40, STEPS_PER_BAR)
    return (bar_NST.astype(np.int64) * weight_T).sum(2)


def _different(code_NS: np.ndarray) -> np.ndarray:
    ordered_NS = np.sort(code_NS, axis=1)
    return 1.0 + (ordered_NS[:, 1:] != ordered_NS[:, :-1]).sum(1)


def _share(of_NL: np.ndarray, true_NL: np.ndarray) -> np.ndarray:
    return (of_NL & true_NL).sum(1) / np.maximum(of_NL.sum(1), 1)


def _mean(where_NL: np.ndarray, value_NL: np.ndarray) -> np.ndarray:
    return np.where(where_NL, value_NL, 0).sum(1) / np.maximum(where_NL.sum(1), 1)


_GROUPS: tuple[Callable[[_View], Features], ...] = (
    _measures_of_bass,
    _measures_of_drums,
    _melody,
    _drum_counts,
    _drum_places,
    _drum_tokens_once,
    _drum_steps_settled,
    _bass_rhythm,
    _bass_pitch,
    _bass_notes,
)
_SILENCE = _View(np.zeros((1, STEPS, 3), np.int32))
_GROUP_OF = {name: group for group in _GROUPS for name in group(_SILENCE)}
NAMES = tuple(_GROUP_OF)
"""Names of all features, in the order of `table`'s columns."""
OF_MELODY = tuple(_melody(_SILENCE))
"""Those that describe the melody alone: they tell no accompaniment from another, but what suits it."""
