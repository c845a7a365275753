"""How often the melody's track is found, in songs that call a track melody, lead or vocal, with the names hidden."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from jaxaccomp.errors import MelodyError, MidiError
from jaxaccomp.music import melody, midi

RULES = ("default", "magenta")
_MELODY = re.compile(r"melod|lead|vocal", re.IGNORECASE)


def hit_rates(paths: Sequence[Path]) -> dict[str, Any]:
    """How often each rule picks a track called melody, lead or vocal, without looking at names.

    Args:
        paths: MIDI files; those that cannot be read, or name no such track, do not count.

    Returns:
        `songs`: how many counted; and for each rule the share of them in which it picked such a track.
    """
    songs, found = 0, dict.fromkeys(RULES, 0)
    for path in tqdm(paths, desc="melodies", disable=None, leave=False):
        try:
            score = midi.read(path)
        except MidiError:
            continue
        named = {
            track.index
            for track in score.tracks
            if track.kind not in ("drums", "percussion") and _MELODY.search(track.name)
        }
        if not named:
            continue
        songs += 1
        for rule in found:
            try:
                found[rule] += melody.choose(score, rule=rule, names=False).track in named
            except MelodyError:
                continue
    return {"songs": songs, **{rule: count / max(songs, 1) for rule, count in found.items()}}
