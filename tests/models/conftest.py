"""The reference's model, ported, and its numbers."""

import jax
import numpy as np
import pytest

from jaxaccomp.weights import porting


@pytest.fixture(scope="session")
def reference(golden):
    """Config and parameters of the golden checkpoint."""
    config, params = porting.port(golden / "musicvae")
    return config, jax.tree.map(jax.numpy.asarray, params)


@pytest.fixture(scope="session")
def inputs(golden):
    return dict(np.load(golden / "musicvae" / "inputs.npz"))


@pytest.fixture(scope="session")
def outputs(golden):
    return dict(np.load(golden / "musicvae" / "outputs.npz"))


@pytest.fixture(scope="session")
def training(golden):
    return dict(np.load(golden / "musicvae" / "train.npz"))
