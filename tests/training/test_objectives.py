"""The VAE objective against TensorFlow's own numbers: loss, gradients and three optimiser steps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxaccomp.training import objectives
from jaxaccomp.training.optimizer import optimizer
from jaxaccomp.training.recipe import VAERecipe
from jaxaccomp.weights import porting

REFERENCE = VAERecipe(
    optimizer="reference", schedule="reference", learning_rate=1e-3, slow_learning_rate=1e-3, clip=1.0, beta=0.2
)


@pytest.fixture(scope="module")
def model(golden):
    config, params = porting.port(golden / "musicvae")
    return config, jax.tree.map(jnp.asarray, params)


@pytest.fixture(scope="module")
def numbers(golden):
    with np.load(golden / "musicvae" / "train.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def loss_and_gradient(model, numbers):
    config, _ = model
    tokens_BLP, eps_BZ = jnp.asarray(numbers["tokens"]), jnp.asarray(numbers["eps"])

    @jax.jit
    def value(params, step):
        def loss(params):
            beta = objectives.beta_at(step, REFERENCE)
            return objectives.vae_loss(
                config, params, tokens_BLP, eps_BZ, beta=beta, free_bits=float(numbers["free_bits"])
            )

        return jax.value_and_grad(loss, has_aux=True)(params)

    return value


@pytest.mark.parametrize("step", [0, 1, 1234])
def test_loss_is_the_references(model, numbers, loss_and_gradient, step):
    (loss, metrics), gradient = loss_and_gradient(model[1], step)
    wanted = {name.split("/")[1]: value for name, value in numbers.items() if name.startswith(f"step{step}/")}
    np.testing.assert_allclose(loss, wanted["loss"], rtol=1e-6)
    np.testing.assert_allclose(metrics["nll"], wanted["r_loss"].mean(), rtol=1e-6)
    np.testing.assert_allclose(metrics["kl_cost"], wanted["kl_cost"].mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["kl_bits"], wanted["kl_bits"].mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["beta"], wanted["beta"])
    np.testing.assert_allclose(optax.tree.norm(gradient), wanted["grad_norm"], rtol=1e-5)


def test_gradients_are_the_references(model, numbers, loss_and_gradient):
    gradient = porting.names_from_params(loss_and_gradient(model[1], 1234)[1])
    assert len(gradient) == 42
    for name, value in gradient.items():
        wanted = numbers[f"grad/{name}"]
        np.testing.assert_allclose(value, wanted, atol=1e-5 * max(1.0, np.abs(wanted).max()), err_msg=name)


def test_three_steps_are_the_references(model, numbers, loss_and_gradient):
    """Schedule, clipping and Adam in TensorFlow's form: optax's own form is off by 6e-4 after a step of 9e-4."""
    params = jax.tree.map(jnp.asarray, model[1])
    transform = optimizer(REFERENCE, jax.tree.map(lambda _: 1e-3, params))
    moments = transform.init(params)
    # The reference went on at global step 1234 with fresh slots: only the schedule's counter starts there.
    moments = tuple(
        state._replace(count=jnp.asarray(1234)) if isinstance(state, optax.ScaleByScheduleState) else state
        for state in moments
    )
    for number in (1, 2, 3):
        (loss, _), gradient = loss_and_gradient(params, 1233 + number)
        updates, moments = transform.update(gradient, moments, params)
        params = optax.apply_updates(params, updates)
        after, _ = loss_and_gradient(params, 1234 + number)
        np.testing.assert_allclose(after[0], numbers[f"after{number}/loss"], rtol=2e-6)
        assert after[0] < loss
    for name, value in porting.names_from_params(params).items():
        error = np.abs(value - numbers[f"after3/{name}"])
        # Where a clipped gradient is about as small as eps, its float32 rounding shows in the step.
        assert np.mean(error > 2e-6) < 0.05, name
        assert error.max() < 1e-4, name


def test_an_exploded_gradient_becomes_zero():
    params = {"kernel": jnp.ones((2, 2))}
    transform = optimizer(REFERENCE, {"kernel": 1e-3})
    updates, _ = transform.update({"kernel": jnp.full((2, 2), 1e5)}, transform.init(params), params)
    np.testing.assert_array_equal(updates["kernel"], 0)


@pytest.mark.slow
def test_hidden_tokens_are_not_seen_by_their_decoder(model, numbers):
    """All kept is as if nothing could be hidden; all hidden makes the windows less likely."""
    config, params = model
    tokens_BLP, eps_BZ = jnp.asarray(numbers["tokens"][:2]), jnp.asarray(numbers["eps"][:2])
    kept_BLP = jnp.ones(tokens_BLP.shape, bool)
    every, _ = objectives.vae_loss(config, params, tokens_BLP, eps_BZ, beta=0.0, free_bits=0.0)
    same, _ = objectives.vae_loss(config, params, tokens_BLP, eps_BZ, beta=0.0, free_bits=0.0, kept_BLP=kept_BLP)
    none, _ = objectives.vae_loss(config, params, tokens_BLP, eps_BZ, beta=0.0, free_bits=0.0, kept_BLP=~kept_BLP)
    assert every == same
    assert abs(every - none) > 1


def test_share_of_hidden_tokens_is_the_rate():
    keys_B = jax.random.split(jax.random.key(0), 64)
    kept_BLP = objectives.kept_tokens(keys_B, (0.0, 0.2, 0.5))
    np.testing.assert_allclose(1 - kept_BLP.mean((0, 1)), (0.0, 0.2, 0.5), atol=0.02)


def test_onset_accuracy_does_not_reward_silence():
    tokens_BLP = jnp.zeros((1, 256, 3), jnp.int32).at[0, ::16].set(jnp.array([40, 20, 1]))
    silence = {part: jnp.zeros((1, 256, 512)).at[..., 0].set(1.0) for part in ("melody", "bass", "drums")}
    measured = jax.tree.map(lambda x: x.mean(0), objectives.hits(silence, tokens_BLP))
    found = objectives.accuracies(measured)
    assert found["accuracy_melody"] == pytest.approx(1 - 1 / 16)
    assert found["onset_accuracy_melody"] == found["onset_accuracy_bass"] == found["onset_accuracy_drums"] == 0
