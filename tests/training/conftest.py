"""A dataset of made-up windows, shared by the tests of training."""

from pathlib import Path

import numpy as np
import pytest
from made_up import tokens, write

from jaxaccomp.data import windows


@pytest.fixture(scope="session")
def windows_folder(tmp_path_factory) -> Path:
    random = np.random.default_rng(0)

    def song(count: int) -> dict[str, np.ndarray]:
        place = {"segment": np.zeros(count, np.int32), "bar": np.arange(count, dtype=np.int32)}
        parts = {name: np.zeros((count, 3), np.int16) for name in ("instruments", "programs")}
        return {"tokens": tokens(random, count), **place, **parts, "qpm": np.full(count, 120, np.float32)}

    splits = {"train": [song(30) for _ in range(4)], "validation": [song(10)]}
    return write(tmp_path_factory.mktemp("windows"), windows.NAME, windows.COLUMNS, splits)
