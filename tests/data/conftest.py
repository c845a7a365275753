"""A small corpus of made-up songs, and the datasets made from it."""

from pathlib import Path

import jax
import pytest
from made_up_songs import make_corpus

from jaxaccomp.config import PRESETS
from jaxaccomp.data import latents, windows
from jaxaccomp.data.staging import WindowsConfig
from jaxaccomp.models import musicvae
from jaxaccomp.weights import checkpoint


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """Folder of MIDI files."""
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def windows_folder(corpus, tmp_path_factory) -> Path:
    """`--out` of `windows` over the corpus."""
    out = tmp_path_factory.mktemp("windows")
    windows.build(corpus, out, WindowsConfig(), shard_count=3)
    return out


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """A checkpoint of the smallest preset."""
    config = PRESETS["tiny"]
    return checkpoint.save(
        tmp_path_factory.mktemp("checkpoint") / "tiny", config, musicvae.initialize(config, jax.random.key(0))
    )


@pytest.fixture(scope="session")
def latents_folder(windows_folder, tiny, tmp_path_factory) -> Path:
    """`--out` of `latents` over the windows."""
    out = tmp_path_factory.mktemp("latents")
    latents.build(windows_folder, tiny, out, batch_size=4, shard_count=4)
    return out
