"""The hierarchical 16-bar trio MusicVAE: encoder, conductor, three part decoders, and its losses.

An encoder reads three parts at once and gives the posterior of a latent z. A conductor unrolls z into one embedding for
each bar. Three decoders, one for each part, unroll every bar from its embedding; only the previous token of the same
part crosses a bar line. With known tokens all 16 bars therefore run in parallel, 16 steps instead of 256.

The functions are pure functions of a plain dict of parameters; `MusicVAE` wraps them for Flax. `dtype` is what the
operands of matrix products are rounded to (bfloat16 on accelerators); sums and cell states stay in float32.

Source: magenta lstm_models.HierarchicalLstmDecoder, base_model.MusicVAE, configs `hierdec-trio_16bar` @526d3eb.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from jaxaccomp.arrays import BARS, NO_TOKEN, PARTS, STEPS, STEPS_PER_BAR, VOCABULARY
from jaxaccomp.config import MusicVAEConfig
from jaxaccomp.models import initialization, lstm, lstm_scan
from jaxaccomp.models.lstm import AnyArray

Params = Mapping[str, Any]
"""Nested dict of arrays, as `shapes` lays it out."""


class Posterior(NamedTuple):
    """Diagonal normal distribution of the latent: its mean and standard deviation."""

    mean_BZ: Float[AnyArray, "B Z"]
    scale_BZ: Float[AnyArray, "B Z"]


def decoder_name(part: str) -> str:
    """The place of a part's decoder in the parameters."""
    return f"decoder_{part}"


def shapes(config: MusicVAEConfig) -> dict[str, Any]:
    """Shapes of all parameters, as a nested dict: what a checkpoint must hold."""

    def dense(inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
        return {"kernel": (inputs, outputs), "bias": (outputs,)}

    def stack(inputs: int, sizes: Sequence[int]) -> dict[str, Any]:
        widths = [inputs, *sizes]
        return {f"layer_{n}": dense(widths[n] + size, 4 * size) for n, size in enumerate(sizes)}

    encoder, width = {}, sum(VOCABULARY.values())
    for number, size in enumerate(config.encoder_sizes):
        encoder[f"layer_{number}"] = {side: dense(width + size, 4 * size) for side in ("forward", "backward")}
        width = 2 * size
    embedding = config.embedding_size
    return {
        "encoder": encoder,
        "mean": dense(width, config.latent_size),
        "scale": dense(width, config.latent_size),
        # The original feeds the conductor a constant zero of width 1; its row is kept so that checkpoints fit.
        "conductor": {
            "initial_state": dense(config.latent_size, 2 * sum(config.conductor_sizes)),
            **stack(1, config.conductor_sizes),
        },
        **{
            decoder_name(part): {
                "initial_state": dense(embedding, 2 * sum(config.decoder_sizes)),
                **stack(VOCABULARY[part] + embedding, config.decoder_sizes),
                "output": dense(config.decoder_sizes[-1], VOCABULARY[part]),
            }
            for part in PARTS
        },
    }


def initialize(config: MusicVAEConfig, key: AnyArray) -> dict[str, Any]:
    """New parameters, drawn as `config.initialization` says."""
    return initialization.draw(shapes(config), key, partial(_kernel, config))


def _kernel(config: MusicVAEConfig, key: AnyArray, path: str, shape: tuple[int, int]) -> AnyArray:
    part, *rest = path.split("/")
    is_lstm = any(name.startswith("layer_") for name in rest)
    if config.initialization == "reference":
        return initialization.reference_kernel(key, shape, recurrent=is_lstm or rest == ["output"])
    into_decoder = part.startswith("decoder_") and rest in (["initial_state"], ["layer_0"])
    gain = initialization.EMBEDDING_GAIN if into_decoder else 1.0
    if not is_lstm:
        return initialization.dense_kernel(key, shape, gain)
    units = shape[1] // 4
    tokens = 0
    if rest[0] == "layer_0" and part != "conductor":
        tokens = sum(VOCABULARY.values()) if part == "encoder" else VOCABULARY[part.removeprefix("decoder_")]
    return initialization.lstm_kernel(key, tokens, shape[0] - tokens - units, units, gain)


def posterior(params: Params, e_BX: Float[AnyArray, "B X"], dtype: Any = None) -> Posterior:
    """The two heads: a mean and, through softplus, a standard deviation."""
    mean_BZ = dense(params["mean"], e_BX, dtype)
    return Posterior(mean_BZ, jax.nn.softplus(dense(params["scale"], e_BX, dtype)))


def dense(params: Params, x: AnyArray, dtype: Any = None) -> AnyArray:
    """`x @ kernel + bias`."""
    return lstm.matmul(x, params["kernel"], dtype) + params["bias"]


def encode(
    params: Params,
    tokens_BLP: Int[AnyArray, "B L P"],
    lengths_B: Int[AnyArray, "B"] | None = None,
    dtype: Any = None,
    unit_mask_BX: Float[AnyArray, "B X"] | None = None,
) -> Posterior:
    """Reads all three parts.

    Args:
        params: the model's parameters.
        tokens_BLP: melody, bass, drums at each sixteenth; any number of steps; `NO_TOKEN` where a token is hidden.
        lengths_B: steps that count of each row, 0 allowed; None: all.
        dtype: see the module.
        unit_mask_BX: what the heads' input is multiplied by (dropout); None: nothing.

    Returns:
        The posterior of z; a row of length 0 gets the heads' biases.
    """
    layers = [params["encoder"][f"layer_{number}"] for number in range(len(params["encoder"]))]
    tokens_PLB = jnp.transpose(tokens_BLP, (2, 1, 0))
    gates = {}
    for side, layer in layers[0].items():
        gates[side], row = 0, 0
        for part, tokens_LB in zip(PARTS, tokens_PLB, strict=True):
            table_VG = layer["kernel"][row : row + VOCABULARY[part]]
            gates[side] += lstm.token_gates(table_VG, tokens_LB)
            row += VOCABULARY[part]
    e_BX = lstm_scan.bidirectional(layers, gates, lengths_B, dtype)
    return posterior(params, e_BX if unit_mask_BX is None else e_BX * unit_mask_BX, dtype)


def conduct(params: Params, z_BZ: Float[AnyArray, "B Z"], dtype: Any = None) -> Float[AnyArray, "B S E"]:
    """Unrolls z into one embedding for each bar."""
    conductor = params["conductor"]
    layers = [conductor[f"layer_{number}"] for number in range(len(conductor) - 1)]
    sizes = tuple(layer["bias"].shape[0] // 4 for layer in layers)
    state_BX = jnp.tanh(dense(conductor["initial_state"], z_BZ, dtype))
    h_SBH = None
    for layer, size, carry in zip(layers, sizes, lstm.carries_from(state_BX, sizes), strict=True):
        if h_SBH is None:  # the input is a constant zero
            gates_SBG = jnp.zeros((BARS, z_BZ.shape[0], 4 * size), state_BX.dtype)
        else:
            gates_SBG = lstm.matmul(h_SBH, layer["kernel"][:-size], dtype)
        _, h_SBH = lstm_scan.scan(layer["kernel"][-size:], gates_SBG, carry, dtype=dtype, share=layer["bias"])
    return jnp.transpose(h_SBH, (1, 0, 2))


def bar_starts(
    decoder: Params, vocabulary: int, embedding_NE: Float[AnyArray, "N E"], dtype: Any = None
) -> tuple[tuple[lstm.Carry, ...], Float[AnyArray, "N G"]]:
    """What one part's decoder knows of its bars before their first step.

    Args:
        decoder: one part's parameters.
        vocabulary: that part's number of tokens.
        embedding_NE: embeddings of any bars.
        dtype: see the module.

    Returns:
        The initial state of each layer, and the first layer's gates except for the previous token's row: the
        embedding enters at every step alike.
    """
    sizes = tuple(decoder[f"layer_{number}"]["bias"].shape[0] // 4 for number in range(len(decoder) - 2))
    state_NX = jnp.tanh(dense(decoder["initial_state"], embedding_NE, dtype))
    first = decoder["layer_0"]
    kernel_EG = first["kernel"][vocabulary : vocabulary + embedding_NE.shape[1]]
    return lstm.carries_from(state_NX, sizes), lstm.matmul(embedding_NE, kernel_EG, dtype) + first["bias"]


def previous_tokens(tokens_BL: Int[AnyArray, "B L"]) -> Int[AnyArray, "B L"]:
    """Each step's previous token of one part; `NO_TOKEN` at the song's first step."""
    return jnp.concatenate([jnp.full_like(tokens_BL[:, :1], NO_TOKEN), tokens_BL[:, :-1]], axis=1)


def logits(
    params: Params,
    tokens_BLP: Int[AnyArray, "B L P"],
    z_BZ: Float[AnyArray, "B Z"],
    parts: Sequence[str] = PARTS,
    kept_BLP: Bool[AnyArray, "B L P"] | None = None,
    dtype: Any = None,
    unit_masks: Mapping[str, Sequence[Float[AnyArray, "B H"]]] | None = None,
) -> dict[str, Float[AnyArray, "B L V"]]:
    """Scores of each part's next token, given the true previous ones (teacher forcing).

    Args:
        params: the model's parameters.
        tokens_BLP: true tokens of all three parts, 256 steps.
        z_BZ: latents.
        parts: which parts to run; each runs by itself.
        kept_BLP: where False, the decoder is not told that token as the previous one (previous-token dropout).
        dtype: see the module.
        unit_masks: by part, what the output of each of its layers is multiplied by (dropout); None: nothing.

    Returns:
        Unnormalised log-probabilities by part.
    """
    embedding_BSE = conduct(params, z_BZ, dtype)
    previous_BLP = jnp.stack([previous_tokens(tokens_BLP[:, :, p]) for p in range(len(PARTS))], axis=-1)
    if kept_BLP is not None:
        hidden_BLP = jnp.concatenate([jnp.zeros_like(kept_BLP[:, :1]), ~kept_BLP[:, :-1]], axis=1)
        previous_BLP = jnp.where(hidden_BLP, NO_TOKEN, previous_BLP)
    return {
        part: _part_logits(
            params[decoder_name(part)],
            part,
            previous_BLP[:, :, PARTS.index(part)],
            embedding_BSE,
            dtype,
            (unit_masks or {}).get(part),
        )
        for part in parts
    }


def _part_logits(
    decoder: Params,
    part: str,
    previous_BL: AnyArray,
    embedding_BSE: AnyArray,
    dtype: Any,
    masks: Sequence[AnyArray] | None,
) -> AnyArray:
    batch = previous_BL.shape[0]
    embedding_NE = embedding_BSE.reshape(batch * BARS, -1)
    carries, start_NG = bar_starts(decoder, VOCABULARY[part], embedding_NE, dtype)
    previous_TN = previous_BL.reshape(batch * BARS, STEPS_PER_BAR).T
    gates_TNG, share = lstm.token_gates(decoder["layer_0"]["kernel"][: VOCABULARY[part]], previous_TN), start_NG
    for number, carry in enumerate(carries):
        layer, size = decoder[f"layer_{number}"], carry.h_BH.shape[1]
        if number > 0:
            gates_TNG, share = lstm.matmul(h_TNH, layer["kernel"][:-size], dtype), layer["bias"]
        _, h_TNH = lstm_scan.scan(layer["kernel"][-size:], gates_TNG, carry, dtype=dtype, share=share)
        if masks is not None:
            h_TNH = h_TNH * jnp.repeat(masks[number], BARS, axis=0)
    logits_TNV = dense(decoder["output"], h_TNH, dtype)
    return jnp.transpose(logits_TNV, (1, 0, 2)).reshape(batch, STEPS, -1)


def nll_BL(logits_BLV: Float[AnyArray, "B L V"], tokens_BL: Int[AnyArray, "B L"]) -> Float[AnyArray, "B L"]:
    """Negative log-likelihood of one part's token at each step, in nats."""
    true_BL = jnp.take_along_axis(logits_BLV, tokens_BL[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits_BLV, axis=-1) - true_BL


def nll_BSP(
    logits: Mapping[str, Float[AnyArray, "B L V"]],
    tokens_BLP: Int[AnyArray, "B L P"],
    lengths_BS: Int[AnyArray, "B S"] | None = None,
) -> Float[AnyArray, "B S parts"]:
    """Negative log-likelihood by bar and part, in nats: the sum over the bar's steps.

    Args:
        logits: scores by part, of any subset of the parts.
        tokens_BLP: the true tokens of all three parts.
        lengths_BS: steps that count of each bar; None: all.

    Returns:
        One column for each part in `logits`, in the order of `PARTS`.
    """
    columns = []
    for part in (part for part in PARTS if part in logits):  # a dict that comes out of jit is in alphabetical order
        nll_BST = nll_BL(logits[part], tokens_BLP[:, :, PARTS.index(part)]).reshape(-1, BARS, STEPS_PER_BAR)
        if lengths_BS is not None:
            nll_BST = jnp.where(jnp.arange(STEPS_PER_BAR) < lengths_BS[..., None], nll_BST, 0)
        columns.append(nll_BST.sum(-1))
    return jnp.stack(columns, axis=-1)


def kl_B(posterior: Posterior) -> Float[AnyArray, "B"]:
    """Divergence of the posterior from N(0, I), summed over z, in nats."""
    mean_BZ, scale_BZ = posterior
    return 0.5 * jnp.sum(scale_BZ**2 + mean_BZ**2 - 1 - 2 * jnp.log(scale_BZ), axis=-1)


def posterior_divergence_B(target: Posterior, guess: Posterior) -> Float[AnyArray, "B"]:
    """KL(target ‖ guess), nats, summed over z: small only where the guess covers all that the target may be."""
    ratio_BZ = target.scale_BZ / guess.scale_BZ
    offset_BZ = (target.mean_BZ - guess.mean_BZ) / guess.scale_BZ
    return jnp.sum(0.5 * (ratio_BZ**2 + offset_BZ**2 - 1.0) - jnp.log(ratio_BZ), axis=-1)


def kl_cost_B(kl_B: Float[AnyArray, "B"], free_bits: Any) -> Float[AnyArray, "B"]:
    """What of the divergence is charged: nothing below `free_bits` bits on an example's total."""
    return jnp.maximum(kl_B - free_bits * jnp.log(2.0), 0)


class MusicVAE(nn.Module):
    """The model as a Flax module: `model.apply({"params": params}, …, method="encode" | "conduct" | "logits")`.

    Attributes:
        config: layer sizes.
        dtype: what the operands of matrix products are rounded to; None keeps float32.
    """

    config: MusicVAEConfig
    dtype: Any = None

    def setup(self) -> None:
        """Declares all parameters, whatever the method."""
        # Whole parts are declared as one parameter tree each, so that every method's `init` makes all of them.
        trees = shapes(self.config)
        self.trees = {
            name: self.param(
                name, lambda key, n=name: initialization.draw({n: trees[n]}, key, partial(_kernel, self.config))[n]
            )
            for name in trees
        }

    def encode(self, tokens_BLP: Int[AnyArray, "B L P"], lengths_B: Int[AnyArray, "B"] | None = None) -> Posterior:
        """See `encode`."""
        return encode(self.trees, tokens_BLP, lengths_B, self.dtype)

    def conduct(self, z_BZ: Float[AnyArray, "B Z"]) -> Float[AnyArray, "B S E"]:
        """See `conduct`."""
        return conduct(self.trees, z_BZ, self.dtype)

    def logits(
        self,
        tokens_BLP: Int[AnyArray, "B L P"],
        z_BZ: Float[AnyArray, "B Z"],
        parts: Sequence[str] = PARTS,
        kept_BLP: Bool[AnyArray, "B L P"] | None = None,
    ) -> dict[str, Float[AnyArray, "B L V"]]:
        """See `logits`."""
        return logits(self.trees, tokens_BLP, z_BZ, parts, kept_BLP, self.dtype)
