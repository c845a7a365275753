"""More notes, or fewer: a bias on the decoders' scores of every token that begins something."""

import math

import numpy as np
from jaxtyping import Float

from jaxaccomp.arrays import FIRST_NOTE_ON, STEPS, VOCABULARY


def bias(part: str, factor: float, rows: int) -> Float[np.ndarray, "B L V"] | None:
    """What to add to the scores of one part at each step; None where nothing is asked for.

    Scores are divided by the temperature after this, so the odds of a note grow by factor to the power of one over it.

    Args:
        part: bass or drums.
        factor: above 1 for more notes.
        rows: windows of the batch.
    """
    if factor == 1:
        return None
    bias_V = np.zeros(VOCABULARY[part], np.float32)
    bias_V[1 if part == "drums" else FIRST_NOTE_ON :] = math.log(factor)
    return np.broadcast_to(bias_V, (rows, STEPS, len(bias_V)))
