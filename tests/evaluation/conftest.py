import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxaccomp.arrays import PARTS
from jaxaccomp.config import PRESETS, ModelConfig, SurrogateConfig
from jaxaccomp.data import latents, shards
from jaxaccomp.models import musicvae
from jaxaccomp.models.surrogate import SurrogateEncoder

TINY = PRESETS["tiny"]
WINDOWS_BY_SONG = {"train": [2], "validation": [4], "test": [5, 1, 4]}


@pytest.fixture(scope="session")
def tiny_params():
    """A MusicVAE of the tiny preset that has learnt nothing."""
    return musicvae.initialize(TINY, jax.random.key(0))


@pytest.fixture(scope="session")
def trios():
    """Random windows in which notes are rare, as in music."""
    random = np.random.default_rng(1)
    columns = [random.integers(0, size, (10, 256)) * (random.random((10, 256)) < 0.3) for size in (90, 90, 512)]
    return np.stack(columns, axis=-1).astype(np.int32)


@pytest.fixture(scope="session")
def latents_folder(tmp_path_factory, tiny_params, trios):
    """A dataset of latents: the ten windows as three songs of 5, 1 and 4 in `test`, some of them in other splits."""
    out = tmp_path_factory.mktemp("latents")
    write_latents(out, tiny_params, trios)
    return out


def write_latents(out, params, trios):
    folder = shards.folder_of(out, latents.NAME)
    folder.mkdir(parents=True)
    mean, scale = musicvae.encode(params, jnp.asarray(trios))
    songs, lengths = [], {}
    for split, counts in WINDOWS_BY_SONG.items():
        examples, row = [], 0
        for number, count in enumerate(counts):
            songs.append({"song": f"{split}-{number}", "split": split, "windows": count})
            for _ in range(count):
                tokens = {part: trios[row, :, p].astype(np.int16) for p, part in enumerate(PARTS)}
                where = {"length": 256, "song": f"{split}-{number}", "segment": 0, "bar": row}
                examples.append(tokens | {"mean": np.asarray(mean[row]), "scale": np.asarray(scale[row])} | where)
                row += 1
        lengths[split] = [row]
        columns = latents.columns(mean.shape[1])
        shards.write_shard(shards.shard_file(folder, latents.NAME, split, 0, 1), columns, examples)
    (folder / shards.SONGS).write_text("".join(json.dumps(song) + "\n" for song in songs))
    shards.write_metadata(folder, latents.NAME, columns, lengths, "test", {"latent_size": mean.shape[1]})


@pytest.fixture(scope="session")
def tiny_model(tiny_params):
    """The tiny MusicVAE with a surrogate that has learnt nothing either: config and params as `checkpoint.load`."""
    surrogate = SurrogateConfig(sizes=(12,), latent_size=TINY.latent_size)
    melody_BL = jnp.zeros((1, 256), jnp.int32)
    params = SurrogateEncoder(surrogate).init(jax.random.key(1), melody_BL, jnp.full(1, 256))["params"]
    return ModelConfig(musicvae=TINY, surrogate=surrogate), {"musicvae": tiny_params, "surrogate": params}
