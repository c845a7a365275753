"""MusicVAE: the reference's loss, cross entropy and a KL term with free bits."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from jaxaccomp.arrays import PARTS
from jaxaccomp.config import MusicVAEConfig
from jaxaccomp.models import musicvae
from jaxaccomp.models.lstm import AnyArray
from jaxaccomp.models.musicvae import MusicVAE
from jaxaccomp.training.objectives.base import (
    BIT,
    Metrics,
    ModelObjective,
    accuracies,
    hits,
    kept_tokens,
    nll_BP,
    normal_BZ,
    subkeys,
)
from jaxaccomp.training.optimizer import musicvae_rates
from jaxaccomp.training.recipe import VAERecipe


def vae_loss(
    config: MusicVAEConfig,
    params: Any,
    tokens_BLP: Int[AnyArray, "B L P"],
    eps_BZ: Float[AnyArray, "B Z"],
    *,
    beta: Any,
    free_bits: Any,
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


class VAEObjective(ModelObjective):
    """MusicVAE from scratch, or from given parameters."""

    config: MusicVAEConfig
    recipe: VAERecipe

    def new(self, key: Key[Array, ""]) -> Any:
        """New parameters."""
        return jax.jit(musicvae.initialize, static_argnums=0)(self.config, key)

    def rates(self, params: Any) -> Any:
        """Two rates: see `musicvae_rates`."""
        return musicvae_rates(params, self.recipe.learning_rate, self.recipe.slow_learning_rate)

    def loss(self, params, frozen, batch, keys_B, step):
        """`vae_loss` of `tokens`, with noise and hidden tokens drawn from the keys."""
        del frozen
        recipe = self.recipe
        tokens_BLP = batch["tokens"]
        hide_B, noise_B = subkeys(keys_B, 2)
        return vae_loss(
            self.config,
            params,
            tokens_BLP,
            normal_BZ(noise_B, self.config.latent_size),
            beta=beta_at(step, recipe),
            free_bits=recipe.free_bits,
            kept_BLP=kept_tokens(hide_B, recipe.token_dropout),
            dtype=self._dtype,
        )

    def measure(self, params, frozen, batch):
        """Likelihoods at the posterior's mean and at z = 0, KL, and right tokens."""
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
        """`validation` is the NLL at the mean; `latent_worth` what z = 0 costs: near 0 in a model whose z is dead."""
        nll, blind = means["nll"], means["nll_zero"]
        return {
            "validation": float(nll.sum()),
            **{f"nll_{part}": float(nll[n]) for n, part in enumerate(PARTS)},
            "latent_worth": float(blind.sum() - nll.sum()),
            **{f"latent_worth_{part}": float(blind[n] - nll[n]) for n, part in enumerate(PARTS)},
            "kl_bits": float(means["kl"]) / BIT,
            **accuracies(means),
        }
