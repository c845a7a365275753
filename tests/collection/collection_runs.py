"""Songs for collections, and what their runs are compared by."""

import hashlib
import json

import numpy as np

from jaxaccomp.collection import manifest
from jaxaccomp.collection import run as collection
from jaxaccomp.collection.run import CollectionConfig
from jaxaccomp.music import midi

SONGS = 12
RUN = {"temperature": 1.0, "seed": 3}


def melody_song(number, bars):
    """A melody, and every third time a bass and drums to lose."""
    rng = np.random.default_rng(number)
    parts = []
    for name, channel, program, low in (("Lead", 0, 80, 60), ("Bass", 1, 33, 36), ("Drums", 9, 0, 36)):
        if channel and number % 3:
            continue
        notes = np.zeros(bars * 6, midi.NOTE)
        notes["start"] = np.sort(rng.choice(bars * 16, bars * 6, replace=False)) * 120
        notes["end"] = notes["start"] + 110
        notes["pitch"], notes["velocity"] = low + rng.integers(0, 12, bars * 6), 90
        parts.append(midi.Part(name, channel, program, notes))
    metre = [(0, 4, 4), (0, 3, 4), (0, 6, 8)][number % 3]
    return midi.Score.build(480, parts, metres=[metre])


def read_entries(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def state(out):
    """Every result by name, and the manifest without its times."""
    files = {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in out.rglob("*")
        if path.is_file() and "manifest" not in path.name
    }
    told = [{k: v for k, v in entry.items() if k != "seconds"} for entry in read_entries(out / manifest.NAME)]
    return files, told


def run(folder, model, out, **config):
    return collection.run([folder], out, CollectionConfig(workers=2, **config), checkpoint=model, **RUN)


def arguments(folder, model, out):
    play = ["--temperature", "1", "--seed", "3"]
    return ["infer", str(folder), "--out", str(out), "--checkpoint", str(model), *play, "--workers", "2"]
