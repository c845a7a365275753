"""Does the band play? In how many of the melody's bars each part strikes a note, and whether that is enough.

The music that the model learned from has every part in nearly every bar. A latent that is guessed from the melody alone
may still fall where one part is silent for a whole window; such a window is played again, see `latents.TOWARD_PRIOR`.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxaccomp.arrays import BARS, FIRST_NOTE_ON, NO_EVENT, NOTE_OFF, STEPS_PER_BAR

ENOUGH = 0.8
"""Share of the melody's bars in which each part must strike a note for a window not to be played again."""


def bar_coverage(
    melody_BL: Int[np.ndarray, "B L"], tokens_BLP: Int[np.ndarray, "B L parts"], parts: Sequence[str]
) -> Float[np.ndarray, "B"]:
    """How near each window comes to every part playing in `ENOUGH` of the bars where the melody sounds; 1 is there.

    More than enough of one part does not make up for another. A window whose melody is silent is full in any case.
    """
    melody_BS = _bars(_sounds(melody_BL))
    wanted_B = ENOUGH * melody_BS.sum(1)
    reached = []
    for p, part in enumerate(parts):
        struck_BS = _bars(tokens_BLP[:, :, p] >= (NO_EVENT + 1 if part == "drums" else FIRST_NOTE_ON))
        covered_B = (struck_BS & melody_BS).sum(1)
        reached.append(np.where(covered_B >= wanted_B, 1.0, covered_B / np.maximum(wanted_B, 1)))
    return np.mean(reached, axis=0)


def _sounds(tokens_BL: np.ndarray) -> Bool[np.ndarray, "B L"]:
    """Whether a note sounds at each step: since the last note-on there was no note-off."""
    steps = np.arange(tokens_BL.shape[1])
    last_on = np.maximum.accumulate(np.where(tokens_BL >= FIRST_NOTE_ON, steps, -1), axis=1)
    last_off = np.maximum.accumulate(np.where(tokens_BL == NOTE_OFF, steps, -1), axis=1)
    return last_on > last_off


def _bars(steps_BL: np.ndarray) -> Bool[np.ndarray, "B S"]:
    return steps_BL.reshape(-1, BARS, STEPS_PER_BAR).any(-1)
