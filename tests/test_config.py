"""Configs: their own checks, and the way to JSON and back."""

import json

import numpy as np
import pytest

from jaxaccomp import config as configs
from jaxaccomp.config import PRESETS, ModelConfig, MusicVAEConfig, SurrogateConfig
from jaxaccomp.errors import ConfigError

SIZES = {"encoder_sizes": (5, 7), "conductor_sizes": (6,), "decoder_sizes": (4, 9, 8), "latent_size": 3}


def test_the_presets_are_the_originals_sizes_and_ours():
    assert PRESETS["hierdec-trio_16bar"] == MusicVAEConfig(
        encoder_sizes=(2048, 2048), conductor_sizes=(1024, 1024), decoder_sizes=(1024, 1024), latent_size=512
    )
    assert PRESETS["trio-small"].latent_size == 64


def test_lists_and_numpys_whole_numbers_make_the_same_config(unchecked):
    same = MusicVAEConfig(**SIZES | {"encoder_sizes": [np.int64(5), 7], "latent_size": np.int32(3)})
    assert same == MusicVAEConfig(**SIZES)
    assert hash(same) == hash(MusicVAEConfig(**SIZES))
    assert json.dumps(configs.to_json(same)) == json.dumps(configs.to_json(MusicVAEConfig(**SIZES)))


@pytest.mark.parametrize("sizes", [(), (0,), (-4, 4), (8.0,), (True,), ("8",), 8, None])
def test_layer_sizes_that_are_none_are_refused(sizes, unchecked):
    with pytest.raises(ConfigError, match=r"^MusicVAEConfig.encoder_sizes must be a tuple of one or more positive"):
        MusicVAEConfig(encoder_sizes=sizes)


@pytest.mark.parametrize("kind", [MusicVAEConfig, SurrogateConfig])
@pytest.mark.parametrize("size", [0, -1, 8.0, True, "8", None])
def test_a_latent_of_no_size_is_refused(kind, size, unchecked):
    with pytest.raises(ConfigError, match=rf"^{kind.__name__}.latent_size must be a positive whole number"):
        kind(latent_size=size)


def test_a_surrogate_of_another_latent_is_refused():
    with pytest.raises(ConfigError, match="has 4 dimensions, the MusicVAE's 3"):
        ModelConfig(musicvae=MusicVAEConfig(**SIZES), surrogate=SurrogateConfig(latent_size=4))


@pytest.mark.parametrize("surrogate", [None, SurrogateConfig(sizes=(2,), latent_size=3, predict_scale=False)])
def test_a_config_comes_back_from_json(surrogate):
    config = ModelConfig(musicvae=MusicVAEConfig(**SIZES), surrogate=surrogate)
    assert configs.from_json(ModelConfig, json.loads(json.dumps(configs.to_json(config)))) == config


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "ModelConfig lacks the field musicvae"),
        ({"musicvae": {"layers": 2}}, "here: musicvae: MusicVAEConfig has no field layers; it has encoder_sizes, "),
        ({"musicvae": {"latent_size": "8"}}, "here: musicvae: latent_size: expected a whole number, got '8'"),
        ({"musicvae": {"encoder_sizes": 8}}, "encoder_sizes: expected a list, got 8"),
        ({"musicvae": {"initialization": "slow"}}, "expected one of reference, fast, got 'slow'"),
        ({"musicvae": []}, "expected an object with the fields of MusicVAEConfig"),
        ([], "expected an object with the fields of ModelConfig"),
    ],
)
def test_json_that_is_no_config_is_refused_by_name(values, said):
    with pytest.raises(ConfigError, match=said):
        configs.from_json(ModelConfig, values, "here")
