"""Fits the tables of `jaxaccomp/music/feel.py` to drummers: `python recipes/feel/fit.py GROOVE`.

GROOVE is the unpacked Groove MIDI Dataset (Gillick et al. 2019, CC BY 4.0). Of every second 4/4 beat (not of fills),
each hit is put to its nearest sixteenth. Printed is, for five kinds of drums and eight sixteenths of a half bar, how a
hit deviates from the mean of its own performance and drum: velocity (mean, standard deviation) and time (mean of
the offset and standard deviation, as shares of a sixteenth). Expected: 246 performances, 211,152 hits; 20 s.
"""

import sys
from pathlib import Path

import numpy as np

from jaxaccomp.errors import MidiError
from jaxaccomp.music import feel, midi, tokens


def deviations(path: Path) -> np.ndarray:
    """Rows (kind of drum, sixteenth in its half bar, velocity, offset) of one performance, less its kind's means."""
    score = midi.read(path)
    notes = score.notes
    exact = notes["start"] * 4 / score.ticks_per_quarter
    step = np.round(exact).astype(int)
    drum = np.log2(np.maximum(tokens.DRUM_BITS[notes["pitch"]], 1)).astype(int)
    kind = np.array(feel.KIND_OF_DRUM)[drum]
    rows = np.stack([kind, step % 8, notes["velocity"], exact - step], 1)[tokens.DRUM_BITS[notes["pitch"]] > 0]
    for k in np.unique(rows[:, 0]):
        mine = rows[:, 0] == k
        rows[mine, 2:] -= rows[mine, 2:].mean(0)
    return rows


def main(folder: str) -> None:
    """Prints the tables."""
    paths = sorted(path for path in Path(folder).rglob("*_beat_4-4.mid"))[::2]
    found = []
    for path in paths:
        try:
            found.append(deviations(path))
        except MidiError as error:
            print(error, file=sys.stderr)
    rows = np.concatenate(found)
    print(f"{len(found)} performances, {len(rows):,} hits")
    for column, name in ((2, "velocity"), (3, "offset")):
        cells = [[rows[(rows[:, 0] == k) & (rows[:, 1] == p), column] for p in range(8)] for k in range(feel.KINDS)]
        digits = 1 if name == "velocity" else 3
        print(name, "mean", [[round(float(cell.mean()), digits) for cell in row] for row in cells])
        print(name, "deviation", [[round(float(cell.std()), digits) for cell in row] for row in cells])


if __name__ == "__main__":
    main(sys.argv[1])
