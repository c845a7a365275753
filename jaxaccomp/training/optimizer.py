"""The optimizer: schedules, update rules, clipping, and rates that differ between groups of parameters."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxaccomp.arrays import VOCABULARY
from jaxaccomp.training.recipe import Recipe

REFERENCE_RATES = (1e-3, 1e-5, 0.9999)
"""First rate, last rate and decay of the original's schedule."""


def schedule(recipe: Recipe) -> Callable[[Any], Any]:
    """The learning rate's shape over the run, as a factor of the peak rate; a function of the step before the update.

    The reference's shape is `(1e-3 - 1e-5) 0.9999^step + 1e-5` over its first value, without warm-up.
    """
    if recipe.schedule == "reference":
        first, last, decay = REFERENCE_RATES
        return lambda step: ((first - last) * decay ** jnp.asarray(step, jnp.float32) + last) / first

    def factor(step):
        step = jnp.asarray(step, jnp.float32)
        rise = jnp.minimum(1.0, (step + 1) / max(recipe.warmup, 1))
        done = jnp.clip((step - recipe.warmup) / max(recipe.steps - recipe.warmup, 1), 0.0, 1.0)
        if recipe.schedule == "constant":
            fall = 1.0
        elif recipe.schedule == "trapezoid":
            fall = jnp.minimum(1.0, (1.0 - done) / recipe.cooldown)
        else:
            fall = 0.5 * (1.0 + jnp.cos(jnp.pi * done))
        return rise * fall

    return factor


def scale_by_reference_adam(b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> optax.GradientTransformation:
    """Adam as TensorFlow writes it: `m sqrt(1 - b2^t) / (1 - b1^t) / (sqrt(v) + eps)`.

    Here eps is not divided by the correction of v, so it weighs more in the first steps than in optax's form; after
    clipping to norm 1 most single gradients are small enough to feel it.
    """

    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return optax.ScaleByAdamState(count=jnp.zeros([], jnp.int32), mu=zeros, nu=zeros)

    def update(gradients, state, params=None):
        del params
        count = state.count + 1
        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, gradients)
        nu = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.nu, gradients)
        steps = count.astype(jnp.float32)
        correction = jnp.sqrt(1 - b2**steps) / (1 - b1**steps)
        updates = jax.tree.map(lambda m, v: correction * m / (jnp.sqrt(v) + eps), mu, nu)
        return updates, optax.ScaleByAdamState(count=count, mu=mu, nu=nu)

    return optax.GradientTransformation(init, update)


def clip(limit: float, zero_above: float = 1e4) -> optax.GradientTransformation:
    """Clipping by global norm; a gradient whose norm reaches `zero_above` counts as an accident and becomes zero.

    Source: magenta lstm training's `grad_norm_clip_to_zero` @526d3eb.
    """

    def update(gradients, state, params=None):
        del params
        norm = optax.tree.norm(gradients)
        factor = jnp.where(norm < zero_above, jnp.minimum(1.0, limit / jnp.maximum(norm, 1e-12)), 0.0)
        return jax.tree.map(lambda g: jnp.where(factor > 0, g * factor, 0.0), gradients), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def optimizer(recipe: Recipe, rates: Any) -> optax.GradientTransformation:
    """Clip → update rule → weight decay → rate of each parameter × schedule.

    Args:
        recipe: names the rule, the schedule and the limits.
        rates: a tree like the parameters' of peak learning rates, each a number or broadcastable to its parameter.
    """
    rule = {
        "adam": optax.scale_by_adam(),
        "reference": scale_by_reference_adam(),
        "rmsprop": optax.scale_by_rms(decay=0.9, eps=1e-7),
    }[recipe.optimizer]
    decay = optax.add_decayed_weights(
        recipe.weight_decay, mask=lambda params: jax.tree.map(lambda p: p.ndim > 1, params)
    )
    return optax.chain(
        clip(recipe.clip),
        rule,
        decay if recipe.weight_decay else optax.identity(),
        optax.scale_by_schedule(schedule(recipe)),
        optax.stateless(lambda updates, _: jax.tree.map(lambda u, rate: -rate * u, updates, rates)),
    )


def musicvae_rates(params: Any, fast: float, slow: float) -> Any:
    """Peak rates of a MusicVAE: `fast` for decoder cells, token rows and heads, `slow` for everything between.

    At the fast rate the way through the latent falls apart while the loss still looks well; at the slow one the
    decoders take hours to learn what a bar is. Token rows share a kernel with rows that are not, hence the columns.
    """
    tokens = sum(VOCABULARY.values())

    def rate(path, param):
        names = [entry.key for entry in path]
        if names[0].startswith("decoder_"):
            return slow if names[1] == "initial_state" else fast
        if names[:2] == ["encoder", "layer_0"] and names[-1] == "kernel":
            return jnp.where(jnp.arange(param.shape[0]) < tokens, fast, slow)[:, None]
        return slow

    return jax.tree_util.tree_map_with_path(rate, params)


def surrogate_rates(params: Any, fast: float, slow: float) -> Any:
    """Peak rates of a surrogate: `fast` for its heads, `slow` for its layers."""
    rates = {name: slow if name.startswith("layer_") else fast for name in params}
    return {name: jax.tree.map(lambda _, rate=rates[name]: rate, subtree) for name, subtree in params.items()}
