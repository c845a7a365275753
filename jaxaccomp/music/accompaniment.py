"""Bass and drums that a song already has, as tokens of the melody's windows.

Training windows are cut by `trio.extract`; here the parts are laid on the melody's own grid, under any meter and tempo,
as `melody.windows` lays the melody.
"""

import numpy as np
from jaxtyping import Int

from jaxaccomp.arrays import HIGHEST_PITCH, LOWEST_PITCH, STEPS, STEPS_PER_BAR
from jaxaccomp.errors import MidiError
from jaxaccomp.music.melody import Melody
from jaxaccomp.music.midi import Score
from jaxaccomp.music.tokens import DRUM_BITS, top_line


def tokens(score: Score, melody: Melody, part: str) -> Int[np.ndarray, "N L"]:
    """Tokens of a part, window by window, beside those of the melody.

    Args:
        score: any music.
        melody: of the same score.
        part: `bass` or `drums`.

    Raises:
        MidiError: `no-part`: no track, the melody's aside, plays it.
    """
    found = [track.index for track in score.tracks if track.kind == part and track.index not in melody.choice.tracks]
    if not found:
        names = ", ".join(f"{track.index} {track.name!r} (program {track.program})" for track in score.tracks)
        raise MidiError("no-part", score.source, f"no track plays the {part}; it has {names}")
    notes = np.concatenate([score.track_notes(index) for index in found])
    steps, total = melody.tokens_NL.size, len(melody.grid) * STEPS_PER_BAR
    tokens_X = np.zeros(steps, np.int32)
    starts = melody.grid.step_of(notes["start"])
    if part == "drums":
        inside = starts < total
        np.bitwise_or.at(tokens_X, starts[inside], DRUM_BITS[notes["pitch"][inside]])
    else:
        in_range = (notes["pitch"] >= LOWEST_PITCH) & (notes["pitch"] <= HIGHEST_PITCH)
        notes, starts = notes[in_range], starts[in_range]
        ends = np.maximum(melody.grid.step_of(notes["end"]), starts + 1)
        tokens_X[:total] = top_line(starts, ends, notes["pitch"].astype(np.int64), total)
    return tokens_X.reshape(-1, STEPS)
