"""Does every note that stays come out once? Over folders of MIDI files, with both ways of keeping; no model is needed.

    python benchmarks/any_midi.py FOLDER… [--mutations 5000]

Prints each fault, and at the end: songs, songs refused by reason, kept notes, songs at fault. With --mutations, damaged
copies of the files are read as well; each must give a Score or a MidiError.
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
from tqdm import tqdm

from jaxaccomp import files
from jaxaccomp.errors import MidiError
from jaxaccomp.evaluation import any_midi
from jaxaccomp.music import midi


def main() -> int:
    """Runs the checks; the exit code is 1 where anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="folders of MIDI files")
    parser.add_argument("--mutations", type=int, default=0, metavar="N", help="damaged copies to read (default: 0)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the damage (default: 0)")
    arguments = parser.parse_args()
    paths = sorted({path for folder in arguments.folders for path, _ in files.find_midi(folder)})
    refused: Counter[str] = Counter()
    kept = faulty = 0
    for path in tqdm(paths, unit="song", disable=None):
        found = any_midi.check(path)
        kept += found.kept
        refused[found.refused] += bool(found.refused)
        faulty += bool(found.faults)
        for fault in found.faults:
            tqdm.write(f"{path}: {fault}")
    told = ", ".join(f"{reason} {count}" for reason, count in refused.items() if count) or "none"
    print(f"{len(paths)} songs; refused: {told}; {kept} kept notes; {faulty} songs at fault")
    outcomes: Counter[str] = Counter()
    for number in tqdm(range(arguments.mutations), unit="file", disable=None):
        random = np.random.default_rng((arguments.seed, number))
        data = any_midi.mutated(Path(paths[number % len(paths)]).read_bytes(), random)
        try:
            outcomes["mended" if midi.read(data).repaired else "read"] += 1
        except MidiError as error:
            outcomes[error.reason] += 1
    if arguments.mutations:
        print(f"{arguments.mutations} mutations: " + ", ".join(f"{name} {n}" for name, n in outcomes.most_common()))
    return int(faulty > 0)


if __name__ == "__main__":
    raise SystemExit(main())
