import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxaccomp.arrays import PARTS
from jaxaccomp.config import PRESETS, ModelConfig
from jaxaccomp.errors import DatasetError
from jaxaccomp.evaluation import heldout, likelihood, metrics, performance
from jaxaccomp.evaluation.likelihood import Likelihood
from jaxaccomp.models.musicvae import Posterior

TINY = PRESETS["tiny"]
SETTINGS = metrics.Settings(samples=4, batch_size=4, temperatures=((0.5, 0.25), (1.0, 1.0)), spreads=(1.0, 0.0))


@pytest.fixture(scope="module")
def windows(latents_folder):
    return heldout.read(latents_folder)


@pytest.fixture(scope="module")
def report(tiny_model, windows):
    seen = []
    found = metrics.evaluate(*tiny_model, windows, SETTINGS, seen.append)
    return found | {"progress": sum(seen)}


def test_every_source_has_every_figure(report):
    assert (report["windows"], report["songs"], report["sampled_windows"]) == (10, 3, 4)
    for table in ("nll", "nll_by_song", "accuracy", "onset_accuracy"):
        assert list(report[table]) == list(metrics.SOURCES)
        for parts in report[table].values():
            assert list(parts) == list(PARTS)
    assert list(report["statistics"]) == ["real", "real_shuffled", *metrics.SOURCES]
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_progress_counts_what_was_announced(report, windows):
    assert report["progress"] == metrics.work(windows, SETTINGS, has_surrogate=True)


def test_likelihoods_are_those_of_the_named_latents(report, tiny_model, windows):
    _, params = tiny_model
    for source, z_NZ in (("encoder", windows.mean_NZ), ("prior_mean", 0 * windows.mean_NZ)):
        scored = likelihood.teacher_forced(TINY, params["musicvae"], windows.tokens_NLP, z_NZ, batch_size=4)
        for part in PARTS:
            assert report["nll"][source][part] == pytest.approx(scored[part].nll_N.mean(), rel=1e-5)
            by_song = [scored[part].nll_N[windows.song_N == song].mean() for song in range(3)]
            assert report["nll_by_song"][source][part] == pytest.approx(np.mean(by_song), rel=1e-5)


def test_gap_closed_is_its_formula(report):
    for part in ("bass", "drums"):
        floor, ours, ceiling = (report["nll"][source][part] for source in ("prior_mean", "surrogate", "encoder"))
        assert report["gap_closed"][part] == pytest.approx((floor - ours) / (floor - ceiling), rel=1e-9)
        assert (report["gap_closed_interval"][part] is None) == (floor <= ceiling)


def scored_with(**nll):
    zeros = np.zeros(4, np.int64)
    return {s: {part: Likelihood(np.array(v, float), zeros, zeros, zeros) for part in PARTS} for s, v in nll.items()}


def test_gap_closed_of_known_likelihoods():
    songs = np.array([0, 0, 1, 2])
    half = scored_with(prior_mean=[10, 20, 30, 40], surrogate=[8, 16, 24, 32], encoder=[6, 12, 18, 24])
    found = metrics._gap_closed(half, songs, seed=0)
    assert found["gap_closed"] == {"bass": pytest.approx(0.5), "drums": pytest.approx(0.5)}
    assert found["gap_closed_interval"]["bass"] == pytest.approx([0.5, 0.5])
    uneven = scored_with(prior_mean=[10] * 4, surrogate=[5, 5, 5, 10], encoder=[5] * 4)
    found = metrics._gap_closed(uneven, songs, seed=0)
    assert found["gap_closed"]["bass"] == pytest.approx(0.75)
    low, high = found["gap_closed_interval"]["bass"]
    assert low < 0.5
    assert high == 1
    dead = scored_with(prior_mean=[10] * 4, surrogate=[9] * 4, encoder=[10] * 4)
    nothing = {"bass": None, "drums": None}
    assert metrics._gap_closed(dead, songs, seed=0) == {"gap_closed": nothing, "gap_closed_interval": nothing}
    misleading = scored_with(prior_mean=[10] * 4, surrogate=[9] * 4, encoder=[12] * 4)
    found = metrics._gap_closed(misleading, songs, seed=0)
    assert found == {"gap_closed": {"bass": -0.5, "drums": -0.5}, "gap_closed_interval": nothing}


def test_a_surrogate_that_guesses_right_and_one_that_guesses_nothing(windows):
    right = metrics._agreement(windows, Posterior(windows.mean_NZ, windows.scale_NZ))
    assert right["r_squared"] == 1
    assert right["cosine"] == pytest.approx(1)
    assert right["kl_to_surrogate"] == pytest.approx(0, abs=1e-5)
    assert right["calibration"]["mean_square"] == pytest.approx(1)
    average = np.broadcast_to(windows.mean_NZ.mean(0), windows.mean_NZ.shape)
    assert metrics._agreement(windows, Posterior(average, windows.scale_NZ))["r_squared"] == pytest.approx(0, abs=1e-5)
    certain = metrics._agreement(windows, Posterior(windows.mean_NZ, windows.scale_NZ), has_scale=False)
    assert certain["calibration"] is None
    assert certain["kl_to_surrogate"] is None


def test_the_same_seed_gives_the_same_report(report, tiny_model, windows):
    again = metrics.evaluate(*tiny_model, windows, dataclasses.replace(SETTINGS))
    volatile = {"seconds", "progress"}
    assert {k: v for k, v in again.items() if k not in volatile} == {
        k: v for k, v in report.items() if k not in volatile
    }


def test_the_sweep_tries_every_pair(report):
    tried = [(row["temperature"]["bass"], row["temperature"]["drums"], row["spread"]) for row in report["sweep"]]
    assert tried == [(0.5, 0.25, 1.0), (0.5, 0.25, 0.0), (1.0, 1.0, 1.0), (1.0, 1.0, 0.0)]
    assert report["temperature"] == {"bass": 0.5, "drums": 0.25}


def test_a_checkpoint_without_surrogate_leaves_its_rows_empty(tiny_model, windows):
    config, params = tiny_model
    bare = ModelConfig(musicvae=config.musicvae)
    found = metrics.evaluate(bare, {"musicvae": params["musicvae"], "surrogate": None}, windows, SETTINGS)
    assert found["nll"]["surrogate"] is None
    assert found["statistics"]["surrogate_sample"] is None
    assert found["gap_closed"] is None
    assert found["latent"]["r_squared"] is None
    assert found["sweep"] == []
    assert found["nll"]["encoder"]["bass"] > 0


def test_a_single_song_has_no_shuffled_rows(tiny_model, latents_folder):
    alone = heldout.read(latents_folder, ("train",))
    found = metrics.evaluate(
        *tiny_model, alone, dataclasses.replace(SETTINGS, temperatures=((0.5, 0.5),), spreads=(1.0,))
    )
    assert found["nll"]["shuffled"] is None
    assert found["statistics"]["real_shuffled"] is None
    assert found["overlap"]["real_halves"] is None


def test_latents_of_other_models(tiny_model, windows, report):
    config, params = tiny_model
    assert report["latents_are_this_encoders"]
    other = params | {"musicvae": jax.tree.map(lambda x: -x, params["musicvae"])}
    assert not metrics._same_encoder(config, other, windows, 4)
    rounded = params | {
        "musicvae": jax.tree.map(lambda x: x.astype(jnp.bfloat16).astype(jnp.float32), params["musicvae"])
    }
    assert metrics._same_encoder(config, rounded, windows, 4)
    short = dataclasses.replace(windows, mean_NZ=windows.mean_NZ[:, :5], scale_NZ=windows.scale_NZ[:, :5])
    with pytest.raises(DatasetError, match="these latents have 5 dimensions, the checkpoint's 8"):
        metrics.evaluate(config, params, short, SETTINGS)


def test_decoding_does_not_depend_on_the_batch_size(tiny_params, windows):
    bands = [performance.Band(TINY, tiny_params, 0, size, lambda n: None) for size in (3, 7)]
    few, all_ = (band.decode(windows.mean_NZ, (0.8, 0.8)) for band in bands)
    np.testing.assert_array_equal(few, all_)
    assert (bands[0].decode(windows.mean_NZ, (0.8, 0.8), number=1) != few).any()


def test_what_was_decoded_greedily_is_reconstructed_wholly(tiny_params, windows):
    band = performance.Band(TINY, tiny_params, 0, 4, lambda n: None)
    greedy = band.decode(windows.mean_NZ, (0.0, 0.0, 0.0), PARTS)
    found = performance.reconstruction(band, dataclasses.replace(windows, tokens_NLP=greedy))
    assert set(found["accuracy"].values()) == {1.0}
    real = performance.reconstruction(band, windows)
    assert real["accuracy"]["bass"] == pytest.approx((greedy == windows.tokens_NLP)[:, :, 1].mean())


def test_real_songs_overlap_with_themselves(windows):
    assert performance.overlaps(windows.tokens_NLP, windows.tokens_NLP)["mean"] == pytest.approx(1)
