"""Tests run on 2 virtual CPU devices and keep compiled programs between runs; both are set before JAX is imported.

A test that needs another number of devices starts a process of its own: on a CPU, each set of devices is one more
compilation of every program.
"""

import contextlib
import ctypes
import gc
import os
from pathlib import Path

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR",
    os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "jaxaccomp", "tests"),
)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "0"
os.environ["JAXACCOMP_CACHE"] = os.environ["JAX_COMPILATION_CACHE_DIR"]

import jax
import jaxtyping
import pytest

GOLDEN = Path(__file__).parent / "golden"
MANY_MAPS = 8_000
"""Pieces of memory. Linux grants a process 65,530; each compiled program holds several."""


@pytest.fixture(autouse=True, scope="module")
def _few_programs():
    """Lets compiled programs go between files, once there are many: they are gigabytes, and are fetched again fast."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and len(maps.read_bytes().splitlines()) > MANY_MAPS:
        jax.clear_caches()
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)  # else the C library keeps what was freed


@pytest.fixture
def unchecked():
    """Turns off the checks of annotations, which users do not have."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of the reference's numbers: `trio/` and `musicvae/`."""
    return GOLDEN


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory) -> Path:
    """A checkpoint of the `tiny` preset with a surrogate, untrained: it plays, but no music."""
    import numpy as np

    from jaxaccomp.config import PRESETS, ModelConfig, SurrogateConfig
    from jaxaccomp.weights import checkpoint

    musicvae = PRESETS["tiny"]
    config = ModelConfig(musicvae=musicvae, surrogate=SurrogateConfig(sizes=(8,), latent_size=musicvae.latent_size))
    generator = np.random.default_rng(0)
    params: dict = {}
    for name, shape in checkpoint.shapes_of(config).items():
        *folders, last = name.split("/")
        node = params
        for folder in folders:
            node = node.setdefault(folder, {})
        node[last] = (generator.standard_normal(shape) / shape[0] ** 0.5).astype(np.float32)
    return checkpoint.save(tmp_path_factory.mktemp("checkpoints") / "tiny-untrained", config, params)
