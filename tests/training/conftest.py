"""A dataset of made-up windows, shared by the tests of training."""

import os
from pathlib import Path

import jax
import numpy as np
import pytest
from made_up import tokens, write

from jaxaccomp.data import windows


@pytest.fixture(scope="session", autouse=True)
def compiled_once(tmp_path_factory):
    """The same few programs are asked for again and again, also by processes that tests start."""
    folder = str(tmp_path_factory.mktemp("compiled"))
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", folder)
    yield
    jax.config.update("jax_compilation_cache_dir", before)
    del os.environ["JAX_COMPILATION_CACHE_DIR"]


@pytest.fixture(scope="session")
def windows_folder(tmp_path_factory) -> Path:
    random = np.random.default_rng(0)

    def song(count: int) -> dict[str, np.ndarray]:
        place = {"segment": np.zeros(count, np.int32), "bar": np.arange(count, dtype=np.int32)}
        parts = {name: np.zeros((count, 3), np.int16) for name in ("instruments", "programs")}
        return {"tokens": tokens(random, count), **place, **parts, "qpm": np.full(count, 120, np.float32)}

    splits = {"train": [song(30) for _ in range(4)], "validation": [song(10)]}
    return write(tmp_path_factory.mktemp("windows"), windows.NAME, windows.COLUMNS, splits)
