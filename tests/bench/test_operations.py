"""The counts behind every fraction of peak."""

import jax
import jax.numpy as jnp
import pytest

from jaxaccomp.bench import computations, operations
from jaxaccomp.config import PRESETS, SurrogateConfig
from jaxaccomp.models import musicvae

FULL = PRESETS["hierdec-trio_16bar"]


def test_full_size_counts_are_those_measured_for_the_original():
    assert operations.encode_flops(FULL) == pytest.approx(68.7e9, rel=1e-3)
    assert operations.decode_flops(FULL, ("bass", "drums")) == pytest.approx(14.1e9, rel=5e-3)
    assert operations.decode_flops(FULL) == pytest.approx(20.9e9, rel=1e-3)


def test_a_part_more_costs_its_own_decoder_and_no_second_conductor():
    one, two, three = (operations.decode_flops(FULL, parts) for parts in (("bass",), ("bass", "melody"), ("melody",)))
    assert one == three
    assert one < two < 2 * one


def test_encoder_count_agrees_with_the_compiler():
    """XLA counts a loop's body once, so the loop's share is what its own trip count adds."""
    config = PRESETS["tiny"]
    params = computations.random_params(musicvae.shapes(config))
    tokens_BLP = jnp.zeros((1, 256, 3), jnp.int32)
    analysis = jax.jit(musicvae.encode).lower(params, tokens_BLP).compile().cost_analysis()
    hoisted = 2 * 256 * 2 * (2 * 16) * 4 * 16  # layer 1 hears both directions of layer 0, outside the loop
    heads = 2 * 2 * 2 * 16 * config.latent_size
    in_loops = 2 * (2 * 2 * 16 * 4 * 16)  # one step of both layers and directions
    assert analysis["flops"] >= hoisted + heads + in_loops
    assert operations.encode_flops(config) == hoisted + heads + 256 * in_loops


def test_surrogate_without_a_scale_saves_one_head():
    both = SurrogateConfig(latent_size=8)
    mean_only = SurrogateConfig(latent_size=8, predict_scale=False)
    assert operations.surrogate_flops(both) - operations.surrogate_flops(mean_only) == 2 * 2 * 128 * 8


def test_streamed_bytes_halve_with_the_width_of_a_weight():
    assert operations.decode_bytes(FULL, ("bass",), 2) * 2 == operations.decode_bytes(FULL, ("bass",), 4)
    assert operations.encode_bytes(FULL) == 256 * 4 * (2 * 2 * 2048 * 8192)
