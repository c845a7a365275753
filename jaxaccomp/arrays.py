"""The dimension key, and the sizes every array of this project is made of.

An array of known shape carries its dimensions as a suffix, one letter each, so that no comment needs to tell a shape:

    B batch    S bar in a window (16)    T step in a bar (16)    L step in a window (256)    P part (3)
    V vocabulary (90, 90, 512)    Z latent    E bar embedding    H LSTM width    G gates (4H)    K variations    N items

`tokens_BLP` is a batch of windows, `z_BZ` a batch of latents, `logits_BLV` one part's scores.
"""

from typing import Any

import numpy as np
from jaxtyping import Int

BARS = 16
"""Bars in a window (S)."""
STEPS_PER_BAR = 16
"""Sixteenth notes in a bar (T)."""
STEPS = BARS * STEPS_PER_BAR
"""Sixteenth notes in a window (L)."""
PARTS = ("melody", "bass", "drums")
"""The parts (P), in the order of the token axis."""
BAND = ("bass", "drums")
"""The parts that are generated, in the order of their own token axis."""
VOCABULARY = {"melody": 90, "bass": 90, "drums": 512}
"""Classes of each part (V)."""

NO_EVENT = 0
"""Melody and bass token: what sounds goes on, what is silent stays silent. As a drum token: no drum is hit."""
NOTE_OFF = 1
"""Melody and bass token: what sounds ends."""
NO_TOKEN = -1
"""In place of a token that is not known, a zero vector to the models: before a song's first step, or hidden."""
FIRST_NOTE_ON = 2
"""Melody and bass token of a note on LOWEST_PITCH; each semitone above adds one."""
LOWEST_PITCH = 21
HIGHEST_PITCH = 108

Params = dict[str, Any]
"""Parameters of a model: a nested dict of arrays."""

WindowTokens = Int[np.ndarray, "N L P"]
"""Tokens of windows: melody, bass, drums at each sixteenth."""
