import jax
import numpy as np
import pytest

from jaxaccomp.config import PRESETS, GuideConfig
from jaxaccomp.errors import ConfigError
from jaxaccomp.generate import guidance, sampler
from jaxaccomp.generate.decoding import bar_parallel
from jaxaccomp.models import guide, musicvae

ROWS = 5


@pytest.fixture(scope="module")
def tiny():
    config = PRESETS["tiny"]
    params = musicvae.initialize(config, jax.random.key(1))
    z_BZ = np.asarray(jax.random.normal(jax.random.key(2), (ROWS, config.latent_size)))
    return sampler.Sampler(config, params), z_BZ, jax.random.split(jax.random.key(3), ROWS)


def noise(seed=0):
    return {"bass": np.random.default_rng(seed).normal(size=(ROWS, 256, 90)).astype(np.float32) * 3}


def test_a_biased_part_bar_by_bar_equals_all_bars_at_once(tiny, monkeypatch):
    model, z_BZ, keys_B = tiny
    at_once = np.asarray(model(z_BZ, keys_B, 1.0, ("bass", "drums"), bias=noise()))
    monkeypatch.setattr(bar_parallel, "ROWS", 0)
    sequential = np.asarray(model(z_BZ, keys_B, 1.0, ("bass", "drums"), bias=noise()))
    np.testing.assert_array_equal(at_once, sequential)
    plain = np.asarray(model(z_BZ, keys_B, 1.0, ("bass", "drums")))
    assert (plain[..., 0] != sequential[..., 0]).mean() > 0.1
    np.testing.assert_array_equal(plain[..., 1], sequential[..., 1])


def test_a_biased_row_alone_equals_itself_in_a_batch(tiny):
    model, z_BZ, keys_B = tiny
    together = np.asarray(model(z_BZ, keys_B, 1.0, ("bass",), bias=noise()))
    for row in range(ROWS):
        own = slice(row, row + 1)
        alone = model(z_BZ[own], keys_B[own], 1.0, ("bass",), bias={"bass": noise()["bass"][own]})
        np.testing.assert_array_equal(alone, together[own])


def test_a_bias_is_added_to_the_scores_of_its_step(tiny):
    model, z_BZ, keys_B = tiny
    wanted = np.random.default_rng(1).integers(0, 90, (ROWS, 256))
    bias = 1e6 * np.eye(90, dtype=np.float32)[wanted]
    np.testing.assert_array_equal(model(z_BZ, keys_B, 1.0, ("bass",), bias={"bass": bias})[..., 0], wanted)


def test_a_bias_of_zeros_and_none_give_the_same_tokens(tiny):
    model, z_BZ, keys_B = tiny
    zeros = {"bass": np.zeros((ROWS, 256, 90), np.float32)}
    np.testing.assert_array_equal(
        model(z_BZ, keys_B, 1.0, ("bass",), bias=zeros), model(z_BZ, keys_B, 1.0, ("bass",), bias=None)
    )


def test_a_bias_of_another_shape_is_refused(tiny):
    model, z_BZ, keys_B = tiny
    with pytest.raises(ConfigError, match="bias of bass"):
        model(z_BZ, keys_B, 1.0, ("bass",), bias={"bass": np.zeros((ROWS, 16, 90), np.float32)})


def test_bass_bias_is_the_experts_log_ratios_times_temperature():
    params = guide.initialize(GuideConfig(harmony_sizes=(8,), rhythm_sizes=(6,)), jax.random.key(0))
    random = np.random.default_rng(0)
    melody = np.where(random.random((2, 256)) < 0.3, random.integers(2, 90, (2, 256)), 0).astype(np.int32)
    drums = np.where(random.random((2, 256)) < 0.3, random.integers(0, 512, (2, 256)), 0).astype(np.int32)
    found = np.asarray(guidance.bass_bias(params, 2.0, 0.5, 0.0, melody, drums, np.array([1.0, 0.25], np.float32)))
    assert (found[:, :, :2] == 0).all()
    ratio = np.asarray(guide.harmony(params, melody)) + np.log(12)
    odds = np.asarray(guide.rhythm(params, melody, drums) - guide.place(params))
    for step, pitch in ((0, 36), (77, 43), (255, 28)):
        expected = 2.0 * ratio[:, step // 4, pitch % 12] + 0.5 * odds[:, step]
        np.testing.assert_allclose(found[:, step, pitch - 19], expected * [1.0, 0.25], rtol=1e-4, atol=1e-5)


def test_a_biased_part_on_several_devices_equals_one(tiny):
    model, z_BZ, keys_B = tiny
    shared = sampler.Sampler(PRESETS["tiny"], model._params, devices=jax.devices())
    expected = model(z_BZ, keys_B, 1.0, ("drums", "bass"), bias=noise())
    np.testing.assert_array_equal(shared(z_BZ, keys_B, 1.0, ("drums", "bass"), bias=noise()), expected)


def test_notes_near_the_melody_are_unlikely_where_it_lies_high():
    params = jax.tree.map(
        np.zeros_like, guide.initialize(GuideConfig(harmony_sizes=(8,), rhythm_sizes=(6,)), jax.random.key(0))
    )
    melody = np.zeros((3, 256), np.int32)
    melody[:, 0] = 72 - 19
    melody[1, 32:] = 62 - 19  # the third bar and on
    melody[2, :] = 50 - 19
    bias = np.asarray(guidance.bass_bias(params, 1.0, 1.0, 1.0, melody, 0 * melody, np.ones(3, np.float32)))
    said = {(row, step): np.flatnonzero(bias[row, step]) + 19 for row in range(3) for step in (0, 16, 255)}
    assert [pitches.min() if len(pitches) else None for pitches in said.values()] == [
        68,
        68,
        68,
        68,
        58,
        58,
        *[None] * 3,
    ]
    assert (bias <= 0).all()
    np.testing.assert_allclose(bias[1, 16, 58 - 19], -0.4 * (62 - 52), rtol=1e-6)
    silent = guidance.bass_bias(params, 1.0, 1.0, 1.0, 0 * melody, 0 * melody, np.ones(3, np.float32))
    assert not np.asarray(silent).any()


def test_rows_of_the_same_melody_and_drums_get_the_bias_that_each_gets_alone():
    config = GuideConfig(harmony_sizes=(8,), rhythm_sizes=(6,))
    params = guide.initialize(config, jax.random.key(0))
    random = np.random.default_rng(3)
    melody = np.where(random.random((2, 256)) < 0.3, random.integers(2, 90, (2, 256)), 0).astype(np.int32)
    drums = np.where(random.random((2, 256)) < 0.4, random.integers(1, 512, (2, 256)), 0).astype(np.int32)
    rows = np.array([1, 0, 1, 1, 0])
    together = np.asarray(guidance.of_rows(config, params, melody[rows], drums[rows], 0.8))
    for place, row in enumerate(rows):
        alone = guidance.of_rows(config, params, melody[row : row + 1], drums[row : row + 1], 0.8)
        np.testing.assert_array_equal(together[place], alone[0])
    waiting = guidance.of_rows(config, params, melody[rows], jax.numpy.asarray(drums[rows]), 0.8)
    np.testing.assert_array_equal(together, waiting)
