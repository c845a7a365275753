"""Songs of random notes, and a folder of them with all that can be wrong with songs."""

import shutil
from pathlib import Path

import numpy as np

from jaxaccomp.music import midi

QUARTER = 4
"""Ticks per quarter note: one tick is a sixteenth."""
HELD_OUT = {"e" * 32: 21, "f" * 32: 22}
"""Songs by their md5 names, which put them into validation and test."""


def song(seed: int, bars: int = 18, shift: int = 0, drums_seed: int | None = None) -> midi.Score:
    """A random song: a note of melody and bass and a drum on about every other sixteenth."""
    steps = 16 * bars
    parts = []
    for place, (name, channel, program, low) in enumerate(
        [("lead", 0, 5, 60), ("bass", 1, 33, 40), ("kit", midi.DRUM_CHANNEL, 0, 35)]
    ):
        is_drums = channel == midi.DRUM_CHANNEL
        random = np.random.default_rng([drums_seed if is_drums and drums_seed is not None else seed, place])
        starts = np.flatnonzero(random.random(steps) < 0.5)
        starts = np.union1d(starts, [0, steps - 1])
        notes = np.zeros(len(starts), midi.NOTE)
        notes["start"], notes["end"] = starts, starts + 1
        notes["pitch"] = low + random.integers(0, 12, len(starts)) + (0 if is_drums else shift)
        notes["velocity"] = 90
        parts.append(midi.Part(name, channel, program, notes))
    return midi.Score.build(QUARTER, parts)


def make_corpus(folder: Path) -> Path:
    """Fourteen files: songs, a copy, a version in another key, one in validation, one in test, and four duds."""
    (folder / "deep" / "er").mkdir(parents=True)
    for seed in range(5):
        song(seed, 17 + seed).write(folder / "deep" / f"song{seed}.mid")
    song(6).write(folder / "deep" / "er" / "LOUD.MIDI")
    for name, seed in HELD_OUT.items():
        song(seed).write(folder / f"{name}.mid")
    shutil.copy(folder / "deep" / "song1.mid", folder / "zz-copy-of-song1.mid")
    song(2, 19, shift=3, drums_seed=99).write(folder / "zz-version-of-song2.mid")
    (folder / "broken.mid").write_bytes((folder / "deep" / "song3.mid").read_bytes()[:200])
    (folder / "empty.mid").write_bytes(b"")
    song(8, 12).write(folder / "short.mid")
    (folder / "nowhere.mid").symlink_to(folder / "no-such-file.mid")
    (folder / "readme.txt").write_text("no music")
    return folder


def here(function, jobs, limit_s):
    """An engine that works in this process."""
    return ((job, function(job)) for job in jobs)
