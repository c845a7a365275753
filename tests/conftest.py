"""Tests run on 8 virtual CPU devices; set before JAX is first imported."""

import os
from pathlib import Path

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["JAXACCOMP_CACHE"] = "off"  # tests compile for themselves and leave the user's cache alone

import jaxtyping
import pytest

GOLDEN = Path(__file__).parent / "golden"


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
