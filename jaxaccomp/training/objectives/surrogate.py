"""The surrogate encoder: its distance from what the encoder would have said, and what the decoder makes of it."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from jaxaccomp.arrays import BAND, FIRST_NOTE_ON, PARTS, VOCABULARY
from jaxaccomp.config import ModelConfig
from jaxaccomp.models import musicvae, surrogate
from jaxaccomp.models.musicvae import Posterior, posterior_divergence_B
from jaxaccomp.training.objectives.base import ModelObjective, kept_tokens, nll_BP, normal_BZ, subkeys
from jaxaccomp.training.optimizer import surrogate_rates
from jaxaccomp.training.recipe import SurrogateRecipe


def transpose(
    tokens_BLP: Int[Array, "B L P"], keys_B: Key[Array, " B"], lowest: int, highest: int
) -> Int[Array, "B L P"]:
    """Shifts melody and bass of each window by one interval, drawn among those that keep every note in the vocabulary.

    The reader's own transposition is not for latents, which belong to their key; here they are encoded anew.
    """
    pitched_BLK, top = tokens_BLP[..., :2], VOCABULARY["melody"] - 1
    note_BLK = pitched_BLK >= FIRST_NOTE_ON
    low_B = jnp.min(jnp.where(note_BLK, pitched_BLK, top), axis=(1, 2))
    high_B = jnp.max(jnp.where(note_BLK, pitched_BLK, FIRST_NOTE_ON), axis=(1, 2))
    from_B, to_B = jnp.maximum(lowest, FIRST_NOTE_ON - low_B), jnp.minimum(highest, top - high_B)
    shift_B = jax.vmap(lambda key, low, high: jax.random.randint(key, (), low, high + 1))(keys_B, from_B, to_B)
    moved_BLK = jnp.where(note_BLK, pitched_BLK + shift_B[:, None, None], pitched_BLK)
    return jnp.concatenate([moved_BLK, tokens_BLP[..., 2:]], axis=-1)


class SurrogateObjective(ModelObjective):
    """The surrogate encoder of a trained MusicVAE, whose parameters are the frozen ones.

    A guess that is only near the encoder's mean shrinks towards 0, where a decoder plays next to nothing. So the guess
    is a distribution that must cover the encoder's (KL). With a `decoder_weight` the frozen decoder, later in a run,
    also has to find the real bass and drums likely given its mean, or what is drawn from it; that lowers their NLL and
    makes what is drawn play less.
    """

    config: ModelConfig
    recipe: SurrogateRecipe

    def new(self, key: Key[Array, ""]) -> Any:
        """New parameters."""
        return jax.jit(surrogate.initialize, static_argnums=0)(self.config.surrogate, key)

    def rates(self, params: Any) -> Any:
        """Two rates: see `surrogate_rates`."""
        return surrogate_rates(params, self.recipe.learning_rate, self.recipe.slow_learning_rate)

    def loss(self, params, frozen, batch, keys_B, step):
        """Distance from the encoder's posterior, and from some step on the decoder's surprise at the real band."""
        recipe = self.recipe
        shift_B, spread_B, noise_B, hide_B = subkeys(keys_B, 4)
        tokens_BLP = jnp.stack([batch[part] for part in PARTS], axis=-1)
        target = Posterior(batch["mean"], batch["scale"])
        if recipe.lowest_shift or recipe.highest_shift:
            tokens_BLP = transpose(tokens_BLP, shift_B, recipe.lowest_shift, recipe.highest_shift)
            target = jax.lax.stop_gradient(musicvae.encode(frozen, tokens_BLP, dtype=self._dtype))
        guess = surrogate.encode(params, tokens_BLP[..., 0], dtype=self._dtype)
        if recipe.matching == "mse":
            distance = jnp.mean((target.mean_BZ - guess.mean_BZ) ** 2)
        else:
            distance = jnp.mean(posterior_divergence_B(target, guess))
        metrics = {"distance": distance}
        loss = distance
        if recipe.decoder_weight:
            # Half of the windows are judged by their mean, the others by something between it and a full draw.
            spread_B = jax.vmap(lambda key: jnp.maximum(jax.random.uniform(key, minval=-1.0), 0.0))(spread_B)
            eps_BZ = normal_BZ(noise_B, target.mean_BZ.shape[1])
            kept_BLP = kept_tokens(hide_B, recipe.token_dropout)

            def surprise(guess: Posterior) -> Float[Array, " P"]:
                z_BZ = guess.mean_BZ + spread_B[:, None] * guess.scale_BZ * eps_BZ
                logits = musicvae.logits(frozen, tokens_BLP, z_BZ, BAND, kept_BLP, dtype=self._dtype)
                return jnp.mean(nll_BP(logits, tokens_BLP), axis=0)

            begun = step >= int(recipe.decoder_from * recipe.steps)
            nll_P = jax.lax.cond(begun, surprise, lambda _: jnp.zeros(len(BAND)), guess)
            weight = jnp.where(begun, recipe.matching_weight, 1.0)
            loss = weight * distance + recipe.decoder_weight * jnp.sum(nll_P)
            metrics |= {f"nll_{part}": nll_P[number] for number, part in enumerate(BAND)}
        return loss, {"loss": loss, **metrics}

    def measure(self, params, frozen, batch):
        """Likelihoods of the band given the guess, the encoder's mean and z = 0; and how near the guess comes."""
        tokens_BLP = jnp.stack([batch[part] for part in PARTS], axis=-1)
        target = Posterior(batch["mean"], batch["scale"])
        guess = surrogate.encode(params, tokens_BLP[..., 0])
        zero_BZ = jnp.zeros_like(target.mean_BZ)

        def nll(z_BZ: Array) -> Array:
            return nll_BP(musicvae.logits(frozen, tokens_BLP, z_BZ, BAND), tokens_BLP)

        product_B = jnp.sum(target.mean_BZ * guess.mean_BZ, axis=-1)
        norms = [jnp.sqrt(jnp.sum(mean_BZ**2, axis=-1)) for mean_BZ in (target.mean_BZ, guess.mean_BZ)]
        return {
            "nll": nll(guess.mean_BZ),
            "nll_encoder": nll(target.mean_BZ),
            "nll_zero": nll(zero_BZ),
            "error": jnp.sum((target.mean_BZ - guess.mean_BZ) ** 2, axis=-1),
            "square": jnp.sum(target.mean_BZ**2, axis=-1),
            "mean": target.mean_BZ,
            "cosine": product_B / jnp.maximum(norms[0] * norms[1], 1e-12),
            "norm": norms[1] / jnp.maximum(norms[0], 1e-12),
            "distance": posterior_divergence_B(target, guess),
        }

    def summary(self, means):
        """`validation` is the NLL of bass and drums given the guess's mean, or its distance where no decoder is asked.

        `gap_closed` is 0 where the guess is worth no more than z = 0, and 1 where it is worth as much as the encoder's.
        """
        nll, floor, ceiling = means["nll"], means["nll_zero"], means["nll_encoder"]
        spread = means["square"] - (means["mean"] ** 2).sum()
        by_distance = means["error"] if self.recipe.matching == "mse" else means["distance"]
        return {
            "validation": float(nll.sum() if self.recipe.decoder_weight else by_distance),
            **{f"nll_{part}": float(nll[n]) for n, part in enumerate(BAND)},
            **{
                f"gap_closed_{part}": float((floor[n] - nll[n]) / (floor[n] - ceiling[n]))
                for n, part in enumerate(BAND)
            },
            "r2": float(1.0 - means["error"] / spread),
            **{name: float(means[name]) for name in ("cosine", "norm", "distance")},
        }
