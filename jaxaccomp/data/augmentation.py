"""Variation at read time: the same song in another key, at another pace, or with another way of playing the drums.

All of it is table look-ups over whole batches, so that it costs the host next to nothing; nothing of it is stored.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from jaxaccomp.arrays import FIRST_NOTE_ON, LOWEST_PITCH, NO_EVENT, STEPS, VOCABULARY
from jaxaccomp.config import require, setting
from jaxaccomp.music.tokens import CLOSED_HAT, CRASH, DRUMS, HIGH_TOM, LOW_TOM, MID_TOM, OPEN_HAT, RIDE

DROPPABLE = ((CLOSED_HAT, OPEN_HAT), (RIDE,), (CRASH,), (LOW_TOM, MID_TOM, HIGH_TOM))
"""Drums that a song can lose and still be the same beat; kick and snare carry it and stay."""

CYMBALS = (CLOSED_HAT, OPEN_HAT, RIDE)
"""Drums that keep time on top of a beat; those of another song make a new beat with the same kick and snare."""

SWAPS = (
    {},
    {CLOSED_HAT: RIDE, RIDE: CLOSED_HAT},
    {OPEN_HAT: CRASH, CRASH: OPEN_HAT},
    {LOW_TOM: MID_TOM, MID_TOM: HIGH_TOM, HIGH_TOM: LOW_TOM},
    {LOW_TOM: HIGH_TOM, HIGH_TOM: MID_TOM, MID_TOM: LOW_TOM},
)
"""Drums that take each other's place; the first entry leaves all as they are."""

BASS_RANGE = 23, 67
"""Pitches between which a bass may be moved by an octave: from the low B of five strings to the last fret of a G."""
_OCTAVE = 12


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How far a training example may stray from the song it was cut from."""

    lowest_shift: int = setting(-5, "largest transposition of melody and bass downwards, in semitones")
    highest_shift: int = setting(6, "largest transposition of melody and bass upwards, in semitones")
    drum_drop: float = setting(0.0, "probability that a window loses its hats, and likewise ride, crash and toms")
    drum_swap: float = setting(0.0, "probability that drums of a window change places, as hat with ride, or the toms")
    drum_mix: float = setting(0.0, "probability that a window's hats and ride are those of another song")
    bass_octave: float = setting(
        0.0, "probability that a window's bass is moved by an octave, where a bass can play it"
    )
    half_time: float = setting(0.0, "probability that a window is half of one at half the pace")

    def __post_init__(self) -> None:
        require(
            self.lowest_shift <= 0 <= self.highest_shift,
            f"transpositions must reach from 0 or below to 0 or above, got {self.lowest_shift}…{self.highest_shift}",
        )
        for name in ("drum_drop", "drum_swap", "drum_mix", "bass_octave", "half_time"):
            value = getattr(self, name)
            require(0.0 <= value <= 1.0, f"{name} must be a probability, got {value}")


NONE = Augmentation(lowest_shift=0, highest_shift=0)
"""Examples as they are stored."""


def _moved(swap: dict[int, int]) -> np.ndarray:
    tokens = np.arange(VOCABULARY["drums"])
    moved = np.zeros_like(tokens)
    for drum in range(DRUMS):
        moved |= ((tokens >> drum) & 1) << swap.get(drum, drum)
    return moved


_SWAPPED = np.stack([_moved(swap) for swap in SWAPS])
_CYMBAL_BITS = sum(1 << drum for drum in CYMBALS)
_KEPT = np.array([~sum(1 << drum for drum in drums) & 511 for drums in DROPPABLE])


def transpose(
    pitches_BLK: Int[np.ndarray, "B L K"], fractions_B: np.ndarray, lowest: int, highest: int
) -> Int[np.ndarray, "B L K"]:
    """Shifts each window's notes by one interval for all its parts.

    Args:
        pitches_BLK: melody and bass tokens.
        fractions_B: where in the window's possible shifts the chosen one lies, uniform in [0, 1).
        lowest: largest shift downwards, in semitones, 0 or negative.
        highest: largest shift upwards, in semitones.

    Returns:
        Tokens of the same shape. No note leaves the vocabulary: the range of shifts shrinks to what the window allows.
    """
    notes_BLK = pitches_BLK >= FIRST_NOTE_ON
    top = VOCABULARY["melody"] - 1
    low_B = np.where(notes_BLK, pitches_BLK, top).min(axis=(1, 2), initial=top)
    high_B = np.where(notes_BLK, pitches_BLK, FIRST_NOTE_ON).max(axis=(1, 2), initial=FIRST_NOTE_ON)
    from_B = np.maximum(lowest, FIRST_NOTE_ON - low_B)
    to_B = np.minimum(highest, top - high_B)
    shift_B = (from_B + np.floor(fractions_B * (to_B - from_B + 1))).astype(pitches_BLK.dtype)
    return np.where(notes_BLK, pitches_BLK + shift_B[:, None, None], pitches_BLK)


def move_octave(bass_BL: Int[np.ndarray, "B L"], up_B: np.ndarray) -> Int[np.ndarray, "B L"]:
    """Moves each window's bass by an octave: the way asked for, else the other one, else not at all.

    Args:
        bass_BL: bass tokens.
        up_B: whether upwards is tried first.

    Returns:
        Tokens of the same shape; a bass that was moved lies in `BASS_RANGE`.
    """
    lowest, highest = (pitch - LOWEST_PITCH + FIRST_NOTE_ON for pitch in BASS_RANGE)
    note_BL = bass_BL >= FIRST_NOTE_ON
    low_B = np.where(note_BL, bass_BL, highest).min(axis=1)
    high_B = np.where(note_BL, bass_BL, lowest).max(axis=1)
    rises_B = (high_B + _OCTAVE <= highest) & (low_B + _OCTAVE >= lowest)
    falls_B = (low_B - _OCTAVE >= lowest) & (high_B - _OCTAVE <= highest)
    shift_B = np.where(rises_B & (up_B | ~falls_B), _OCTAVE, np.where(falls_B, -_OCTAVE, 0))
    return np.where(note_BL, bass_BL + shift_B[:, None], bass_BL).astype(bass_BL.dtype)


def stretch(tokens_BLP: Int[np.ndarray, "B L P"], second_B: np.ndarray) -> Int[np.ndarray, "B L P"]:
    """Half time: eight bars of each window over sixteen, every event at twice its distance from the start.

    Args:
        tokens_BLP: windows.
        second_B: whether it is the window's second half.
    """
    half = STEPS // 2
    slow_BLP = np.full_like(tokens_BLP, NO_EVENT)
    slow_BLP[:, ::2] = np.where(second_B[:, None, None], tokens_BLP[:, half:], tokens_BLP[:, :half])
    return slow_BLP


def augment(
    tokens_BLP: Int[np.ndarray, "B L P"],
    draws_BU: np.ndarray,
    augmentation: Augmentation,
    others_BL: Int[np.ndarray, "B L"] | None = None,
) -> Int[np.ndarray, "B L P"]:
    """Varies a batch of windows.

    Args:
        tokens_BLP: windows as stored.
        draws_BU: `DRAWS` uniform numbers in [0, 1) for each window; they alone decide what happens to it.
        augmentation: how far to go.
        others_BL: drums of other songs' windows, needed where `drum_mix` is not 0.

    Returns:
        Windows of the same shape and type.
    """
    if augmentation == NONE:
        return tokens_BLP
    pitches_BLK = tokens_BLP[:, :, :2]
    if augmentation.bass_octave:
        moved_BL = move_octave(pitches_BLK[:, :, 1], draws_BU[:, _OCTAVE_DRAW + 1] < 0.5)
        is_moved_B = draws_BU[:, _OCTAVE_DRAW] < augmentation.bass_octave
        bass_BL = np.where(is_moved_B[:, None], moved_BL, pitches_BLK[:, :, 1])
        pitches_BLK = np.stack([pitches_BLK[:, :, 0], bass_BL], axis=2)
    pitches_BLK = transpose(pitches_BLK, draws_BU[:, 0], augmentation.lowest_shift, augmentation.highest_shift)
    drums_BL = tokens_BLP[:, :, 2]
    if augmentation.drum_mix and others_BL is not None:
        mixed_B = draws_BU[:, _MIX_DRAW] < augmentation.drum_mix
        drums_BL = np.where(mixed_B[:, None], drums_BL & ~_CYMBAL_BITS | others_BL & _CYMBAL_BITS, drums_BL)
    if augmentation.drum_swap:
        swap_B = np.where(
            draws_BU[:, 1] < augmentation.drum_swap,
            1 + np.floor(draws_BU[:, 2] * (len(SWAPS) - 1)).astype(int),
            0,
        )
        drums_BL = _SWAPPED[swap_B[:, None], drums_BL]
    if augmentation.drum_drop:
        lost_BD = draws_BU[:, 3 : 3 + len(DROPPABLE)] < augmentation.drum_drop
        kept_B = np.bitwise_and.reduce(np.where(lost_BD, _KEPT, 511), axis=1)
        drums_BL = drums_BL & kept_B[:, None]
    varied_BLP = np.concatenate([pitches_BLK, drums_BL[:, :, None]], axis=2).astype(tokens_BLP.dtype)
    if augmentation.half_time:
        slow_B = draws_BU[:, _PACE_DRAW] < augmentation.half_time
        varied_BLP = np.where(slow_B[:, None, None], stretch(varied_BLP, draws_BU[:, _PACE_DRAW + 1] < 0.5), varied_BLP)
    return varied_BLP


_MIX_DRAW = 3 + len(DROPPABLE)
_FIRST_DRAWS = _MIX_DRAW + 1
_OCTAVE_DRAW = _FIRST_DRAWS
_PACE_DRAW = _OCTAVE_DRAW + 2
DRAWS = _PACE_DRAW + 2
"""Random numbers that one window consumes (U)."""


def draw(seed: int, step: int, batch_size: int) -> Float[np.ndarray, "B U"]:
    """The random numbers of a step's global batch.

    A run that began before there were some of them finds the others as they were: later ones are drawn apart.
    """
    first, later = (np.random.default_rng([seed, step, stream]) for stream in (1, 3))
    return np.concatenate(
        [first.random((batch_size, _FIRST_DRAWS)), later.random((batch_size, DRAWS - _FIRST_DRAWS))], axis=1
    )
