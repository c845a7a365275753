import jax
import numpy as np
import pytest

from jaxaccomp.config import PRESETS
from jaxaccomp.models import musicvae

TINY = PRESETS["tiny"]


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
