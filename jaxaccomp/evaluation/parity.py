"""How far a ported model is from the numbers that TensorFlow gave for the same checkpoint.

The numbers lie in a folder: `inputs.npz`, `outputs.npz` and `train.npz`, as in tests/golden/musicvae, made by running
Magenta's own model in TensorFlow 2.15 with small sizes and random weights.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxaccomp.arrays import PARTS
from jaxaccomp.config import MusicVAEConfig
from jaxaccomp.errors import CheckpointError
from jaxaccomp.models import musicvae
from jaxaccomp.models.musicvae import MusicVAE
from jaxaccomp.training import objectives, optimizer
from jaxaccomp.weights import porting


class Row(NamedTuple):
    """One comparison: what, in which unit the difference is, the largest difference, and what is allowed."""

    quantity: str
    unit: str
    difference: float
    bound: float


def measure(config: MusicVAEConfig, params: Mapping[str, Any], golden: Path) -> list[Row]:
    """Compares encoder, conductor, decoders, likelihoods, greedy tokens, loss, gradients and optimizer steps.

    Matrix products run at the highest precision the device has.

    Raises:
        CheckpointError: the folder lacks the numbers, or they belong to a model of other sizes.
    """
    try:
        inputs, outputs, train = (dict(np.load(golden / f"{name}.npz")) for name in ("inputs", "outputs", "train"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{golden}: cannot read the reference's numbers ({error})") from error
    if inputs["z_fixed"].shape[1] != config.latent_size:
        raise CheckpointError(
            f"{golden}: belongs to a model with {inputs['z_fixed'].shape[1]} latent dimensions, not "
            f"{config.latent_size}; give the checkpoint that these numbers were made with"
        )
    params = jax.tree.map(jnp.asarray, dict(params))
    apply = applier(config, params)
    with jax.default_matmul_precision("highest"):
        return [
            *forward(apply, inputs, outputs),
            *_greedy(apply, inputs, outputs),
            *_training(config, params, train, int(inputs["global_step"])),
        ]


def table(rows: list[Row]) -> str:
    """The comparisons as a Markdown table."""
    lines = ["| quantity | largest difference | allowed | |", "|---|---|---|---|"]
    for row in rows:
        verdict = "ok" if row.difference <= row.bound else "**too far**"
        lines.append(f"| {row.quantity} | {row.difference:.1e} {row.unit} | {row.bound:.0e} | {verdict} |")
    return "\n".join(lines)


def forward(apply: Callable, inputs: Any, outputs: Any) -> Iterator[Row]:
    """The rows that need no gradient."""
    tokens_BLP = jnp.asarray(inputs["tokens"])
    for lengths, suffix in (("lengths_full", ""), ("lengths_var", "_var")):
        posterior = apply("encode", tokens_BLP, inputs[lengths])
        which = "lengths 0, 1, …" if suffix else "full length"
        yield Row(f"mean of z, {which}", "", _apart(posterior.mean_BZ, outputs[f"mu{suffix}"]), 1e-5)
        yield Row(f"scale of z, {which}", "", _apart(posterior.scale_BZ, outputs[f"sigma{suffix}"]), 1e-5)
        yield Row(f"KL, {which}", "relative", _relative(musicvae.kl_B(posterior), outputs[f"kl{suffix}"]), 1e-5)
    for place, z_BZ in (("fixed", inputs["z_fixed"]), ("post", outputs["z_post"])):
        which = "fixed z" if place == "fixed" else "posterior z"
        yield Row(
            f"bar embeddings, {which}", "", _apart(apply("conduct", z_BZ), outputs[f"tf_{place}/conductor"]), 1e-5
        )
        by_part = apply("logits", tokens_BLP, z_BZ)
        logits = {part: by_part[part] for part in PARTS}  # jit gives a dict back in alphabetical order
        if place == "fixed":
            for part in PARTS:
                expected = outputs[f"tf_fixed/logits_{part}"]
                yield Row(f"logits, {part}", "", _apart(logits[part][: len(expected)], expected), 1e-4)
            nll_BSP = musicvae.nll_BSP(logits, tokens_BLP, jnp.asarray(inputs["seg_lengths"]))
            yield Row(
                "NLL by bar and part, bars cut short", "nats", _apart(nll_BSP, outputs["seg/nll_bar_track"]), 1e-3
            )
        nll_BSP = musicvae.nll_BSP(logits, tokens_BLP)
        yield Row(f"NLL by bar and part, {which}", "nats", _apart(nll_BSP, outputs[f"tf_{place}/nll_bar_track"]), 1e-3)


def _greedy(apply: Callable, inputs: Any, outputs: Any) -> Iterator[Row]:
    """Given TensorFlow's tokens, each step must choose TensorFlow's next; by induction, so does greedy decoding."""
    for which, z_BZ, key in (
        ("fixed z", inputs["z_fixed"], "greedy"),
        ("posterior z", outputs["z_post"], "greedy_post"),
    ):
        tokens_BLP = outputs[f"{key}/tokens"]
        logits = apply("logits", tokens_BLP, z_BZ)
        chosen_BLP = np.stack([np.argmax(logits[part], axis=-1) for part in PARTS], axis=-1)
        yield Row(f"greedy tokens, {which}", "of all differ", float(np.mean(chosen_BLP != tokens_BLP)), 0.0)


def _training(config: MusicVAEConfig, params: Any, train: Any, step: int) -> Iterator[Row]:
    tokens_BLP, eps_BZ = jnp.asarray(train["tokens"]), jnp.asarray(train["eps"])

    @jax.jit
    def slope(params, beta):
        def loss(params):
            return objectives.vae_loss(
                config, params, tokens_BLP, eps_BZ, beta=beta, free_bits=float(train["free_bits"])
            )

        return jax.value_and_grad(loss, has_aux=True)(params)

    for at in (0, 1, step):
        (loss, _), gradients = slope(params, train[f"step{at}/beta"])
        yield Row(f"loss at step {at:,}", "relative", _relative(loss, train[f"step{at}/loss"]), 1e-5)
    named = porting.names_from_params(gradients)
    yield Row("all gradients", "relative", max(_relative(g, train[f"grad/{n}"]) for n, g in named.items()), 1e-5)

    rule = optimizer.scale_by_reference_adam()
    clip = optimizer.clip(1.0)
    state, moved = rule.init(params), params
    first, last, decay = optimizer.REFERENCE_RATES
    for n in range(3):
        _, gradients = slope(moved, train["max_beta"])
        updates, state = rule.update(clip.update(gradients, clip.init(moved))[0], state)
        rate = (first - last) * decay ** (step + n) + last
        moved = jax.tree.map(lambda p, u, rate=rate: p - rate * u, moved, updates)
    named = porting.names_from_params(moved)
    distances = np.concatenate([np.abs(w - train[f"after3/{n}"]).ravel() for n, w in named.items()])
    # Where a gradient is nearly zero, Adam divides its rounding error by as little; such weights are counted apart.
    yield Row("weights after 3 Adam steps, 99.9 % of them", "", float(np.quantile(distances, 0.999)), 1e-6)
    yield Row("weights after 3 Adam steps, all", "", float(distances.max()), 1e-4)


def applier(config: MusicVAEConfig, params: Any) -> Callable:
    """The model's methods by name, each compiled once."""
    methods = {
        method: jax.jit(lambda params, *rest, m=method: MusicVAE(config).apply({"params": params}, *rest, method=m))
        for method in ("encode", "conduct", "logits")
    }
    return lambda method, *arguments: methods[method](params, *map(jnp.asarray, arguments))


def _apart(ours: Any, theirs: np.ndarray) -> float:
    if np.shape(ours) != theirs.shape:
        raise CheckpointError(
            f"expected the reference's shape {theirs.shape}, got {np.shape(ours)}; "
            "give the checkpoint that these numbers were made with"
        )
    return float(np.max(np.abs(np.asarray(ours, np.float64) - theirs)))


def _relative(ours: Any, theirs: np.ndarray) -> float:
    """Largest difference over the largest value, of one array."""
    return _apart(ours, theirs) / max(float(np.max(np.abs(theirs))), 1e-30)
