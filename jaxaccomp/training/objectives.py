"""What is minimised: the reference's VAE loss, and the surrogate's distance from what the encoder would have said.

An objective is what the loop needs to know of a model. Its methods are pure functions of parameters, a batch and one
key for each window of the batch; a window's randomness thus depends on the step and its place in the whole batch, not
on the number of devices.
"""

import math
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from jaxaccomp.arrays import FIRST_NOTE_ON, PARTS, STEPS, VOCABULARY
from jaxaccomp.config import ModelConfig, MusicVAEConfig
from jaxaccomp.models import musicvae, surrogate
from jaxaccomp.models.lstm import AnyArray
from jaxaccomp.models.musicvae import MusicVAE, Posterior
from jaxaccomp.training.optimizer import musicvae_rates, surrogate_rates
from jaxaccomp.training.recipe import SurrogateRecipe, VAERecipe

BIT = math.log(2.0)
"""Nats in a bit."""

BAND = ("bass", "drums")
"""The parts a surrogate's latent is for."""

Batch = Mapping[str, Array]
Metrics = dict[str, Array]


@runtime_checkable
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


def nll_BP(logits: Mapping[str, Float[Array, "B L V"]], tokens_BLP: Int[AnyArray, "B L P"]) -> Float[Array, "B parts"]:
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


class VAEObjective:
    """MusicVAE from scratch, or from given parameters."""

    def __init__(self, config: MusicVAEConfig, recipe: VAERecipe, start: Any = None):
        self.config = config
        self.recipe = recipe
        self._start = start
        self._dtype = None if recipe.precision == "float32" else jnp.dtype(recipe.precision)

    def initial(self, key: Key[Array, ""]) -> Any:
        """New parameters, or the given ones."""
        if self._start is not None:
            return self._start
        return jax.jit(musicvae.initialize, static_argnums=0)(self.config, key)

    def rates(self, params: Any) -> Any:
        """Two rates: see `musicvae_rates`."""
        return musicvae_rates(params, self.recipe.learning_rate, self.recipe.slow_learning_rate)

    def loss(self, params, frozen, batch, keys_B, step):
        """`vae_loss` of `tokens`, with noise and hidden tokens drawn from the keys."""
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


def posterior_divergence_B(target: Posterior, guess: Posterior) -> Float[Array, " B"]:
    """KL(target ‖ guess), nats, summed over z: small only where the guess covers all that the target may be."""
    ratio_BZ = target.scale_BZ / guess.scale_BZ
    offset_BZ = (target.mean_BZ - guess.mean_BZ) / guess.scale_BZ
    return jnp.sum(0.5 * (ratio_BZ**2 + offset_BZ**2 - 1.0) - jnp.log(ratio_BZ), axis=-1)


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


class SurrogateObjective:
    """The surrogate encoder of a trained MusicVAE, whose parameters are the frozen ones.

    A guess that is only near the encoder's mean shrinks towards 0, where a decoder plays next to nothing. So the guess
    is a distribution that must cover the encoder's (KL), and, later in a run, the frozen decoder has to find the real
    bass and drums likely given its mean, or what is drawn from it.
    """

    def __init__(self, config: ModelConfig, recipe: SurrogateRecipe, start: Any = None):
        self.config = config
        self.recipe = recipe
        self._start = start
        self._dtype = None if recipe.precision == "float32" else jnp.dtype(recipe.precision)

    def initial(self, key: Key[Array, ""]) -> Any:
        """New parameters, or the given ones."""
        if self._start is not None:
            return self._start
        return jax.jit(surrogate.initialize, static_argnums=0)(self.config.surrogate, key)

    def rates(self, params: Any) -> Any:
        """Two rates: see `surrogate_rates`."""
        return surrogate_rates(params, self.recipe.learning_rate, self.recipe.slow_learning_rate)

    def loss(self, params, frozen, batch, keys_B, step):
        """Distance from the encoder's posterior, and from some step on the decoder's surprise at the real band."""
        recipe = self.recipe
        shift_B, spread_B, noise_B, hide_B = (
            jax.vmap(lambda key, n=n: jax.random.fold_in(key, n))(keys_B) for n in range(4)
        )
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
            eps_BZ = jax.vmap(lambda key: jax.random.normal(key, target.mean_BZ.shape[1:]))(noise_B)
            kept_BLP = kept_tokens(hide_B, recipe.token_dropout) if any(recipe.token_dropout) else None

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
