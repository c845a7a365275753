"""Wider models from narrower ones, without a change in what they compute.

The new units of a layer are drawn as in a new model and hear everything, but nothing hears them yet: their outgoing
weights are zero. So a wider model starts where the narrower one ended, and gradients reach the new weights at once.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxaccomp.arrays import PARTS, VOCABULARY
from jaxaccomp.config import ModelConfig
from jaxaccomp.errors import ConfigError
from jaxaccomp.models import musicvae, surrogate

Params = Mapping[str, Any]
Places = np.ndarray
"""Where the entries of a narrower axis lie in the wider one."""


def grow(config: ModelConfig, params: Params, wider: ModelConfig, key: Any) -> dict[str, Any]:
    """Parameters of a wider MusicVAE and surrogate that compute what the given ones do.

    Where the latent grows, its new dimensions follow the models' new heads, and no decoder hears them yet.

    Args:
        config: sizes of the given models, a surrogate among them.
        params: `musicvae` and `surrogate`.
        wider: the sizes wanted, in each layer at least the given ones.
        key: the new units are drawn from it.

    Raises:
        ConfigError: a layer would shrink, or their number would change.
    """
    old, new = config.musicvae, wider.musicvae
    for name in ("encoder_sizes", "conductor_sizes", "decoder_sizes"):
        _require_wider(name, getattr(old, name), getattr(new, name))
    _require_wider("latent_size", (old.latent_size,), (new.latent_size,))
    _require_wider("surrogate sizes", config.surrogate.sizes, wider.surrogate.sizes)
    # In NumPy but for the draws: a hundred small arrays would each be compiled for.
    vae = jax.jit(musicvae.initialize, static_argnums=0)(new, jax.random.fold_in(key, 0))
    guess = jax.jit(surrogate.initialize, static_argnums=0)(wider.surrogate, jax.random.fold_in(key, 1))
    given, z = params["musicvae"], np.arange(old.latent_size)
    tokens = np.arange(sum(VOCABULARY.values()))
    grown = {"encoder": {}, "conductor": {}}
    top = _bidirectional(
        given["encoder"], vae["encoder"], grown["encoder"], tokens, old.encoder_sizes, new.encoder_sizes
    )
    for head in ("mean", "scale"):
        grown[head] = _placed(given[head], vae[head], top, z)
    bars = np.arange(old.embedding_size)
    _stack(
        given["conductor"],
        vae["conductor"],
        grown["conductor"],
        z,
        np.arange(1),
        old.conductor_sizes,
        new.conductor_sizes,
    )
    for part in PARTS:
        name = musicvae.decoder_name(part)
        inputs = np.concatenate([np.arange(VOCABULARY[part]), VOCABULARY[part] + bars])
        grown[name] = {}
        _stack(given[name], vae[name], grown[name], bars, inputs, old.decoder_sizes, new.decoder_sizes)
        units = np.arange(old.decoder_sizes[-1])
        grown[name]["output"] = _placed(given[name]["output"], vae[name]["output"], units, np.arange(VOCABULARY[part]))
    guess_params: dict[str, Any] = {}
    given, melody = params["surrogate"], np.arange(VOCABULARY["melody"])
    top = _bidirectional(given, guess, guess_params, melody, config.surrogate.sizes, wider.surrogate.sizes)
    for head in ("mean", "scale")[: 1 + config.surrogate.predict_scale]:
        guess_params[head] = _placed(given[head], guess[head], top, z)
    return {"musicvae": grown, "surrogate": guess_params}


def _require_wider(name: str, old: Sequence[int], new: Sequence[int]) -> None:
    if len(old) != len(new) or any(a > b for a, b in zip(old, new, strict=True)):
        shown = ", ".join(map(str, old))
        raise ConfigError(f"{name} {', '.join(map(str, new))}: the checkpoint has {shown}; each may only become larger")


def _gates(old: int, new: int) -> Places:
    """Columns of a layer's old units in its wider gates."""
    return (np.arange(4)[:, None] * new + np.arange(old)).ravel()


def _placed(given: Params, drawn: Params, rows: Places, columns: Places) -> dict[str, Any]:
    """A layer whose old columns hear the old rows alone, and whose new columns are as drawn."""
    kernel, bias = np.array(drawn["kernel"]), np.array(drawn["bias"])
    kernel[:, columns] = 0
    kernel[np.ix_(rows, columns)] = given["kernel"]
    bias[columns] = given["bias"]
    return {"kernel": kernel, "bias": bias}


def _bidirectional(
    given: Params, drawn: Params, grown: dict[str, Any], rows: Places, old: Sequence[int], new: Sequence[int]
) -> Places:
    """Adds the layers of a bidirectional stack to `grown`; returns where its old outputs lie."""
    width = len(rows)
    for number, (a, b) in enumerate(zip(old, new, strict=True)):
        name = f"layer_{number}"
        inputs = np.concatenate([rows, width + np.arange(a)])
        grown[name] = {
            side: _placed(given[name][side], drawn[name][side], inputs, _gates(a, b))
            for side in ("forward", "backward")
        }
        rows, width = np.concatenate([np.arange(a), b + np.arange(a)]), 2 * b
    return rows


def _stack(
    given: Params,
    drawn: Params,
    grown: dict[str, Any],
    state_rows: Places,
    rows: Places,
    old: Sequence[int],
    new: Sequence[int],
) -> None:
    """Adds the layers of a stack, and the one that makes its first states, to `grown`."""
    starts = np.cumsum([0, *(2 * size for size in new)])
    states = [
        start + half * b + np.arange(a) for a, b, start in zip(old, new, starts, strict=False) for half in range(2)
    ]
    grown["initial_state"] = _placed(given["initial_state"], drawn["initial_state"], state_rows, np.concatenate(states))
    for number, (a, b) in enumerate(zip(old, new, strict=True)):
        name = f"layer_{number}"
        width = drawn[name]["kernel"].shape[0] - b
        inputs = np.concatenate([rows, width + np.arange(a)])
        grown[name] = _placed(given[name], drawn[name], inputs, _gates(a, b))
        rows = np.arange(a)
