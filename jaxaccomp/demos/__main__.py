"""Writes the demo tunes' MIDI files from their source.

`python -m jaxaccomp.demos` renews the files that ship; `python -m jaxaccomp.demos --rounds 4 --out DIR` writes longer
ones elsewhere.
"""

import argparse
from pathlib import Path

from jaxaccomp import demos
from jaxaccomp.demos.arrangement import arrange
from jaxaccomp.demos.tunes import TUNES
from jaxaccomp.music import midi


def main() -> None:
    """Writes every tune, one line each."""
    parser = argparse.ArgumentParser(prog="jaxaccomp.demos", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=Path, default=demos.FOLDER, help="folder to write to (default: the package's own)"
    )
    parser.add_argument("--rounds", type=int, default=1, help="times each tune is played (default: 1)")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, tune in TUNES.items():
        file = arguments.out / f"{name}.mid"
        midi.write(arrange(tune, arguments.rounds), file)
        print(f"{file}  {tune.title} ({tune.origin})")


if __name__ == "__main__":
    main()
