"""MusicVAE and its surrogate trained together: what loss and figures mean, and what each part of a window teaches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_up import SMALL, tokens

from jaxaccomp.config import ModelConfig
from jaxaccomp.models import musicvae, surrogate
from jaxaccomp.training.objectives import JointObjective
from jaxaccomp.training.objectives import nll_BP as nll_of
from jaxaccomp.training.objectives.joint import measuring_noise_BZ, unit_mask_BH
from jaxaccomp.training.recipe import JointRecipe

CONFIG = ModelConfig(musicvae=SMALL, surrogate=surrogate.matching(SMALL))
NEVER = (0.0, 0.0, 0.0)
PLAIN = {"token_dropout": NEVER, "unit_dropout": NEVER, "encoder_token_dropout": NEVER, "encoder_unit_dropout": 0.0}


@pytest.fixture(scope="module")
def params():
    return JointObjective(CONFIG, JointRecipe()).initial(jax.random.key(0))


@pytest.fixture(scope="module")
def batch():
    return {"tokens": jnp.asarray(tokens(np.random.default_rng(3), 4), jnp.int32)}


def kl(q, s):
    """KL between diagonal normals, dimension by dimension, in float64."""
    (m, a), (n, b) = ((np.asarray(x.mean_BZ, float), np.asarray(x.scale_BZ, float)) for x in (q, s))
    return (np.log(b / a) + (a**2 + (m - n) ** 2) / (2 * b**2) - 0.5).sum(-1)


def test_loss_is_nll_and_both_divergences_with_their_weights(params, batch):
    recipe = JointRecipe(steps=10, beta=0.5, last_beta=1.0, prior_beta=0.3, free_bits=1.0, melody_weight=0.25, **PLAIN)
    keys_B = jax.random.split(jax.random.key(1), 4)
    loss, metrics = jax.jit(JointObjective(CONFIG, recipe).loss)(params, None, batch, keys_B, jnp.asarray(5))
    q = jax.jit(musicvae.encode)(params["musicvae"], batch["tokens"])
    s = jax.jit(surrogate.encode)(params["surrogate"], batch["tokens"][..., 0])
    eps_BZ = jnp.stack([jax.random.normal(jax.random.fold_in(key, 1), (3,)) for key in keys_B])
    logits = jax.jit(musicvae.logits)(params["musicvae"], batch["tokens"], q.mean_BZ + q.scale_BZ * eps_BZ)
    nll_P = np.asarray(nll_of(logits, batch["tokens"])).mean(0)
    excess = np.maximum(np.asarray(musicvae.kl_B(q)) - np.log(2), 0).mean()
    expected = nll_P @ [0.25, 1, 1] + 0.75 * kl(q, s).mean() + 0.3 * excess
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert float(metrics["code_length"]) == pytest.approx(nll_P[1] + nll_P[2] + kl(q, s).mean(), rel=1e-5)


def test_validation_is_the_code_length_of_the_band(params, batch):
    objective = JointObjective(CONFIG, JointRecipe(**PLAIN))
    means = {name: np.asarray(value).mean(0) for name, value in jax.jit(objective.measure)(params, None, batch).items()}
    summary = objective.summary(means)
    parts = summary["nll_bass"] + summary["nll_drums"] + summary["kl_surrogate"]
    assert summary["validation"] == pytest.approx(parts, rel=1e-6)
    assert summary["nll_bass_surrogate"] > 0


def test_a_window_of_drums_alone_teaches_nothing_of_melody_and_bass(params, batch):
    alone = {"tokens": batch["tokens"].at[:2, :, :2].set(-1)}
    recipe = JointRecipe(steps=10, drum_windows=0.25, melody_weight=0.5, beta=1.0, prior_beta=0.0, **PLAIN)
    keys_B = jax.random.split(jax.random.key(1), 4)
    loss = jax.jit(JointObjective(CONFIG, recipe).loss)
    total, metrics = loss(params, None, alone, keys_B, jnp.asarray(0))
    q = jax.jit(musicvae.encode)(params["musicvae"], alone["tokens"])
    s = jax.jit(surrogate.encode)(params["surrogate"], alone["tokens"][..., 0])
    eps_BZ = jnp.stack([jax.random.normal(jax.random.fold_in(key, 1), (3,)) for key in keys_B])
    logits = jax.jit(musicvae.logits)(params["musicvae"], alone["tokens"], q.mean_BZ + q.scale_BZ * eps_BZ)
    known = np.array([[0, 0, 1], [0, 0, 1], [1, 1, 1], [1, 1, 1]])
    nll_BP = np.asarray(nll_of(logits, batch["tokens"])) * known
    expected = (nll_BP.mean(0) @ [0.5, 1, 1]) + kl(q, s).mean()
    assert float(total) == pytest.approx(expected, rel=1e-5)
    # three quarters are expected to be known: what is printed is a mean over those
    assert float(metrics["nll_bass"]) == pytest.approx(nll_BP[:, 1].mean() / 0.75, rel=1e-5)
    everything = {"tokens": alone["tokens"].at[2:, :, :2].set(-1)}
    gradient = jax.jit(jax.grad(lambda p: JointObjective(CONFIG, recipe).loss(p, None, everything, keys_B, 0)[0]))
    of = gradient(params)["musicvae"]
    for part in ("melody", "bass"):
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(of[f"decoder_{part}"]))
    assert all(np.any(leaf) for leaf in jax.tree.leaves(of["decoder_drums"]["output"]))
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(of))


def test_measuring_draws_belong_to_the_window_not_to_the_batch(batch):
    tokens_BLP = batch["tokens"]
    whole, turned = measuring_noise_BZ(tokens_BLP, 3), measuring_noise_BZ(tokens_BLP[::-1], 3)
    np.testing.assert_array_equal(whole, turned[::-1])
    assert len(np.unique(np.asarray(whole))) == whole.size


def test_silenced_units_keep_the_mean_and_differ_between_layers():
    keys_B = jax.random.split(jax.random.key(0), 64)
    one, other = (np.asarray(unit_mask_BH(keys_B, place, 256, 0.25)) for place in range(2))
    assert set(np.unique(one)) == {0.0, np.float32(1 / 0.75)}
    assert one.mean() == pytest.approx(1.0, abs=0.02)
    assert (one != other).mean() == pytest.approx(2 * 0.25 * 0.75, abs=0.02)


def test_unit_dropout_of_one_part_leaves_the_others(params, batch):
    z_BZ = jnp.ones((4, 3))
    logits = jax.jit(musicvae.logits)
    plain = logits(params["musicvae"], batch["tokens"], z_BZ)
    silent = logits(params["musicvae"], batch["tokens"], z_BZ, unit_masks={"drums": [jnp.zeros((4, 6))]})
    np.testing.assert_array_equal(silent["bass"], plain["bass"])
    bias_V = params["musicvae"]["decoder_drums"]["output"]["bias"]
    np.testing.assert_allclose(silent["drums"], jnp.broadcast_to(bias_V, silent["drums"].shape), atol=1e-6)
