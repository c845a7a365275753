"""What other programs call, as they would: with NumPy arrays, whole numbers, and what one call gives to the next."""

import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxaccomp.generate import sampler
from jaxaccomp.models.musicvae import MusicVAE
from jaxaccomp.music import trio
from jaxaccomp.training import objectives
from jaxaccomp.weights import checkpoint, porting


@pytest.mark.slow
def test_ported_parameters_go_straight_into_every_call(golden, tmp_path):
    inputs, outputs = (dict(np.load(golden / f"musicvae/{name}.npz")) for name in ("inputs", "outputs"))
    config, params = porting.port(golden / "musicvae")
    model, tokens_BLP = MusicVAE(config), inputs["tokens"]
    posterior = model.apply({"params": params}, tokens_BLP, inputs["lengths_var"], method="encode")
    np.testing.assert_allclose(posterior.mean_BZ, outputs["mu_var"], atol=1e-5)
    loss, _ = objectives.vae_loss(
        config, params, tokens_BLP, inputs["eps"], beta=np.asarray(0.2), free_bits=np.asarray(3.0, np.float32)
    )
    assert np.isfinite(float(loss))

    keys_B = jax.random.split(jax.random.key(0), len(tokens_BLP))
    played_BLP = sampler.sample(
        config, params, inputs["z_fixed"], keys_B, temperature=0, parts=("melody", "bass", "drums")
    )
    np.testing.assert_array_equal(played_BLP, outputs["greedy/tokens"])
    for temperature in ([0, 0.0, 0], np.float32(0), np.zeros(3), jax.numpy.zeros(3)):
        again_BLP = sampler.sample(config, params, inputs["z_fixed"], keys_B, temperature, ["melody", "bass", "drums"])
        np.testing.assert_array_equal(again_BLP, played_BLP)
    assert trio.to_score(np.asarray(played_BLP[0]), qpm=120).tracks

    checkpoint.save(tmp_path / "ported", config, params)
    stored, loaded = checkpoint.load(tmp_path / "ported")
    assert stored.musicvae == config
    assert stored.surrogate is None
    assert loaded["surrogate"] is None


def test_the_package_names_its_configs_and_loads_no_jax():
    script = """
import sys, jaxaccomp
assert jaxaccomp.config.PRESETS is jaxaccomp.PRESETS
assert issubclass(jaxaccomp.errors.MidiError, jaxaccomp.JaxAccompError)
print(sorted({"jax", "flax", "optax", "tensorflow", "matplotlib"} & set(sys.modules)), hasattr(jaxaccomp, "nothing"))
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert found.stdout == "[] False\n", found.stderr
