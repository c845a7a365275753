"""Small datasets of made-up windows and latents, and a model small enough to compile in seconds."""

import json
from pathlib import Path

import numpy as np

from jaxaccomp.arrays import PARTS, STEPS
from jaxaccomp.config import MusicVAEConfig
from jaxaccomp.data import shards

SMALL = MusicVAEConfig(
    encoder_sizes=(4,), conductor_sizes=(5,), decoder_sizes=(6,), latent_size=3, initialization="fast"
)


def write(folder: Path, name: str, columns: dict, splits: dict[str, list[dict[str, np.ndarray]]], **metadata) -> Path:
    """A dataset of songs, each a dict of columns [windows, …]; returns its `--out` folder."""
    version = shards.folder_of(folder, name)
    version.mkdir(parents=True)
    lines, lengths = [], {}
    for split, songs in splits.items():
        examples = []
        for number, song in enumerate(songs):
            windows = len(next(iter(song.values())))
            identity = f"{split}{number}"
            lines.append({"song": identity, "split": split, "windows": windows, "cluster": identity, "files": []})
            examples += [{"song": identity} | {key: rows[n] for key, rows in song.items()} for n in range(windows)]
        lengths[split] = [len(examples)]
        shards.write_shard(shards.shard_file(version, name, split, 0, 1), columns, examples)
    (version / shards.SONGS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    shards.write_metadata(version, name, columns, lengths, "made up", {"identity": "made up", **metadata})
    return folder


def tokens(random: np.random.Generator, windows: int) -> np.ndarray:
    """Windows of sparse random notes and drums."""
    rows = np.stack([random.integers(20, 60, (windows, STEPS)) for _ in PARTS], axis=-1)
    return np.where(random.random(rows.shape) < 0.3, rows, 0).astype(np.int16)
