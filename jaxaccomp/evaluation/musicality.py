"""What can be heard in a trio without a model: measures of bass and drums under a melody, window by window.

Every measure is a function of tokens alone, so that real songs, shuffled accompaniments and generated ones are measured
by the same yardstick. A window in which a measure has no meaning, such as the key of its bass notes when there is no
bass, counts as NaN and is left out of means.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxaccomp.arrays import BARS, STEPS_PER_BAR
from jaxaccomp.music.measures import CONSONANCES, MAJOR, MINOR
from jaxaccomp.music.tokens import DRUMS, KICK, SILENT, SNARE, hits, onsets, sounding

Tokens = Int[np.ndarray, "N L"]
Trios = Int[np.ndarray, "N L P"]
Measure = Float[np.ndarray, " N"]

BEATS = (0, 4, 8, 12)
STRONG_BEATS = (0, 8)
BACKBEATS = (4, 12)
_DIATONIC = (0, 2, 4, 5, 7, 9, 11)


def keys(melody_NL: Tokens) -> tuple[Int[np.ndarray, " N"], Bool[np.ndarray, "N 12"]]:
    """The key each melody fits best.

    The time each pitch class sounds is correlated with the probe-tone profiles of the 24 keys.

    Returns:
        The tonic's pitch class, and the seven pitch classes of the key's diatonic collection (for a minor key, its
        relative major's); a silent melody has tonic -1 and no pitch classes.

    Source: Krumhansl, Cognitive Foundations of Musical Pitch (1990), ch. 4; no code of others.
    """
    pitch_NL = sounding(melody_NL)
    time_NC = np.stack([((pitch_NL % 12 == c) & (pitch_NL != SILENT)).sum(1) for c in range(12)], axis=1)
    profiles_KC = np.array([np.roll(profile, tonic) for profile in (MAJOR, MINOR) for tonic in range(12)])
    profiles_KC = profiles_KC - profiles_KC.mean(1, keepdims=True)
    profiles_KC /= np.linalg.norm(profiles_KC, axis=1, keepdims=True)
    best_N = (time_NC @ profiles_KC.T).argmax(1)  # centring and scaling the times would not change which is best
    tonic_N, minor_N = best_N % 12, best_N >= 12
    scale_C = np.isin(np.arange(12), _DIATONIC)
    root_N = np.where(minor_N, tonic_N + 3, tonic_N) % 12
    scale_NC = scale_C[(np.arange(12)[None] - root_N[:, None]) % 12]
    sounding_N = time_NC.sum(1) > 0
    return np.where(sounding_N, tonic_N, -1), scale_NC & sounding_N[:, None]


def bass_in_key(trio_NLP: Trios) -> Measure:
    """Share of bass notes in the diatonic collection of the melody's key."""
    tonic_N, scale_NC = keys(trio_NLP[:, :, 0])
    onset_NL = onsets(trio_NLP[:, :, 1]) & (tonic_N >= 0)[:, None]
    class_NL = sounding(trio_NLP[:, :, 1]) % 12
    return _share(onset_NL, np.take_along_axis(scale_NC, class_NL, axis=1))


def bass_consonance(trio_NLP: Trios) -> Measure:
    """Share of strong beats with both parts sounding at which the melody is consonant with the bass."""
    melody_NL, bass_NL = sounding(trio_NLP[:, :, 0]), sounding(trio_NLP[:, :, 1])
    both_NL = (melody_NL != SILENT) & (bass_NL != SILENT) & _at(STRONG_BEATS)
    return _share(both_NL, np.isin((melody_NL - bass_NL) % 12, CONSONANCES))


def bass_with_melody(trio_NLP: Trios) -> Measure:
    """Share of bass notes that begin together with a melody note."""
    return _share(onsets(trio_NLP[:, :, 1]), onsets(trio_NLP[:, :, 0]))


def bass_with_kick(trio_NLP: Trios) -> Measure:
    """Share of bass notes that begin together with a kick."""
    return _share(onsets(trio_NLP[:, :, 1]), hits(trio_NLP[:, :, 2])[..., KICK])


def bass_notes_per_bar(trio_NLP: Trios) -> Measure:
    """Bass notes that begin, a bar."""
    return onsets(trio_NLP[:, :, 1]).sum(1) / BARS


def bass_empty_bars(trio_NLP: Trios) -> Measure:
    """Share of bars in which no bass sounds."""
    return 1 - _bars(sounding(trio_NLP[:, :, 1]) != SILENT).any(2).mean(1)


def bass_repetition(trio_NLP: Trios) -> Measure:
    """Share of bars with bass notes whose notes are those of the bar before."""
    return _repetition(np.where(onsets(trio_NLP[:, :, 1]), trio_NLP[:, :, 1], 0))


def drum_hits_per_bar(trio_NLP: Trios) -> Measure:
    """Steps at which any drum is hit, a bar."""
    return (trio_NLP[:, :, 2] > 0).sum(1) / BARS


def drum_empty_bars(trio_NLP: Trios) -> Measure:
    """Share of bars without a drum."""
    return 1 - _bars(trio_NLP[:, :, 2] > 0).any(2).mean(1)


def drum_repetition(trio_NLP: Trios) -> Measure:
    """Share of bars with drums that are the bar before once more, hit for hit."""
    return _repetition(trio_NLP[:, :, 2])


def drum_consistency(trio_NLP: Trios) -> Measure:
    """How much of its pattern the drummer keeps: hits common to a bar and the next, of all hits in either."""
    hits_NSX = hits(trio_NLP[:, :, 2]).reshape(len(trio_NLP), BARS, -1)
    common_NS = (hits_NSX[:, 1:] & hits_NSX[:, :-1]).sum(2)
    either_NS = (hits_NSX[:, 1:] | hits_NSX[:, :-1]).sum(2)
    return _mean_where(either_NS > 0, common_NS / np.maximum(either_NS, 1))


def kick_on_strong_beats(trio_NLP: Trios) -> Measure:
    """Share of kicks on the first and third beat."""
    return _share(hits(trio_NLP[:, :, 2])[..., KICK], _at(STRONG_BEATS))


def snare_on_backbeats(trio_NLP: Trios) -> Measure:
    """Share of snare hits on the second and fourth beat."""
    return _share(hits(trio_NLP[:, :, 2])[..., SNARE], _at(BACKBEATS))


MEASURES: dict[str, tuple[Callable[[Trios], Measure], float]] = {
    function.__name__: (function, largest)
    for function, largest in (
        (bass_in_key, 1.0),
        (bass_consonance, 1.0),
        (bass_with_melody, 1.0),
        (bass_with_kick, 1.0),
        (bass_notes_per_bar, STEPS_PER_BAR),
        (bass_empty_bars, 1.0),
        (bass_repetition, 1.0),
        (drum_hits_per_bar, STEPS_PER_BAR),
        (drum_empty_bars, 1.0),
        (drum_repetition, 1.0),
        (drum_consistency, 1.0),
        (kick_on_strong_beats, 1.0),
        (snare_on_backbeats, 1.0),
    )
}
"""Each measure by name, and the largest value it can take; the smallest is 0."""


def measure(trio_NLP: Trios) -> dict[str, Measure]:
    """All measures of all windows."""
    return {name: function(trio_NLP) for name, (function, _) in MEASURES.items()}


def profiles(trio_NLP: Trios) -> dict[str, Float[np.ndarray, " C"]]:
    """Where notes lie, counted over all windows: how often each category occurs, adding up to 1.

    Returns:
        `bass_positions`: step of the bar at which bass notes begin; `bass_degrees`: semitones above the tonic of the
        melody's key; `bass_pitches`; `drum_positions`: step of the bar and drum class of each hit; `drum_tokens`.
    """
    bass_NL, drums_NL = trio_NLP[:, :, 1], trio_NLP[:, :, 2]
    tonic_N, _ = keys(trio_NLP[:, :, 0])
    onset_NL, pitch_NL = onsets(bass_NL), sounding(bass_NL)
    in_key_NL = onset_NL & (tonic_N >= 0)[:, None]
    step_NL = np.broadcast_to(np.arange(bass_NL.shape[1]) % STEPS_PER_BAR, bass_NL.shape)
    hit_NLD = hits(drums_NL)
    place_NLD = step_NL[..., None] * DRUMS + np.arange(DRUMS)
    return {
        "bass_positions": _frequencies(step_NL[onset_NL], STEPS_PER_BAR),
        "bass_degrees": _frequencies(((pitch_NL - tonic_N[:, None]) % 12)[in_key_NL], 12),
        "bass_pitches": _frequencies(pitch_NL[onset_NL], 128),
        "drum_positions": _frequencies(place_NLD[hit_NLD], STEPS_PER_BAR * DRUMS),
        "drum_tokens": _frequencies(drums_NL[drums_NL > 0], 2**DRUMS),
    }


def overlaps(trio_NLP: Trios, real_MLP: Int[np.ndarray, "M L P"]) -> dict[str, float | None]:
    """How far the distributions of two sets of windows agree: 1 where equal, 0 where nothing is in common.

    Each measure's values over the windows are laid on a histogram of 16 bins; profiles are compared as they are. The
    overlap of two histograms is the sum of the smaller of each pair. None where one side has no values.

    Source: the overlapping area of Yang & Lerch, On the evaluation of generative models in music (2018), on
    histograms of windows.
    """
    ours, theirs = measure(trio_NLP), measure(real_MLP)
    result = {}
    for name, (_, largest) in MEASURES.items():
        edges = np.linspace(0, largest, 17)
        counts = [np.histogram(side[name][~np.isnan(side[name])], edges)[0] for side in (ours, theirs)]
        result[name] = _common(*[count / max(count.sum(), 1) for count in counts])
    mine, real = profiles(trio_NLP), profiles(real_MLP)
    return result | {name: _common(mine[name], real[name]) for name in mine}


def _at(steps: tuple[int, ...]) -> Bool[np.ndarray, "L"]:
    return np.tile(np.isin(np.arange(STEPS_PER_BAR), steps), BARS)


def _bars(step_NL: np.ndarray) -> np.ndarray:
    return step_NL.reshape(len(step_NL), BARS, STEPS_PER_BAR)


def _share(of_NL: np.ndarray, true_NL: np.ndarray) -> np.ndarray:
    return _ratio((of_NL & true_NL).sum(1), of_NL.sum(1))


def _ratio(part_N: np.ndarray, whole_N: np.ndarray) -> np.ndarray:
    return np.where(whole_N > 0, part_N / np.maximum(whole_N, 1), np.nan)


def _mean_where(counts_NS: np.ndarray, value_NS: np.ndarray) -> np.ndarray:
    return _ratio(np.where(counts_NS, value_NS, 0).sum(1), counts_NS.sum(1))


def _repetition(event_NL: np.ndarray) -> np.ndarray:
    bar_NST = _bars(event_NL)
    same_NS = (bar_NST[:, 1:] == bar_NST[:, :-1]).all(2)
    return _mean_where((bar_NST[:, 1:] > 0).any(2), same_NS)


def _frequencies(category_X: np.ndarray, count: int) -> np.ndarray:
    return np.bincount(category_X.astype(np.int64).ravel(), minlength=count) / max(category_X.size, 1)


def _common(p_C: np.ndarray, q_C: np.ndarray) -> float | None:
    return float(np.minimum(p_C, q_C).sum()) if p_C.any() and q_C.any() else None
