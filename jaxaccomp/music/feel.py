"""How generated notes are performed: swing, a drummer's dynamics and timing, the octave and the instruments.

Notes come as they lie on the grid and leave a little beside it. The melody is not touched, and no note is left out.
"""

from dataclasses import dataclass

import numpy as np

from jaxaccomp.arrays import HIGHEST_PITCH, LOWEST_PITCH, STEPS_PER_BAR
from jaxaccomp.config import require
from jaxaccomp.music.grid import Grid
from jaxaccomp.music.tokens import DRUM_BITS
from jaxaccomp.music.trio import BASS_PROGRAM

KIND_OF_DRUM = (0, 1, 2, 2, 3, 3, 3, 4, 2)
"""Row of the tables below for each class of `tokens.DRUM_NAMES`: kick, snare, hats and ride, toms, crash."""
KINDS = 5
_BASS_KIND = 0
"""A bass player keeps to the kick."""

# How a hit differs from the mean of its performance and kind of drum, for each sixteenth of a half bar. Fitted by
# recipes/feel/fit.py on 246 performances of the Groove MIDI Dataset (Gillick et al. 2019, CC BY 4.0), 211,152 hits.
VELOCITY_MEAN = np.array(
    [
        [7.9, -11.1, 1.5, -7.5, 4.5, -8.8, -3.6, -12.4],
        [-3.9, -11.6, -2.3, -3.0, 18.8, -8.5, 4.8, -10.7],
        [4.0, -14.3, -0.4, -9.4, 9.4, -14.3, 0.6, -10.2],
        [5.1, -1.1, -5.5, -0.6, 8.5, -4.8, -0.5, -6.7],
        [1.5, -11.7, -4.7, -11.3, 4.8, -6.0, 0.7, -4.5],
    ]
)
VELOCITY_DEVIATION = np.array([20.0, 32.0, 28.0, 21.0, 24.0])
OFFSET_MEAN = np.array(
    [
        [-0.007, -0.021, -0.004, -0.007, -0.004, 0.028, 0.001, 0.037],
        [-0.058, 0.051, -0.028, 0.004, -0.019, 0.048, -0.031, 0.036],
        [-0.022, 0.106, -0.021, 0.032, -0.029, 0.107, -0.003, 0.012],
        [0.011, 0.03, 0.006, -0.037, -0.002, 0.034, 0.002, -0.039],
        [-0.027, 0.046, 0.046, -0.144, -0.014, 0.126, 0.018, 0.099],
    ]
)
"""In sixteenths; above 0 is late."""
OFFSET_DEVIATION = np.array([0.17, 0.2, 0.16, 0.17, 0.15])
"""Where drummers play eighths; between them they stray more."""

_CHANCE = 0.5
"""Share of the drummers' deviation in velocity that is chance here; the rest is ghost notes, which are a pattern."""
_TOGETHER = 0.8
"""How much of a deviation in time all notes of a step share: its correlation."""
_FARTHEST = 0.45
"""Sixteenths that a note strays at most, so that no two change places."""


@dataclass(frozen=True, kw_only=True)
class Feel:
    """How to perform.

    Attributes:
        swing: where the off-beat eighth lies in its beat, per cent: 50 is straight, 66 triplets, 75 dotted.
        humanize: 0 keeps to the grid and the melody's dynamics; 1 strays as drummers do.
        bass_octave: octaves by which the bass is moved; what would leave the model's range stays where it is.
        bass_program: General MIDI instrument of the bass, 0 to 127.
        kit: General MIDI program of the drum channel, 0 to 127.
        seed: words that decide what is left to chance.
    """

    swing: float | int = 50.0
    humanize: float | int = 0.0
    bass_octave: int = 0
    bass_program: int = BASS_PROGRAM
    kit: int = 0
    seed: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        require(50 <= self.swing <= 75, f"swing must lie between 50 (straight) and 75, got {self.swing:g}")
        require(0 <= self.humanize <= 1, f"humanize must lie between 0 and 1, got {self.humanize:g}")
        require(-2 <= self.bass_octave <= 2, f"bass_octave must lie between -2 and 2, got {self.bass_octave}")
        for name in ("bass_program", "kit"):
            require(0 <= getattr(self, name) <= 127, f"{name} must lie between 0 and 127, got {getattr(self, name)}")


STRAIGHT = Feel()
"""On the grid, as the model plays."""


def perform(notes: np.ndarray, grid: Grid, part: str, feel: Feel) -> np.ndarray:
    """Notes of one part as they are performed.

    Args:
        notes: midi.NOTE, as they lie on the grid.
        grid: the song's.
        part: bass or drums.
        feel: how.
    """
    moves_in_time = feel.swing > 50 or feel.humanize > 0
    if not moves_in_time and not (part == "bass" and feel.bass_octave):
        return notes
    notes = notes.copy()
    if part == "bass" and feel.bass_octave:
        moved = notes["pitch"].astype(np.int64) + 12 * feel.bass_octave
        notes["pitch"] = np.where((moved >= LOWEST_PITCH) & (moved <= HIGHEST_PITCH), moved, notes["pitch"])
    if not moves_in_time:
        return notes
    steps = grid.step_of(notes["start"])
    if feel.swing > 50:
        notes["start"], notes["end"] = (_swung(notes[edge], grid, feel.swing) for edge in ("start", "end"))
    if feel.humanize > 0:
        _humanize(notes, steps, grid, part, feel)
    notes["end"] = np.maximum(notes["end"], notes["start"] + 1)
    return notes[np.argsort(notes["start"], kind="stable")]


def _swung(ticks: np.ndarray, grid: Grid, swing: float | int) -> np.ndarray:
    """Ticks with the second half of each beat begun later; beats stay, and so does the order of ticks."""
    bar = np.maximum(np.searchsorted(grid.start_ticks, ticks, side="right") - 1, 0)
    beat = grid.ticks_per_quarter
    upbeat = grid.used_from[bar] * beat // 4  # an upbeat ends with its bar
    inside = (ticks - grid.start_ticks[bar] + upbeat) / beat
    phase, later = inside % 1, swing / 100
    moved = np.where(phase < 0.5, 2 * phase * later, later + (2 * phase - 1) * (1 - later))
    swings = grid.beat_steps[bar] == 4
    return np.where(swings, ticks + np.rint((moved - phase) * beat).astype(np.int64), ticks)


def _humanize(notes: np.ndarray, steps: np.ndarray, grid: Grid, part: str, feel: Feel) -> None:
    """Moves notes in time and velocity as drummers do, in place."""
    position = steps % STEPS_PER_BAR % 8
    if part == "drums":
        drum = np.log2(np.maximum(DRUM_BITS[notes["pitch"]], 1)).astype(np.int64)
        kind = np.array(KIND_OF_DRUM)[drum]
    else:
        drum = np.full(len(notes), len(KIND_OF_DRUM))
        kind = np.full(len(notes), _BASS_KIND)
    # One number for each step and drum of the song, whether it is hit or not: a note's chance is its own.
    random = np.random.Generator(np.random.Philox(np.random.SeedSequence((*feel.seed, 1))))
    count = (len(grid) + 1) * STEPS_PER_BAR
    shared_L = random.standard_normal(count)
    own_LD = random.standard_normal((count, len(KIND_OF_DRUM) + 1, 2))
    time, force = own_LD[steps, drum].T
    time = np.sqrt(_TOGETHER) * shared_L[steps] + np.sqrt(1 - _TOGETHER) * time
    offset = np.clip(OFFSET_MEAN[kind, position] + OFFSET_DEVIATION[kind] * time, -_FARTHEST, _FARTHEST)
    shift = np.rint(feel.humanize * offset * grid.ticks_per_quarter / 4).astype(np.int64)
    notes["start"], notes["end"] = np.maximum(notes["start"] + shift, 0), np.maximum(notes["end"] + shift, 1)
    louder = VELOCITY_MEAN[kind, position] + _CHANCE * VELOCITY_DEVIATION[kind] * force
    velocity = notes["velocity"] + np.rint(feel.humanize * louder).astype(np.int64)
    notes["velocity"] = np.clip(velocity, 1, 127)
