"""Which attempt of each window is kept."""

import numpy as np
from jaxtyping import Float, Int


def best_of_each(total_AN: Float[np.ndarray, "A N"]) -> Int[np.ndarray, "N"]:
    """The attempt with the highest score, each window for itself; among equals the first.

    Args:
        total_AN: of each attempt and window; NaN where a window was not played so often.
    """
    return np.argmax(np.where(np.isnan(total_AN), -np.inf, total_AN), axis=0)
