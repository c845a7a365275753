"""What is minimised: the reference's VAE loss, as a pure function and with the changes of data that training adds.

An objective is what the loop needs to know of a model. Its methods are pure functions of parameters, a batch and one
key for each window of the batch; a window's randomness thus depends on the step and its place in the whole batch, not
on the number of devices.
"""

import math
from collections.abc import Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from jaxaccomp.arrays import PARTS, STEPS
from jaxaccomp.config import MusicVAEConfig
from jaxaccomp.models import musicvae
from jaxaccomp.models.musicvae import MusicVAE
from jaxaccomp.training.optimizer import musicvae_rates
from jaxaccomp.training.recipe import VAERecipe

BIT = math.log(2.0)
"""Nats in a bit."""

Batch = Mapping[str, Array]
Metrics = dict[str, Array]


class Objective(Protocol):
    """What the loop asks of a model and its loss."""

    def initial(self, key: Key[Array, ""]) -> Any:
        """Parameters to start from."""

    def rates(self, params: Any) -> Any:
        """Peak learning rate of each parameter, as a tree like the parameters'."""

    def loss(
        self, params: Any, frozen: Any, batch: Batch, keys_B: Key[Array, " B"], step: Int[Array, ""]
    ) -> tuple[Float[Array, ""], Metrics]:
        """Mean loss of a batch, and its parts for the log."""

    def measure(self, params: Any, frozen: Any, batch: Batch) -> Metrics:
        """What one batch of the validation split says, an array [B, …] for each name; no randomness."""

    def summary(self, means: Mapping[str, float]) -> dict[str, float]:
        """Validation metrics from the means of what `measure` gave; `validation` is the number to get down."""


def nll_BP(logits: Mapping[str, Float[Array, "B L V"]], tokens_BLP: Int[Array, "B L P"]) -> Float[Array, "B parts"]:
    """Negative log-likelihood of each window and part in `logits`, nats, summed over the window."""
    return jnp.sum(musicvae.nll_BSP(logits, tokens_BLP), axis=1)


def kept_tokens(keys_B: Key[Array, " B"], rates: tuple[float, ...]) -> Bool[Array, "B L P"]:
    """Which tokens the decoders may see as the previous one: each is hidden by its part's rate, independently.

    What a decoder cannot copy from its neighbour it has to take from z.
    """
    draw_BLP = jax.vmap(lambda key: jax.random.uniform(key, (STEPS, len(PARTS))))(keys_B)
    return draw_BLP >= jnp.array(rates)


def vae_loss(
    config: MusicVAEConfig,
    params: Any,
    tokens_BLP: Int[Array, "B L P"],
    eps_BZ: Float[Array, "B Z"],
    *,
    beta: Any,
    free_bits: float,
    kept_BLP: Bool[Array, "B L P"] | None = None,
    dtype: Any = None,
) -> tuple[Float[Array, ""], Metrics]:
    """The reference's loss: cross entropy of the whole window + beta × KL above the free bits, mean over windows.

    Args:
        config: sizes of the model.
        params: its parameters.
        tokens_BLP: windows to encode and to decode, teacher-forced.
        eps_BZ: standard normal noise; z = mean + scale × eps.
        beta: weight of the KL term.
        free_bits: bits of a window's total KL that cost nothing.
        kept_BLP: tokens the decoders may see as the previous one; None: all.
        dtype: type matrix products round their operands to; None keeps float32.

    Returns:
        The loss in nats, and means over windows: `loss`, `nll` (summed over parts), `nll_<part>`, `kl` (nats),
        `kl_bits`, `kl_cost`, `beta`.

    Source: magenta music_vae/base_model.py `_compute_model_loss` @526d3eb.
    """
    model = MusicVAE(config, dtype=dtype)
    posterior = model.apply({"params": params}, tokens_BLP, method="encode")
    z_BZ = posterior.mean_BZ + posterior.scale_BZ * eps_BZ
    logits = model.apply({"params": params}, tokens_BLP, z_BZ, kept_BLP=kept_BLP, method="logits")
    nll_P = jnp.mean(nll_BP(logits, tokens_BLP), axis=0)
    divergence_B = musicvae.kl_B(posterior)
    cost = jnp.mean(musicvae.kl_cost_B(divergence_B, free_bits))
    loss = jnp.sum(nll_P) + beta * cost
    divergence = jnp.mean(divergence_B)
    return loss, {
        "loss": loss,
        "nll": jnp.sum(nll_P),
        **{f"nll_{part}": nll_P[number] for number, part in enumerate(PARTS)},
        "kl": divergence,
        "kl_bits": divergence / BIT,
        "kl_cost": cost,
        "beta": jnp.asarray(beta, jnp.float32),
    }


def beta_at(step: Any, recipe: VAERecipe) -> Any:
    """Weight of the KL term at a step: it rises from 0 in a straight line; with a warm-up of 1 as the reference's."""
    return recipe.beta * jnp.clip(jnp.asarray(step, jnp.float32) / max(recipe.beta_warmup, 1), 0.0, 1.0)


class VAEObjective:
    """MusicVAE from scratch, or from given parameters."""

    def __init__(self, config: MusicVAEConfig, recipe: VAERecipe, start: Any = None):
        self.config = config
        self.recipe = recipe
        self._start = start
        self._dtype = None if recipe.precision == "float32" else jnp.dtype(recipe.precision)

    def initial(self, key: Key[Array, ""]) -> Any:
        if self._start is not None:
            return self._start
        return musicvae.initialize(self.config, key)

    def rates(self, params: Any) -> Any:
        return musicvae_rates(params, self.recipe.learning_rate, self.recipe.slow_learning_rate)

    def loss(self, params, frozen, batch, keys_B, step):
        del frozen
        recipe = self.recipe
        tokens_BLP = batch["tokens"]
        hide_B, noise_B = (jax.vmap(lambda key, n=n: jax.random.fold_in(key, n))(keys_B) for n in range(2))
        kept_BLP = kept_tokens(hide_B, recipe.token_dropout) if any(recipe.token_dropout) else None
        eps_BZ = jax.vmap(lambda key: jax.random.normal(key, (self.config.latent_size,)))(noise_B)
        return vae_loss(
            self.config,
            params,
            tokens_BLP,
            eps_BZ,
            beta=beta_at(step, recipe),
            free_bits=recipe.free_bits,
            kept_BLP=kept_BLP,
            dtype=self._dtype,
        )

    def measure(self, params, frozen, batch):
        del frozen
        model, tokens_BLP = MusicVAE(self.config), batch["tokens"]
        posterior = model.apply({"params": params}, tokens_BLP, method="encode")
        logits = model.apply({"params": params}, tokens_BLP, posterior.mean_BZ, method="logits")
        blind = model.apply({"params": params}, tokens_BLP, jnp.zeros_like(posterior.mean_BZ), method="logits")
        return {
            "nll": nll_BP(logits, tokens_BLP),
            "nll_zero": nll_BP(blind, tokens_BLP),
            "kl": musicvae.kl_B(posterior),
            **hits(logits, tokens_BLP),
        }

    def summary(self, means):
        nll, blind = means["nll"], means["nll_zero"]
        return {
            "validation": float(nll.sum()),
            **{f"nll_{part}": float(nll[n]) for n, part in enumerate(PARTS)},
            "latent_worth": float(blind.sum() - nll.sum()),
            **{f"latent_worth_{part}": float(blind[n] - nll[n]) for n, part in enumerate(PARTS)},
            "kl_bits": float(means["kl"]) / BIT,
            **accuracies(means),
        }


def hits(
    logits: Mapping[str, Float[Array, "B L V"]], tokens_BLP: Int[Array, "B L P"], parts: tuple[str, ...] = PARTS
) -> Metrics:
    """Steps whose most likely token is the right one, of each window and part; and the same among onsets alone.

    An onset is a step at which a note starts or a drum is hit. "Nothing ever happens" is right on most steps, so the
    accuracy over all steps says little.
    """
    columns = [PARTS.index(part) for part in parts]
    right_BLP = jnp.stack([jnp.argmax(logits[part], axis=-1) for part in parts], axis=-1) == tokens_BLP[..., columns]
    onset_BLP = tokens_BLP[..., columns] >= jnp.array([1 if part == "drums" else 2 for part in parts])
    return {
        "right": jnp.mean(right_BLP.astype(jnp.float32), axis=1),
        "right_onsets": jnp.sum(right_BLP & onset_BLP, axis=1).astype(jnp.float32),
        "onsets": jnp.sum(onset_BLP, axis=1).astype(jnp.float32),
    }


def accuracies(means: Mapping[str, Any], parts: tuple[str, ...] = PARTS) -> dict[str, float]:
    """Accuracy of each part, teacher-forced, over all steps and over onsets, from the means of `hits`."""
    result = {f"accuracy_{part}": float(means["right"][n]) for n, part in enumerate(parts)}
    for n, part in enumerate(parts):
        result[f"onset_accuracy_{part}"] = float(means["right_onsets"][n] / max(means["onsets"][n], 1e-9))
    return result
