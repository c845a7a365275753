"""Which attempt of each window is kept: the best of each, or the best song.

A song is more than its windows: where the melody goes on, the drums should not change more from one window to the next
than within them, the bass should not leap there, and what returns in the melody should return in the band. `best_song`
weighs all that against what each attempt is worth by itself: a shortest path through the attempts of all windows
(Viterbi), found again while repeats pull at each other. It depends on the song's own attempts alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxaccomp.generate import arrangement
from jaxaccomp.generate.arrangement import groove_change
from jaxaccomp.generate.options import PlayOptions
from jaxaccomp.music import sections, tokens
from jaxaccomp.music.tokens import SILENT

GROOVE_WEIGHT = 5.0
"""Cost of drums that change altogether from one window to the next though not within them; in standard deviations of
the scores, like all below. (Of 60 songs, drums change across edges by .16 at weight 3, .12 at 5; in the songs' own
drums by .13.)"""
LEAP_WEIGHT = 0.5
"""Cost of an octave's leap of the bass from one window to the next, beyond a fifth."""
REPEAT_WEIGHT = 5.0
"""Cost of drums that are altogether unlike those of the window that this one repeats."""
DENSITY_WEIGHT = 2.0
"""Cost of twice, or half, as many notes as asked for."""
METER_WEIGHT = 10.0
"""Cost of a window all of whose notes fall where the song's bars have no steps, as the fourth beat of 3/4."""
UNCOVERED = 10.0
"""Cost of a window in which nothing is played."""
_ROUNDS = 3
"""How often the path is found again for the sake of repeats."""
_SMOOTH_LEAP = 7
"""Semitones that a bass may leap freely."""


@dataclass(frozen=True)
class Attempts:
    """All that was decoded for one song.

    Attributes:
        tokens_ANLP: of each attempt; whatever it is where a window was not decoded so often.
        total_AN: what each is worth; NaN where a window was not decoded so often.
        coverage_AN: share of enough, likewise.
        parts: which parts the last axis holds.
        used_NL: which steps the song's bars have; None: all.
    """

    tokens_ANLP: Int[np.ndarray, "A N L P"]
    total_AN: Float[np.ndarray, "A N"]
    coverage_AN: Float[np.ndarray, "A N"]
    parts: tuple[str, ...]
    used_NL: Bool[np.ndarray, "N L"] | None = None

    def part(self, name: str) -> Int[np.ndarray, "A N L"] | None:
        """Tokens of one part, if it is played."""
        return self.tokens_ANLP[..., self.parts.index(name)] if name in self.parts else None


def best_of_each(total_AN: Float[np.ndarray, "A N"]) -> Int[np.ndarray, "N"]:
    """The attempt with the highest score, each window for itself; among equals the first.

    Args:
        total_AN: of each attempt and window; NaN where a window was not decoded so often.
    """
    return np.argmax(np.where(np.isnan(total_AN), -np.inf, total_AN), axis=0)


def best_song(
    melody_NL: Int[np.ndarray, "N L"], attempts: Attempts, options: PlayOptions, form: sections.Form | None = None
) -> Int[np.ndarray, "N"]:
    """The attempts that make the best song together.

    Args:
        melody_NL: the song's melody.
        attempts: what was decoded for it.
        options: what is asked for.
        form: of the melody, if it is known.
    """
    form = form or sections.form(melody_NL)
    own_AN = _own_costs(melody_NL, attempts, form, options)
    step_NAA = _boundary_costs(attempts, form, options.fills)
    struck_ANL = None if (drums_ANL := attempts.part("drums")) is None else drums_ANL > 0
    chosen_N = _shortest_path(own_AN, step_NAA)
    if struck_ANL is None or (form.repeats_N == np.arange(len(melody_NL))).all():
        return chosen_N
    for _ in range(_ROUNDS):
        before_N = chosen_N
        chosen_N = _shortest_path(own_AN + REPEAT_WEIGHT * _unlike_repeats(struck_ANL, form, chosen_N), step_NAA)
        if (chosen_N == before_N).all():
            break
    return chosen_N


def _own_costs(
    melody_NL: Int[np.ndarray, "N L"], attempts: Attempts, form: sections.Form, options: PlayOptions
) -> Float[np.ndarray, "A N"]:
    """What each attempt costs by itself, in standard deviations of the attempts at one window."""
    total_AN = attempts.total_AN
    deviation = np.sqrt(np.mean(np.nanvar(total_AN, axis=0)))
    cost_AN = -(total_AN - np.nanmax(total_AN, axis=0)) / max(float(deviation), 1e-6)
    cost_AN = cost_AN + UNCOVERED * np.maximum(options.enough - attempts.coverage_AN, 0)
    if attempts.used_NL is not None:
        cost_AN = cost_AN + METER_WEIGHT * _cut_off(attempts.tokens_ANLP, attempts.used_NL)
    drums_ANL, bass_ANL = attempts.part("drums"), attempts.part("bass")
    is_used_NL = True if attempts.used_NL is None else attempts.used_NL
    if drums_ANL is not None:
        drums_ANL = drums_ANL * is_used_NL
        cost_AN = cost_AN + arrangement.of_drums(melody_NL, drums_ANL, form, options.fills)
    if bass_ANL is not None:
        cost_AN = cost_AN + arrangement.ending(melody_NL, tokens.onsets(bass_ANL) & is_used_NL)
    for part, factor in zip(("bass", "drums"), options.density, strict=True):
        tokens_ANL = attempts.part(part)
        if factor != 1 and tokens_ANL is not None:
            count_AN = (tokens_ANL > (0 if part == "drums" else 1)).sum(-1) + 1.0
            usual_N = np.nanmean(np.where(np.isnan(total_AN), np.nan, count_AN), axis=0)
            cost_AN = cost_AN + DENSITY_WEIGHT * np.abs(np.log2(count_AN / usual_N / factor))
    return np.where(np.isnan(total_AN), np.inf, cost_AN)


def _cut_off(tokens_ANLP: Int[np.ndarray, "A N L P"], used_NL: Bool[np.ndarray, "N L"]) -> Float[np.ndarray, "A N"]:
    """Share of an attempt's events that fall where the song's bars have no step: a pattern that is cut off."""
    event_ANL = (tokens_ANLP > 0).sum(-1)
    return (event_ANL * ~used_NL).sum(-1) / np.maximum(event_ANL.sum(-1), 1)


def _boundary_costs(attempts: Attempts, form: sections.Form, fills: str) -> Float[np.ndarray, "N A A"]:
    """What it costs to go on from one attempt (rows) at the window before to another at this one; 0 at the first."""
    count, windows = attempts.total_AN.shape
    cost_NAA = np.zeros((windows, count, count))
    drums_ANL, bass_ANL = attempts.part("drums"), attempts.part("bass")
    last_bars = (-1, -2) if fills in ("few", "many") else (-1,)  # the groove goes on after a fill as it was before
    if drums_ANL is not None:
        struck_ANST = tokens.bars(drums_ANL > 0)
        inside_AN = groove_change(struck_ANST[:, :, :-1], struck_ANST[:, :, 1:]).mean(2)
        first_NAT = np.moveaxis(struck_ANST[:, 1:, 0], 0, 1)[:, None]
        across = [
            groove_change(np.moveaxis(struck_ANST[:, :-1, bar], 0, 1)[:, :, None], first_NAT) for bar in last_bars
        ]
        usual_NAA = (inside_AN.T[:-1, :, None] + inside_AN.T[1:, None, :]) / 2
        goes_on_N11 = ~form.begins_with_window_N[1:, None, None]
        cost_NAA[1:] += goes_on_N11 * (GROOVE_WEIGHT * np.maximum(np.min(across, 0) - usual_NAA, 0))
    if bass_ANL is not None:
        first_AN, last_AN = _edge_pitches(bass_ANL)
        leap_NAA = np.abs(last_AN.T[:-1, :, None] - first_AN.T[1:, None, :])
        cost_NAA[1:] += LEAP_WEIGHT * np.nan_to_num(np.maximum(leap_NAA - _SMOOTH_LEAP, 0) / 12)
    return cost_NAA


def _edge_pitches(bass_ANL: Int[np.ndarray, "A N L"]) -> tuple[Float[np.ndarray, "A N"], Float[np.ndarray, "A N"]]:
    """First and last pitch of each attempt's bass; NaN where there is none."""
    pitch_ANL = tokens.sounding(bass_ANL)
    sounds_ANL = pitch_ANL != SILENT
    last = pitch_ANL.shape[2] - 1
    places = sounds_ANL.argmax(2), last - sounds_ANL[:, :, ::-1].argmax(2)
    found = [np.take_along_axis(pitch_ANL, place_AN[..., None], 2)[..., 0] for place_AN in places]
    first_AN, last_AN = (np.where(sounds_ANL.any(2), pitch_AN, np.nan) for pitch_AN in found)
    return first_AN, last_AN


def _unlike_repeats(
    struck_ANL: Bool[np.ndarray, "A N L"], form: sections.Form, chosen_N: Int[np.ndarray, "N"]
) -> Float[np.ndarray, "A N"]:
    """How far each attempt's drums are from those now chosen for the other windows of the same melody, on average."""
    count, windows, _ = struck_ANL.shape
    now_NL = struck_ANL[chosen_N, np.arange(windows)]
    cost_AN = np.zeros((count, windows))
    for original in np.unique(form.repeats_N):
        group = np.flatnonzero(form.repeats_N == original)
        for n in group if len(group) > 1 else ():
            others = group[group != n]
            bars_ANST, now_NST = tokens.bars(struck_ANL[:, n]), tokens.bars(now_NL[others])
            cost_AN[:, n] = groove_change(bars_ANST[:, None], now_NST[None]).mean((1, 2))
    return cost_AN


def _shortest_path(own_AN: Float[np.ndarray, "A N"], step_NAA: Float[np.ndarray, "N A A"]) -> Int[np.ndarray, "N"]:
    """The cheapest way through one attempt of each window; among equals the first."""
    windows = own_AN.shape[1]
    total_A, came_from = own_AN[:, 0], []
    for n in range(1, windows):
        through_AA = total_A[:, None] + step_NAA[n]
        came_from.append(np.argmin(through_AA, axis=0))
        total_A = np.min(through_AA, axis=0) + own_AN[:, n]
    path = [int(np.argmin(total_A))]
    for before_A in reversed(came_from):
        path.append(int(before_A[path[-1]]))
    return np.array(path[::-1])


def of_take(
    melody_NL: Int[np.ndarray, "N L"],
    tokens_of_attempts: Sequence[Int[np.ndarray, "N L P"]],
    total_AN: Float[np.ndarray, "A N"],
    coverage_AN: Float[np.ndarray, "A N"],
    options: PlayOptions,
    parts: tuple[str, ...],
    used_NL: Bool[np.ndarray, "N L"] | None = None,
    form: sections.Form | None = None,
) -> Int[np.ndarray, "N"]:
    """The attempts that these options keep: with one candidate the best of each window, with several the best song."""
    if options.attempts == 1:
        return best_of_each(total_AN)
    attempts = Attempts(np.stack(tokens_of_attempts), total_AN, coverage_AN, parts, used_NL)
    return best_song(melody_NL, attempts, options, form)
