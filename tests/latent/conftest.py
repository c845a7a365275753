import json

import numpy as np
import pytest

from jaxaccomp import latent
from jaxaccomp.arrays import PARTS
from jaxaccomp.data import latents, shards
from jaxaccomp.weights import checkpoint

WINDOWS = 300
"""A song each."""


@pytest.fixture(scope="session")
def space(tiny_checkpoint):
    return latent.load(tiny_checkpoint)


def made_up_windows(z_NZ, random):
    """Windows whose bass density grows with z's first number and whose drum density with its second."""
    rate_NP = 1 / (1 + np.exp(-z_NZ[:, [2, 0, 1]]))
    strikes_NLP = random.random((len(z_NZ), 256, 3)) < 0.6 * rate_NP[:, None]
    drawn_NLP = np.stack([random.integers(20, 60, (len(z_NZ), 256)) for _ in PARTS], axis=-1)
    return np.where(strikes_NLP, drawn_NLP, 0).astype(np.int32)


@pytest.fixture(scope="session")
def latents_folder(tmp_path_factory, tiny_checkpoint):
    """A dataset of latents in which attributes lie along axes: normal z, and windows made of them."""
    out, random = tmp_path_factory.mktemp("latents"), np.random.default_rng(0)
    folder = shards.folder_of(out, latents.NAME)
    folder.mkdir(parents=True)
    songs, columns = [], latents.columns(8)
    for split in shards.SPLITS:
        z_NZ = random.standard_normal((WINDOWS, 8)).astype(np.float32)
        tokens_NLP = made_up_windows(z_NZ, random)
        examples = [
            {part: tokens_LP[:, p].astype(np.int16) for p, part in enumerate(PARTS)}
            | {"length": 256, "song": f"{split}-{n}", "segment": 0, "bar": 0}
            | {"mean": z_Z, "scale": np.full(8, 0.01, np.float32)}
            for n, (z_Z, tokens_LP) in enumerate(zip(z_NZ, tokens_NLP, strict=True))
        ]
        songs += [{"song": f"{split}-{n}", "split": split, "windows": 1} for n in range(WINDOWS)]
        shards.write_shard(shards.shard_file(folder, latents.NAME, split, 0, 1), columns, examples)
    (folder / shards.SONGS).write_text("".join(json.dumps(song) + "\n" for song in songs))
    record = {
        "identity": "made up",
        "latent_size": 8,
        "checkpoint": checkpoint.fingerprint(tiny_checkpoint),
        "checkpoint_path": str(tiny_checkpoint),
    }
    shards.write_metadata(folder, latents.NAME, columns, {split: [WINDOWS] for split in shards.SPLITS}, "test", record)
    return out
