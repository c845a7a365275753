"""The surrogate's objective: what it measures, and that the loop can bring it to know a small set by heart."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_up import SMALL, tokens, write

from jaxaccomp.arrays import PARTS, STEPS
from jaxaccomp.config import ModelConfig, SurrogateConfig
from jaxaccomp.data.batches import Batches
from jaxaccomp.models import musicvae
from jaxaccomp.models.musicvae import Posterior
from jaxaccomp.training import loop, metrics_log, objectives
from jaxaccomp.training.recipe import SurrogateRecipe

CONFIG = ModelConfig(musicvae=SMALL, surrogate=SurrogateConfig(sizes=(32,), latent_size=SMALL.latent_size))


@pytest.fixture(scope="module")
def vae():
    return musicvae.initialize(SMALL, jax.random.key(0))


@pytest.fixture(scope="module")
def latents_folder(vae, tmp_path_factory) -> Path:
    """64 windows and random posteriors, the same in both splits."""
    random = np.random.default_rng(1)
    windows = tokens(random, 64)
    song = {part: windows[..., number] for number, part in enumerate(PARTS)}
    song["mean"] = random.standard_normal((64, SMALL.latent_size)).astype(np.float32)
    song["scale"] = np.full((64, SMALL.latent_size), 0.1, np.float32)
    columns = {part: ((STEPS,), np.int16) for part in PARTS} | {"song": ((), str)}
    columns |= {name: ((SMALL.latent_size,), np.float32) for name in ("mean", "scale")}
    folder = tmp_path_factory.mktemp("latents")
    splits = {"train": [song], "validation": [song]}
    return write(folder, "trio_latents", columns, splits, latent_size=SMALL.latent_size)


def train(folder: Path, workdir: Path, vae, recipe: SurrogateRecipe) -> dict:
    """Trains; returns the last measurement on the validation split."""
    workdir.mkdir(exist_ok=True)
    batches = [Batches(folder, split, batch_size=recipe.batch_size) for split in ("train", "validation")]
    objective = objectives.SurrogateObjective(CONFIG, recipe)
    loop.train(objective, recipe, *batches, workdir, frozen=vae, devices=jax.devices()[:1])
    return [line for line in metrics_log.read(workdir / "metrics.jsonl") if "validation" in line][-1]


@pytest.mark.slow
def test_it_knows_64_windows_by_heart(latents_folder, vae, tmp_path):
    recipe = SurrogateRecipe(
        steps=300, batch_size=64, learning_rate=1e-2, slow_learning_rate=1e-2, warmup=10, ema=0.9,
        matching="mse", decoder_weight=0.0, lowest_shift=0, highest_shift=0, evaluate_every=300, checkpoint_every=300,
    )  # fmt: skip
    measured = train(latents_folder, tmp_path, vae, recipe)
    assert measured["validation_r2"] > 0.99
    assert measured["validation_cosine"] > 0.99
    assert measured["validation_norm"] == pytest.approx(1.0, abs=0.1)


def test_the_decoder_has_its_say_from_its_step_on(latents_folder, vae, tmp_path):
    recipe = SurrogateRecipe(
        steps=6, batch_size=8, decoder_weight=1.0, decoder_from=0.5, log_every=1, evaluate_windows=8
    )
    measured = train(latents_folder, tmp_path, vae, recipe)
    lines = [line for line in metrics_log.read(tmp_path / "metrics.jsonl") if "distance" in line]
    assert [line["nll_bass"] > 0 for line in lines] == [False] * 3 + [True] * 3
    for line in lines[:3]:
        assert line["loss"] == pytest.approx(line["distance"], rel=1e-6)
    for line in lines[3:]:
        expected = recipe.matching_weight * line["distance"] + line["nll_bass"] + line["nll_drums"]
        assert line["loss"] == pytest.approx(expected, rel=1e-5)
    assert measured["validation"] == pytest.approx(measured["validation_nll_bass"] + measured["validation_nll_drums"])


def test_divergence_is_zero_for_the_same_and_asks_for_cover():
    mean_BZ, scale_BZ = jnp.zeros((1, 4)), jnp.ones((1, 4))
    target = Posterior(mean_BZ, scale_BZ)
    assert objectives.posterior_divergence_B(target, target) == 0
    narrow = objectives.posterior_divergence_B(target, Posterior(mean_BZ, 0.5 * scale_BZ))
    wide = objectives.posterior_divergence_B(target, Posterior(mean_BZ, 2.0 * scale_BZ))
    assert narrow > wide > 0
    np.testing.assert_allclose(wide, 4 * (np.log(2) + 1 / 8 - 1 / 2), rtol=1e-6)


def test_transposition_keeps_intervals_and_drums():
    tokens_BLP = jnp.asarray(tokens(np.random.default_rng(3), 400), jnp.int32)
    keys_B = jax.random.split(jax.random.key(0), 400)
    moved_BLP = objectives.transpose(tokens_BLP, keys_B, -5, 6)
    np.testing.assert_array_equal(moved_BLP[..., 2], tokens_BLP[..., 2])
    shift_BLK = np.asarray(moved_BLP - tokens_BLP)[..., :2]
    notes_BLK = np.asarray(tokens_BLP)[..., :2] >= 2
    assert (shift_BLK[~notes_BLK] == 0).all()
    shifts = [set(shift[notes].tolist()) for shift, notes in zip(shift_BLK, notes_BLK, strict=True)]
    assert all(len(found) == 1 for found in shifts)
    assert set.union(*shifts) == set(range(-5, 7))


def test_transposition_never_leaves_the_keyboard():
    edges_BLP = jnp.zeros((64, STEPS, 3), jnp.int32).at[:, 0].set(jnp.array([2, 89, 1]))
    moved_BLP = objectives.transpose(edges_BLP, jax.random.split(jax.random.key(0), 64), -5, 6)
    np.testing.assert_array_equal(moved_BLP, edges_BLP)
