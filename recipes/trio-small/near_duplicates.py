"""Counts held-out songs that resemble a song of the training split.

    python recipes/trio-small/near_duplicates.py WINDOWS

`windows` keeps songs that share a whole 16-bar window on one side of a split. This looks closer: at four-bar phrases of
the melody, whatever their key. A phrase is the onsets and intervals of four bars with at least eight notes of four
pitches. For each held-out song the script finds the training song that holds the largest share of its different
phrases; from a third on, the two count as near-duplicates.
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np

from jaxaccomp.arrays import FIRST_NOTE_ON, STEPS_PER_BAR
from jaxaccomp.data import shards

PHRASE = 4 * STEPS_PER_BAR
NOTES, PITCHES = 8, 4
SHARE = 1 / 3


def phrases(source: Path, split: str) -> list[set[bytes]]:
    """Different phrases of each song of a split."""
    data = shards.open_split(source, split)
    songs, row = [], 0
    for count in data.windows_by_song:
        # Windows begin at every bar, so their first four bars are all phrases but the last few of a song.
        tokens_NL = data.take(np.arange(row, row + count))["tokens"][:, :PHRASE, 0].astype(np.int16)
        row += count
        found = set()
        for tokens_L in np.unique(tokens_NL, axis=0):
            notes = tokens_L[tokens_L >= FIRST_NOTE_ON]
            if len(notes) >= NOTES and len(set(notes.tolist())) >= PITCHES:
                found.add(np.where(tokens_L >= FIRST_NOTE_ON, tokens_L - notes[0] + 128, 0).astype(np.uint8).tobytes())
        songs.append(found)
    return songs


def main() -> None:
    """Prints the counts and the pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("windows", type=Path, metavar="WINDOWS", help="dataset, as `windows --out` wrote it, hop 1")
    source = parser.parse_args().windows
    owners: dict[bytes, list[int]] = {}
    for song, found in enumerate(phrases(source, "train")):
        for phrase in found:
            owners.setdefault(phrase, []).append(song)
    for split in ("validation", "test"):
        shares = []
        for found in phrases(source, split):
            shared = Counter(song for phrase in found for song in owners.get(phrase, ()))
            shares.append(max(shared.values(), default=0) / max(len(found), 1))
        alike = sum(share > SHARE for share in shares)
        print(
            f"{split}: {alike} of {len(shares)} songs share more than a third of their phrases with one training song; "
            f"the largest shares: {', '.join(f'{share:.2f}' for share in sorted(shares, reverse=True)[:8])}"
        )


if __name__ == "__main__":
    main()
