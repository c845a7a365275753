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


def kept_tokens(keys_B: Key[Array, " B"], rates: tuple[float, ...]) -> Bool[Array, "B L P"]:
    """Which tokens the decoders may see as the previous one: each is hidden by its part's rate, independently.

    What a decoder cannot copy from its neighbour it has to take from z.
    """
    draw_BLP = jax.vmap(lambda key: jax.random.uniform(key, (STEPS, len(PARTS))))(keys_B)
    return draw_BLP >= jnp.array(rates)


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
