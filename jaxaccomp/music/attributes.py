"""What a listener could ask for more or less of: eight attributes of a window's bass and drums, as numbers.

An attribute is a function of tokens alone. Where it has no meaning, such as the register of a bass that does not play,
it is NaN.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxaccomp.arrays import BARS, STEPS, STEPS_PER_BAR, WindowTokens
from jaxaccomp.music import tokens
from jaxaccomp.music.tokens import CLOSED_HAT, HIGH_TOM, KICK, LOW_TOM, MID_TOM, OPEN_HAT, SNARE

TITLES = {
    "bass_density": "bass notes a bar",
    "drum_density": "steps with a drum, a bar",
    "syncopation": "share of bass notes and kicks off the beat, with none on the next beat",
    "fills": "share of bars with toms, or three snares, in their second half",
    "open_hats": "share of hi-hat hits that are open",
    "bass_register": "mean pitch of bass notes, MIDI number",
    "offbeats": "share of drum steps on the second and fourth sixteenth of a beat",
    "backbeat": "share of beats 2 and 4 with a snare, where drums play",
}
"""Each attribute and its unit."""
NAMES = tuple(TITLES)

_STEP_L = np.arange(STEPS) % STEPS_PER_BAR
_FILL_SNARES = 3
_OFF_BEATS = (1, 3)


def measure(windows_NLP: WindowTokens) -> dict[str, Float[np.ndarray, " N"]]:
    """All attributes of all windows, by the names of `TITLES`; NaN where one has no meaning.

    Args:
        windows_NLP: tokens of melody, bass and drums.
    """
    bass_NL, drums_NL = windows_NLP[:, :, 1], windows_NLP[:, :, 2]
    onset_NL, hit_NLD = tokens.onsets(bass_NL), tokens.hits(drums_NL)
    struck_NL = drums_NL > 0
    pitch_NL = tokens.sounding(bass_NL)
    open_N, closed_N = (hit_NLD[:, :, drum].sum(1) for drum in (OPEN_HAT, CLOSED_HAT))
    sounding_NS = tokens.bars(struck_NL).any(2)
    sounding_NL = np.repeat(sounding_NS, STEPS_PER_BAR, axis=1)
    off_NL = np.isin(_STEP_L % 4, _OFF_BEATS)
    return {
        "bass_density": onset_NL.sum(1) / BARS,
        "drum_density": struck_NL.sum(1) / BARS,
        "syncopation": _syncopation(onset_NL, hit_NLD[:, :, KICK]),
        "fills": _ratio((_fills(hit_NLD) & sounding_NS).sum(1), sounding_NS.sum(1)),
        "open_hats": _ratio(open_N, open_N + closed_N),
        "bass_register": _ratio((pitch_NL * onset_NL).sum(1), onset_NL.sum(1)),
        "offbeats": _ratio((struck_NL & off_NL).sum(1), struck_NL.sum(1)),
        "backbeat": _ratio(
            (hit_NLD[:, :, SNARE] & sounding_NL & (_STEP_L % 8 == 4)).sum(1), (sounding_NL & (_STEP_L % 8 == 4)).sum(1)
        ),
    }


def _syncopation(*voices: Bool[np.ndarray, "N L"]) -> Float[np.ndarray, " N"]:
    """Share of onsets that lie off the beat while the same voice is silent on the beat after."""
    held = total = np.zeros(len(voices[0]), np.int64)
    for onset_NL in voices:
        beat_NB = onset_NL[:, ::4]
        next_NB = np.concatenate([beat_NB[:, 1:], np.zeros_like(beat_NB[:, :1])], axis=1)
        last_NB = onset_NL.reshape(len(onset_NL), -1, 4)[:, :, 1:].sum(2)
        held = held + (last_NB * ~next_NB).sum(1)
        total = total + onset_NL.sum(1)
    return _ratio(held, total)


def _fills(hit_NLD: Bool[np.ndarray, "N L D"]) -> Bool[np.ndarray, "N S"]:
    """Bars whose second half has a tom, or three snares."""
    late_NSTD = hit_NLD.reshape(len(hit_NLD), BARS, STEPS_PER_BAR, -1)[:, :, STEPS_PER_BAR // 2 :]
    toms_NS = late_NSTD[..., [LOW_TOM, MID_TOM, HIGH_TOM]].any((2, 3))
    return toms_NS | (late_NSTD[..., SNARE].sum(2) >= _FILL_SNARES)


def _ratio(part_N: Int[np.ndarray, " N"], whole_N: Int[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    return np.where(whole_N > 0, part_N / np.maximum(whole_N, 1), np.nan)
