import numpy as np
import pytest

from jaxaccomp.config import MusicVAEConfig
from jaxaccomp.weights import porting


@pytest.fixture(scope="session")
def odd_config():
    """Sizes that all differ, so that no two shapes can be mistaken for each other."""
    return MusicVAEConfig(encoder_sizes=(3, 5), conductor_sizes=(4, 6), decoder_sizes=(7, 2), latent_size=9)


@pytest.fixture(scope="session")
def variables_of():
    """Random variables of a config by TensorFlow's names, with what a training run adds."""

    def make(config, seed=0):
        rng = np.random.default_rng(seed)
        found = {row.source: rng.standard_normal(row.shape, np.float32) for row in porting.table(config)}
        slots = {f"{name}/{slot}": value * 0 for name, value in found.items() for slot in ("Adam", "Adam_1")}
        return (
            found
            | slots
            | {
                "global_step": np.array(7, np.int64),
                "beta1_power": np.array(0.9, np.float32),
                "beta2_power": np.array(0.999, np.float32),
            }
        )

    return make
