"""What the form of a song asks of each attempt: fills before a new section, a crash on its first beat, an ending.

Costs in standard deviations of the scores, one for each attempt and window, added to what the attempt is worth by
itself. They choose among attempts and change no note. Weights were chosen on songs of the test split, see
`evaluation.form`.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxaccomp.arrays import BARS, STEPS_PER_BAR
from jaxaccomp.music import tokens
from jaxaccomp.music.sections import Form
from jaxaccomp.music.tokens import CRASH

FILL_WEIGHT = 2.0
"""Worth of a bar that is altogether unlike the one before, where a fill is asked for, and cost where none is."""
CRASH_WEIGHT = 3.0
"""Worth of a crash on the first beat of every new section. (Real songs have one on 28 % of them, and on 13 % of other
first beats.)"""
ENDING_WEIGHT = 2.0
"""Worth of a part that plays with the last note of the melody and rests after it. (In real songs drums are struck half
as often then as before, basses a third as often.)"""
KIT_WEIGHT = 1.0
"""Cost of a window that is played on one drum alone. (So are 1 % of real songs, but 14 % of the windows that a critic
learns from, since each is cut from one drum track, and many files keep their snare in a track of its own.)"""
_FOUR_BARS = 4


def of_drums(
    melody_NL: Int[np.ndarray, "N L"], drums_ANL: Int[np.ndarray, "A N L"], form: Form, fills: str
) -> Float[np.ndarray, "A N"]:
    """What the drums of each attempt cost by the song's form.

    Args:
        melody_NL: melody tokens of the song's windows.
        drums_ANL: drum tokens of each attempt.
        form: of the song.
        fills: where fills are wished, see `PlayOptions`.
    """
    cost_AN = KIT_WEIGHT * _one_drum(drums_ANL) - CRASH_WEIGHT * _crashes(drums_ANL, form)
    if fills != "any":
        cost_AN = cost_AN - FILL_WEIGHT * _fills(drums_ANL > 0, form, fills)
    return cost_AN + ending(melody_NL, drums_ANL > 0)


def ending(melody_NL: Int[np.ndarray, "N L"], struck_ANL: Bool[np.ndarray, "A N L"]) -> Float[np.ndarray, "A N"]:
    """What each attempt at a part costs for how it ends the song; 0 but where the melody's last note begins.

    A song of one window has no ending to speak of: it is a loop, or cut from a longer one.

    Args:
        melody_NL: melody tokens.
        struck_ANL: steps at which the part strikes a note.
    """
    cost_AN = np.zeros(struck_ANL.shape[:2])
    onset_X = np.flatnonzero(tokens.onsets(melody_NL))
    if len(melody_NL) > 1 and len(onset_X):
        window, last = divmod(int(onset_X[-1]), melody_NL.shape[1])
        close = (last // STEPS_PER_BAR + 1) * STEPS_PER_BAR
        with_it_A, after_AX = struck_ANL[:, window, last], struck_ANL[:, window, last + 1 : close]
        rests_A = 1 - after_AX.mean(1) if after_AX.shape[1] else np.zeros(len(with_it_A))
        cost_AN[:, window] = -ENDING_WEIGHT * with_it_A * rests_A
    return cost_AN


def groove_change(one_XT: Bool[np.ndarray, "*X T"], other_XT: Bool[np.ndarray, "*Y T"]) -> Float[np.ndarray, "*Z"]:
    """Share of the steps struck in either bar (or other stretch) that are not struck in both; 0 if both are silent.

    Shapes are broadcast.
    """
    both_X, either_X = (one_XT & other_XT).sum(-1), (one_XT | other_XT).sum(-1)
    return np.where(either_X > 0, 1 - both_X / np.maximum(either_X, 1), 0.0)


def before_section(form: Form) -> Bool[np.ndarray, "N S"]:
    """Bars after which a new section begins, window by window; the song's end is none."""
    return np.append(form.begins_M[1:], False).reshape(-1, BARS)


def _one_drum(drums_ANL: Int[np.ndarray, "A N L"]) -> Float[np.ndarray, "A N"]:
    """Share of groups of four bars in which one drum alone is struck."""
    count, windows, _ = drums_ANL.shape
    struck_ANG = np.bitwise_or.reduce(drums_ANL.reshape(count, windows, BARS // _FOUR_BARS, -1), axis=3)
    return (np.bitwise_count(struck_ANG) == 1).mean(2)


def _crashes(drums_ANL: Int[np.ndarray, "A N L"], form: Form) -> Float[np.ndarray, "A N"]:
    """Share of the sections beginning in each window that begin with a crash; the song's first beat is none."""
    begins_NS = form.begins_M.reshape(-1, BARS).copy()
    begins_NS[0, 0] = False
    crash_ANS = drums_ANL[:, :, ::STEPS_PER_BAR] >> CRASH & 1
    return (crash_ANS * begins_NS).sum(2) / np.maximum(begins_NS.sum(1), 1)


def _fills(struck_ANL: Bool[np.ndarray, "A N L"], form: Form, wish: str) -> Float[np.ndarray, "A N"]:
    """How far each attempt's fills are as wished: before new sections, at every eighth bar too, or nowhere."""
    bars_ANST = tokens.bars(struck_ANL)
    change_ANS = groove_change(bars_ANST[:, :, 1:], bars_ANST[:, :, :-1])  # of the second bar and on
    wanted_NS = np.zeros((bars_ANST.shape[1], BARS), bool) if wish == "none" else before_section(form)
    if wish == "many":
        wanted_NS = wanted_NS | np.isin(np.arange(BARS), (BARS // 2 - 1, BARS - 1))
    here_AN, elsewhere_AN = (
        (change_ANS * where_NS[:, 1:]).sum(2) / np.maximum(where_NS[:, 1:].sum(1), 1)
        for where_NS in (wanted_NS, ~wanted_NS)
    )
    return 2 * (here_AN - elsewhere_AN)
