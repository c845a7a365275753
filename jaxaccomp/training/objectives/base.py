"""What the loop needs to know of a model and its loss, and what several objectives share.

An objective's methods are pure functions of parameters, a batch and one key for each window of the batch; a window's
randomness thus depends on the step and its place in the whole batch, not on the number of devices.
"""

import math
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from jaxaccomp.arrays import PARTS, STEPS
from jaxaccomp.models import hits as counting
from jaxaccomp.models import musicvae
from jaxaccomp.models.lstm import AnyArray

BIT = math.log(2.0)
"""Nats in a bit."""

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


class ModelObjective:
    """What objectives of a MusicVAE or a surrogate share: sizes, settings, where they start, what they compute in."""

    def __init__(self, config: Any, recipe: Any, start: Any = None):
        """Takes sizes, settings, and parameters to start from: None draws new ones."""
        self.config, self.recipe, self._start = config, recipe, start
        self._dtype = None if recipe.precision == "float32" else jnp.dtype(recipe.precision)

    def initial(self, key: Key[Array, ""]) -> Any:
        """New parameters, or the given ones."""
        return self.new(key) if self._start is None else self._start

    def new(self, key: Key[Array, ""]) -> Any:
        """New parameters."""
        raise NotImplementedError


def subkeys(keys_B: Key[Array, " B"], count: int) -> list[Key[Array, " B"]]:
    """For each of so many purposes a key of each window."""
    return [jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys_B, number) for number in range(count)]


def normal_BZ(keys_B: Key[Array, " B"], latent_size: int) -> Float[Array, "B Z"]:
    """Standard normal noise of each window."""
    return jax.vmap(lambda key: jax.random.normal(key, (latent_size,)))(keys_B)


def kept_tokens(keys_B: Key[Array, " B"], rates: tuple[float, ...]) -> Bool[Array, "B L P"] | None:
    """Which tokens a model may see: each is hidden by its part's rate, independently; None where all rates are 0.

    What a decoder cannot copy from its neighbour it has to take from z.
    """
    if not any(rates):
        return None
    draw_BLP = jax.vmap(lambda key: jax.random.uniform(key, (STEPS, len(PARTS))))(keys_B)
    return draw_BLP >= jnp.array(rates)


def hits(logits: Mapping[str, Float[Array, "B L V"]], tokens_BLP: Int[Array, "B L P"]) -> Metrics:
    """Steps whose most likely token is the right one, of each window and part; and the same among onsets alone."""
    found = [
        counting.count(part, jnp.argmax(logits[part], axis=-1), tokens_BLP[..., number])
        for number, part in enumerate(PARTS)
    ]
    right_BP, onsets_BP, onsets_right_BP = (
        jnp.stack(column, axis=-1).astype(jnp.float32) for column in zip(*found, strict=True)
    )
    return {"right": right_BP / STEPS, "right_onsets": onsets_right_BP, "onsets": onsets_BP}


def accuracies(means: Mapping[str, Any]) -> dict[str, float]:
    """Accuracy of each part, teacher-forced, over all steps and over onsets, from the means of `hits`."""
    result = {f"accuracy_{part}": float(means["right"][n]) for n, part in enumerate(PARTS)}
    for n, part in enumerate(PARTS):
        result[f"onset_accuracy_{part}"] = float(means["right_onsets"][n] / max(means["onsets"][n], 1e-9))
    return result
