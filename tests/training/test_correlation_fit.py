"""`train.py correlation`: what it adds to a checkpoint, and where it changes what is drawn and measured."""

import json

import jax
import numpy as np
import pytest
from made_up import SMALL

from jaxaccomp import cli
from jaxaccomp.config import ModelConfig
from jaxaccomp.models import musicvae, surrogate
from jaxaccomp.training import metrics_log
from jaxaccomp.weights import checkpoint


@pytest.fixture(scope="module")
def band(tmp_path_factory):
    """A checkpoint of both models, as they are initialized."""
    config = ModelConfig(musicvae=SMALL, surrogate=surrogate.matching(SMALL))
    params = {
        "musicvae": musicvae.initialize(config.musicvae, jax.random.key(0)),
        "surrogate": surrogate.initialize(config.surrogate, jax.random.key(1)),
    }
    return checkpoint.save(tmp_path_factory.mktemp("band") / "band", config, params)


def test_it_adds_one_entry_and_tells_what_that_is_worth(band, windows_folder, tmp_path, capsys):
    command = ["correlation", "--data", str(windows_folder), "--workdir", str(tmp_path), "--checkpoint", str(band)]
    assert cli.train([*command, "--windows", "40", "--validation-windows", "10", "--batch-size", "16"]) == 0
    before, (config, after) = checkpoint.load(band)[1], checkpoint.load(tmp_path / "checkpoint")
    assert config.correlation.latent_size == 3
    for name in ("musicvae", "surrogate"):
        jax.tree.map(np.testing.assert_array_equal, after[name], before[name])
    kernel_ZZ = np.asarray(after["correlation"]["kernel"])
    np.testing.assert_allclose((kernel_ZZ**2).sum(1), 1, rtol=1e-5)
    assert json.loads((tmp_path / "config.json").read_text())["objective"] == "correlation"
    (line,) = metrics_log.read(tmp_path / "metrics.jsonl")
    assert line["validation"] > 0
    assert f"{line['validation_uncorrelated']:.2f} → {line['validation']:.2f} nats" in capsys.readouterr().out


def test_a_checkpoint_without_surrogate_is_refused(windows_folder, tmp_path, capsys):
    params = {"musicvae": musicvae.initialize(SMALL, jax.random.key(0)), "surrogate": None}
    lone = checkpoint.save(tmp_path / "lone", ModelConfig(musicvae=SMALL), params)
    command = ["correlation", "--data", str(windows_folder), "--workdir", str(tmp_path / "run")]
    assert cli.train([*command, "--checkpoint", str(lone)]) == 1
    assert "holds no surrogate that predicts a scale" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
