"""The objective `joint`: MusicVAE and its surrogate together, the surrogate being the prior of z given the melody.

With s(z | melody) as the prior, NLL + KL(q ‖ s) bounds what the trio costs once the melody is known: z only pays for
what the melody does not tell, and the surrogate learns to expect what the encoder says rather than to guess it later.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from jaxaccomp.arrays import NO_TOKEN, PARTS
from jaxaccomp.config import ModelConfig
from jaxaccomp.models import musicvae, surrogate
from jaxaccomp.models.musicvae import Posterior
from jaxaccomp.training.objectives.base import (
    BIT,
    ModelObjective,
    accuracies,
    hits,
    kept_tokens,
    nll_BP,
    normal_BZ,
    subkeys,
)
from jaxaccomp.training.objectives.surrogate import posterior_divergence_B
from jaxaccomp.training.optimizer import musicvae_rates, surrogate_rates
from jaxaccomp.training.recipe import JointRecipe

Z_SEED = 15
"""Of the draws of z that the validation figure is measured at; the same for every run."""


def measuring_noise_BZ(tokens_BLP: Int[Array, "B L P"], latent_size: int) -> Float[Array, "B Z"]:
    """Standard normal noise that belongs to a window's notes, so that no batch or device layout changes a figure."""
    weights_LP = jax.random.bits(jax.random.key(Z_SEED), tokens_BLP.shape[1:], jnp.uint32)
    digest_B = jnp.sum(tokens_BLP.astype(jnp.uint32) * weights_LP, axis=(1, 2), dtype=jnp.uint32)
    keys_B = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(jax.random.key(Z_SEED + 1), digest_B)
    return normal_BZ(keys_B, latent_size)


def unit_mask_BH(keys_B: Key[Array, " B"], place: int, units: int, rate: float) -> Float[Array, "B H"]:
    """Multipliers of a layer's units: 0 with probability `rate`, else what keeps their mean.

    Args:
        keys_B: a key for each window.
        place: number of the layer, so that no two layers share their draws.
        units: width of the layer.
        rate: share of units that are silenced.
    """
    keys_B = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys_B, place)
    kept_BH = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - rate, (units,)))(keys_B)
    return kept_BH.astype(jnp.float32) / (1 - rate)


def known_BP(tokens_BLP: Int[Array, "B L P"]) -> Bool[Array, "B P"]:
    """Which parts of each window are known; of the others all tokens are `NO_TOKEN`."""
    return tokens_BLP[:, 0] != NO_TOKEN


class JointObjective(ModelObjective):
    """MusicVAE and surrogate from scratch, or from given parameters; both are trained and exported.

    A window may lack its melody and bass (`NO_TOKEN`): then encoder and surrogate are told nothing of them, their
    likelihood does not count, and what the window teaches is drums.
    """

    config: ModelConfig
    recipe: JointRecipe

    def new(self, key: Key[Array, ""]) -> Any:
        """New parameters of both models."""
        vae = jax.jit(musicvae.initialize, static_argnums=0)(self.config.musicvae, jax.random.fold_in(key, 0))
        guess = jax.jit(surrogate.initialize, static_argnums=0)(self.config.surrogate, jax.random.fold_in(key, 1))
        return {"musicvae": vae, "surrogate": guess}

    def rates(self, params: Any) -> Any:
        """The rates of `musicvae_rates` and `surrogate_rates`."""
        fast, slow = self.recipe.learning_rate, self.recipe.slow_learning_rate
        return {
            "musicvae": musicvae_rates(params["musicvae"], fast, slow),
            "surrogate": surrogate_rates(params["surrogate"], fast, slow),
        }

    def beta(self, step: Any) -> Any:
        """Weight of KL(q ‖ s) at a step: a straight line from `beta` to `last_beta` over the run."""
        recipe = self.recipe
        return recipe.beta + (recipe.last_beta - recipe.beta) * jnp.asarray(step, jnp.float32) / recipe.steps

    def loss(self, params, frozen, batch, keys_B, step):
        """NLL of the trio at a draw of z + beta KL(q ‖ s) + prior_beta max(KL(q ‖ N(0, I)) - free bits, 0)."""
        del frozen
        recipe, vae, tokens_BLP = self.recipe, params["musicvae"], batch["tokens"]
        hide_B, noise_B, silence_B, veil_B, mute_B = subkeys(keys_B, 5)
        posterior = self._encode(vae, tokens_BLP, veil_B, mute_B)
        guess = surrogate.encode(params["surrogate"], tokens_BLP[..., 0], dtype=self._dtype)
        z_BZ = posterior.mean_BZ + posterior.scale_BZ * normal_BZ(noise_B, posterior.mean_BZ.shape[1])
        logits = musicvae.logits(
            vae,
            tokens_BLP,
            z_BZ,
            kept_BLP=kept_tokens(hide_B, recipe.token_dropout),
            unit_masks=self._unit_masks(silence_B),
            dtype=self._dtype,
        )
        nll_P = self._mean_nll(logits, tokens_BLP)
        conditional_B, unconditional_B = posterior_divergence_B(posterior, guess), musicvae.kl_B(posterior)
        conditional, beta = jnp.mean(conditional_B), self.beta(step)
        excess = jnp.mean(musicvae.kl_cost_B(unconditional_B, recipe.free_bits))
        weights_P = jnp.array((recipe.melody_weight, 1.0, 1.0)) * self._known_shares()
        loss = jnp.sum(weights_P * nll_P) + beta * conditional + recipe.prior_beta * excess
        return loss, {
            "loss": loss,
            "code_length": nll_P[1] + nll_P[2] + conditional,
            **{f"nll_{part}": nll_P[number] for number, part in enumerate(PARTS)},
            "kl_surrogate": conditional,
            "kl_prior": jnp.mean(unconditional_B),
            "beta": jnp.asarray(beta, jnp.float32),
        }

    def _known_shares(self) -> np.ndarray:
        """Expected share of windows whose melody, bass and drums are known."""
        return np.array([1.0 if part == "drums" else 1.0 - self.recipe.drum_windows for part in PARTS], np.float32)

    def _mean_nll(self, logits: dict[str, Array], tokens_BLP: Array) -> Float[Array, " P"]:
        """NLL of each part, a mean over windows in which it is known.

        Of these the expected number counts, not the number in this batch: then the mean of devices' means is the mean.
        """
        if not self.recipe.drum_windows:
            return jnp.mean(nll_BP(logits, tokens_BLP), axis=0)
        nll_BK = nll_BP(logits, jnp.maximum(tokens_BLP, 0))
        return jnp.mean(jnp.where(known_BP(tokens_BLP), nll_BK, 0.0), axis=0) / self._known_shares()

    def _encode(self, vae: Any, tokens_BLP: Array, veil_B: Key[Array, " B"], mute_B: Key[Array, " B"]) -> Posterior:
        """The encoder's posterior, some tokens hidden from it and some of its last outputs silenced."""
        recipe, mask_BX = self.recipe, None
        kept_BLP = kept_tokens(veil_B, recipe.encoder_token_dropout)
        if kept_BLP is not None:
            tokens_BLP = jnp.where(kept_BLP, tokens_BLP, NO_TOKEN)
        if recipe.encoder_unit_dropout:
            units = 2 * self.config.musicvae.encoder_sizes[-1]
            mask_BX = unit_mask_BH(mute_B, 0, units, recipe.encoder_unit_dropout)
        return musicvae.encode(vae, tokens_BLP, dtype=self._dtype, unit_mask_BX=mask_BX)

    def _unit_masks(self, keys_B: Key[Array, " B"]) -> dict[str, list[Array]] | None:
        """For each part the multipliers of its layers' outputs: dropout that stays the same throughout a window."""
        sizes, masks = self.config.musicvae.decoder_sizes, {}
        for number, (part, rate) in enumerate(zip(PARTS, self.recipe.unit_dropout, strict=True)):
            if rate:
                masks[part] = [
                    unit_mask_BH(keys_B, len(sizes) * number + layer, units, rate) for layer, units in enumerate(sizes)
                ]
        return masks or None

    def measure(self, params, frozen, batch):
        """Likelihoods at a draw from the encoder and at one from the surrogate, both KLs, and right tokens."""
        del frozen
        vae, tokens_BLP = params["musicvae"], batch["tokens"]
        posterior = musicvae.encode(vae, tokens_BLP, dtype=self._dtype)
        guess = surrogate.encode(params["surrogate"], tokens_BLP[..., 0], dtype=self._dtype)
        eps_BZ = measuring_noise_BZ(tokens_BLP, posterior.mean_BZ.shape[1])

        def logits(of, dtype=self._dtype):
            return musicvae.logits(vae, tokens_BLP, of.mean_BZ + of.scale_BZ * eps_BZ, dtype=dtype)

        drawn = logits(posterior)
        return {
            "nll": nll_BP(drawn, tokens_BLP),
            "nll_surrogate": nll_BP(logits(guess), tokens_BLP),
            "kl_surrogate": posterior_divergence_B(posterior, guess),
            "kl_prior": musicvae.kl_B(posterior),
            **hits(drawn, tokens_BLP),
        }

    def summary(self, means):
        """`validation` is the code length of bass and drums given the tune: their NLL + KL(q ‖ s), nats a window."""
        nll, drawn = means["nll"], means["nll_surrogate"]
        return {
            "validation": float(nll[1] + nll[2] + means["kl_surrogate"]),
            **{f"nll_{part}": float(nll[n]) for n, part in enumerate(PARTS)},
            "kl_surrogate": float(means["kl_surrogate"]),
            **{f"nll_{part}_surrogate": float(drawn[n]) for n, part in enumerate(PARTS)},
            "kl_prior_bits": float(means["kl_prior"]) / BIT,
            **accuracies(means),
        }
