"""Nineteen measures of a trio window: what can be heard of bass and drums under a melody without a model.

Every measure is a function of tokens alone, so that real songs, shuffled accompaniments and generated ones are measured
by the same yardstick. A window in which a measure has no meaning, such as the key of its bass notes when there is no
bass, gets the measure's neutral value, so that every window is a point in the same space: `table`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxaccomp.arrays import BARS, STEPS, STEPS_PER_BAR, WindowTokens
from jaxaccomp.music import tokens
from jaxaccomp.music.tokens import CLOSED_HAT, KICK, SILENT, SNARE

Values = Float[np.ndarray, " N"]

CONSONANCES = (0, 3, 4, 7, 8, 9)
"""Semitones above the bass, octaves aside: unison, thirds, fifth and sixths. A fourth above a bass is a dissonance."""
NEUTRAL = 0.5
"""Stands for a share that has no meaning in a window, where "none" would be as wrong as "all"."""
# Krumhansl & Kessler (1982), probe-tone ratings of the pitch classes of a major and a minor key, from the tonic up.
MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
_SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10, 11))  # minor with both sevenths

TITLES = {
    "bass_notes_per_bar": "bass notes a bar",
    "bars_without_bass": "bars without a bass note",
    "bass_in_key": "bass notes in the melody's key",
    "bass_consonance": "bass consonant with the melody on beats 1 and 3",
    "bass_with_melody": "bass notes that begin with a melody note",
    "bass_with_kick": "bass notes that begin with a kick",
    "bass_leap": "bass leap, semitones",
    "bass_pitches": "different bass pitches a window",
    "bass_on_beats": "bass notes on beats",
    "drum_steps_per_bar": "drum steps a bar",
    "bars_without_drums": "bars without drums",
    "drum_bars_repeated": "drum bars equal to the one before",
    "hits_kept": "drum steps kept from bar to bar",
    "kick_on_strong_beats": "kicks on beats 1 and 3",
    "snare_on_backbeats": "snares on beats 2 and 4",
    "hat_steps_per_bar": "closed hat steps a bar",
    "drum_tokens": "different drum tokens a window",
    "drums_kept_at_bar_8": "drum steps kept from bar 8 to bar 9",
    "last_bar_unlike": "steps of the last bar unlike the one before",
}
"""Each measure in words, in the order of `table`'s columns."""
NAMES = tuple(TITLES)


def measure(windows_NLP: WindowTokens) -> dict[str, Values]:
    """All measures of all windows.

    Args:
        windows_NLP: tokens of melody, bass and drums.

    Returns:
        A value for each window, by the names of `TITLES`.
    """
    return {**of_bass(windows_NLP), **of_drums(windows_NLP[:, :, 2])}


def table(windows_NLP: WindowTokens) -> Float[np.ndarray, "N 19"]:
    """`measure` as one array, a column for each of `NAMES`."""
    values: Mapping[str, Any] = measure(windows_NLP)
    return np.stack([values[name] for name in NAMES], axis=1)


def distance(ours_NM: Float[np.ndarray, "N M"], real_NM: Float[np.ndarray, "R M"]) -> float:
    """Mean over measures of the difference of means, in standard deviations of the real windows."""
    return float(np.mean(np.abs(ours_NM.mean(0) - real_NM.mean(0)) / (real_NM.std(0) + 1e-9)))


def scales(melody_NL: Int[np.ndarray, "N L"]) -> Bool[np.ndarray, "N 12"]:
    """Pitch classes of the key each melody fits best; a minor key has both its sevenths.

    The time each pitch class sounds is correlated with the probe-tone profiles of the 24 keys. A melody that fits all
    alike, such as a silent one, gets the last of them.

    Source: Krumhansl, Cognitive Foundations of Musical Pitch (1990), ch. 4.
    """
    pitch_NL = tokens.sounding(melody_NL)
    row_X, step_X = np.nonzero(pitch_NL != SILENT)
    place_X = row_X * 12 + pitch_NL[row_X, step_X] % 12
    time_NC = np.bincount(place_X, minlength=len(pitch_NL) * 12).reshape(-1, 12)
    centered_NC = time_NC - time_NC.mean(1, keepdims=True)
    fit_NK = centered_NC @ _PROFILES_KC.T  # scaling a row would not change which key is best
    last_N = len(_PROFILES_KC) - 1 - fit_NK[:, ::-1].argmax(1)
    return _SCALES_KC[last_N]


def _profiles() -> tuple[np.ndarray, np.ndarray]:
    profiles_KC = np.array([np.roll(profile, tonic) for tonic in range(12) for profile in (MAJOR, MINOR)])
    profiles_KC = profiles_KC - profiles_KC.mean(1, keepdims=True)
    scales_KC = np.zeros((24, 12), bool)
    for k in range(24):
        scales_KC[k, (np.array(_SCALES[k % 2]) + k // 2) % 12] = True
    return profiles_KC / np.linalg.norm(profiles_KC, axis=1, keepdims=True), scales_KC


_PROFILES_KC, _SCALES_KC = _profiles()
_STEP_L = np.arange(STEPS) % STEPS_PER_BAR
_IS_CONSONANT_C = np.isin(np.arange(12), CONSONANCES)


def of_bass(windows_NLP: WindowTokens) -> dict[str, Values]:
    """Those of the measures that describe the bass, under its melody and with its drums."""
    melody_NL, bass_NL = (tokens.sounding(windows_NLP[:, :, part]) for part in range(2))
    onset_NL = tokens.onsets(windows_NLP[:, :, 1])
    count_N = onset_NL.sum(1)
    in_key_NL = np.take_along_axis(scales(windows_NLP[:, :, 0]), np.maximum(bass_NL, 0) % 12, axis=1)
    melody_NX, bass_NX = melody_NL[:, ::8], bass_NL[:, ::8]  # on beats 1 and 3
    both_NX = (melody_NX != SILENT) & (bass_NX != SILENT)
    consonant_NX = _IS_CONSONANT_C[(melody_NX - bass_NX) % 12]
    kick_NL = windows_NLP[:, :, 2] >> KICK & 1 > 0
    pitch_NLV = np.zeros((len(bass_NL), 128), bool)
    row_X, step_X = np.nonzero(onset_NL)
    pitch_NLV[row_X, bass_NL[row_X, step_X]] = True
    follows_X = row_X[1:] == row_X[:-1]
    leap_X = np.abs(np.diff(bass_NL[row_X, step_X]))[follows_X]
    leap_N = np.bincount(row_X[1:][follows_X], leap_X, len(bass_NL)) / np.maximum(count_N - 1, 1)
    return {
        "bass_notes_per_bar": count_N / BARS,
        "bars_without_bass": 1 - tokens.bars(onset_NL).any(2).mean(1),
        "bass_in_key": _share(onset_NL, in_key_NL, NEUTRAL),
        "bass_consonance": _share(both_NX, consonant_NX, NEUTRAL),
        "bass_with_melody": _share(onset_NL, tokens.onsets(windows_NLP[:, :, 0])),
        "bass_with_kick": _share(onset_NL, kick_NL),
        "bass_leap": leap_N,
        "bass_pitches": pitch_NLV.sum(1).astype(float),
        "bass_on_beats": _share(onset_NL, _STEP_L % 4 == 0),
    }


def of_drums(drums_NL: Int[np.ndarray, "N L"]) -> dict[str, Values]:
    """Those that describe the drums alone."""
    drums_NST = tokens.bars(drums_NL)
    struck_NST = drums_NST > 0
    kick_NL, snare_NL, hat_NL = (drums_NL >> drum & 1 > 0 for drum in (KICK, SNARE, CLOSED_HAT))
    common_NS = (struck_NST[:, 1:] & struck_NST[:, :-1]).sum(2)
    either_NS = (struck_NST[:, 1:] | struck_NST[:, :-1]).sum(2)
    kept_NS = common_NS / np.maximum(either_NS, 1)
    ordered_NL = np.sort(drums_NL, axis=1)
    return {
        "drum_steps_per_bar": struck_NST.sum((1, 2)) / BARS,
        "bars_without_drums": 1 - struck_NST.any(2).mean(1),
        "drum_bars_repeated": (drums_NST[:, 1:] == drums_NST[:, :-1]).all(2).mean(1),
        "hits_kept": kept_NS.mean(1),
        "kick_on_strong_beats": _share(kick_NL, _STEP_L % 8 == 0),
        "snare_on_backbeats": _share(snare_NL, _STEP_L % 8 == 4),
        "hat_steps_per_bar": hat_NL.sum(1) / BARS,
        "drum_tokens": 1.0 + (ordered_NL[:, 1:] != ordered_NL[:, :-1]).sum(1),
        "drums_kept_at_bar_8": kept_NS[:, BARS // 2 - 1],
        "last_bar_unlike": (drums_NST[:, -1] != drums_NST[:, -2]).mean(1),
    }


def _share(of_NL: np.ndarray, true_NL: np.ndarray, otherwise: float = 0.0) -> np.ndarray:
    count_N = of_NL.sum(1)
    return np.where(count_N > 0, (of_NL & true_NL).sum(1) / np.maximum(count_N, 1), otherwise)


OF_DRUMS = tuple(of_drums(np.zeros((1, STEPS), np.int32)))
"""Names of those that describe the drums alone."""
