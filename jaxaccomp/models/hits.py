"""Which tokens are right, and how many of those that begin something: one count for training and evaluation.

"Nothing ever happens" is right on most steps, so the accuracy over all steps says little; onsets are counted apart.
"""

from typing import Any, NamedTuple

from jaxtyping import Int

from jaxaccomp.arrays import FIRST_NOTE_ON
from jaxaccomp.models.lstm import AnyArray


class Hits(NamedTuple):
    """Tokens of each window that are right.

    Attributes:
        right_N: of all 256.
        onsets_N: tokens that begin something: a note, or any drum.
        onsets_right_N: those of them that are right.
    """

    right_N: Int[AnyArray, " N"]
    onsets_N: Int[AnyArray, " N"]
    onsets_right_N: Int[AnyArray, " N"]


def onset_mask(part: str, tokens: Int[Any, "*shape"]) -> Any:
    """Which tokens of a part begin a note, or hit any drum."""
    return tokens > 0 if part == "drums" else tokens >= FIRST_NOTE_ON


def count(part: str, found_NL: Int[AnyArray, "N L"], true_NL: Int[AnyArray, "N L"]) -> Hits:
    """Compares tokens of one part with the true ones; arrays of NumPy's or JAX's."""
    right_NL, onset_NL = found_NL == true_NL, onset_mask(part, true_NL)
    return Hits(right_NL.sum(1), onset_NL.sum(1), (right_NL & onset_NL).sum(1))
