"""The bass's guide: how likely its experts find the pitch classes and onsets of real basses."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from jaxaccomp.arrays import BARS, FIRST_NOTE_ON, LOWEST_PITCH
from jaxaccomp.config import GuideConfig
from jaxaccomp.models import guide
from jaxaccomp.models.lstm import AnyArray
from jaxaccomp.training.recipe import GuideRecipe


class GuideObjective:
    """The experts from scratch. They know nothing of a MusicVAE, so they fit any whose parts are these."""

    def __init__(self, config: GuideConfig, recipe: GuideRecipe):
        self.config = config
        self.recipe = recipe

    def initial(self, key: Key[Array, ""]) -> Any:
        """New parameters."""
        return guide.initialize(self.config, key)

    def rates(self, params: Any) -> Any:
        """One rate for all."""
        return jax.tree.map(lambda _: self.recipe.learning_rate, params)

    def loss(self, params, frozen, batch, keys_B, step):
        """Cross entropy of a bass note's pitch class, and of onsets a bar with and without drums and melody."""
        del frozen, keys_B, step
        surprise = surprises(params, batch["tokens"])
        notes = jnp.maximum(jnp.mean(surprise["notes"]), 1.0)
        means = {name: jnp.mean(surprise[name]) for name in ("harmony", "rhythm", "place")}
        parts = means | {"harmony": means["harmony"] / notes}
        loss = parts["harmony"] + parts["rhythm"] + parts["place"]
        return loss, {"loss": loss, **parts}

    def measure(self, params, frozen, batch):
        """`surprises` of each window."""
        del frozen
        return surprises(params, batch["tokens"])

    def summary(self, means: Mapping[str, Any]) -> dict[str, float]:
        """`validation`: nats a pitch class (uniform: log 12) + nats of onsets a bar; `right`: likeliest classes."""
        notes = max(float(means["notes"]), 1e-9)
        harmony, right = float(means["harmony"]) / notes, float(means["right"]) / notes
        rhythm, place = float(means["rhythm"]), float(means["place"])
        return {"validation": harmony + rhythm, "harmony": harmony, "right": right, "rhythm": rhythm, "place": place}


def surprises(params: Any, tokens_BLP: Int[AnyArray, "B L P"]) -> dict[str, Float[Array, " B"]]:
    """What the experts make of each window's bass.

    Args:
        params: of the experts.
        tokens_BLP: windows.

    Returns:
        `notes`, bass notes; `harmony`, nats of their pitch classes in all; `right`, notes of the likeliest class;
        `rhythm` and `place`, nats of onsets a bar, given drums and melody or the place in the bar alone.
    """
    melody_BL, bass_BL, drums_BL = (jnp.asarray(tokens_BLP)[..., part] for part in range(3))
    onset_BL = (bass_BL >= FIRST_NOTE_ON).astype(jnp.float32)
    class_BL = (bass_BL - FIRST_NOTE_ON + LOWEST_PITCH) % guide.CLASSES
    chance_BLC = jnp.repeat(guide.harmony(params, melody_BL), 4, axis=1)
    surprise_BL = -jnp.take_along_axis(chance_BLC, class_BL[..., None], axis=-1)[..., 0]
    rhythm_BL = guide.rhythm(params, melody_BL, drums_BL)
    place_BL = jnp.broadcast_to(guide.place(params), rhythm_BL.shape)
    return {
        "notes": onset_BL.sum(1),
        "harmony": (surprise_BL * onset_BL).sum(1),
        "right": ((chance_BLC.argmax(-1) == class_BL) * onset_BL).sum(1),
        "rhythm": optax.sigmoid_binary_cross_entropy(rhythm_BL, onset_BL).sum(1) / BARS,
        "place": optax.sigmoid_binary_cross_entropy(place_BL, onset_BL).sum(1) / BARS,
    }
