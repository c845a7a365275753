"""All 16 bars at once: the sequential sampler's tokens for a few rows, in fewer steps.

A bar of one part is a function of one unknown alone, the token before it: the last of the bar before. So all bars are
decoded together after a guessed token, 16 steps of 16 times the rows. Then each song is walked from bar to bar: a bar that was
not decoded after the token that the bar before it ended in is decoded again. After the first of such tokens all later
bars are decoded as well, since a token that ends one bar tends to end others. That goes on until every walk finds all of
its bars decoded.

What comes out are the sequential sampler's tokens, since noise belongs to (row, bar, step, part) and a row's sums do
not depend on the rows beside it (see `blocks`).
"""

import functools
from collections.abc import Generator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from jaxaccomp.arrays import BARS, NO_EVENT, STEPS, STEPS_PER_BAR, VOCABULARY
from jaxaccomp.generate import blocks, steps
from jaxaccomp.models import musicvae

ROWS = 8
"""Up to so many songs at a time it is faster than the sequential sampler on a CPU."""


class Decoded(NamedTuple):
    """Tokens, and what they cost."""

    tokens_BLP: Int[np.ndarray, "B L parts"]
    """What `sampler.sample` gives."""
    bars: tuple[tuple[int, ...], ...]
    """For each part, how many bars each sweep decoded; in the first one all."""


def decode(
    params: Mapping[str, Any],
    top_p: Any,
    z_BZ: Float[Array | np.ndarray, "B Z"],
    keys_B: Key[Array, "B"],
    temperature_BP: Float[np.ndarray, "B parts"],
    *,
    parts: Sequence[str],
    dtype: Any = None,
) -> Decoded:
    """Decodes latents; arguments as of `sampler.decode`."""
    conductor = {"conductor": params["conductor"]}
    embedding_BSE = _fetch(blocks.launch(functools.partial(_conduct, conductor, dtype=dtype), z_BZ))
    keys, kind = np.asarray(jax.random.key_data(keys_B)), str(jax.random.key_impl(keys_B))

    def launch(p: int, song_N: np.ndarray, bar_N: np.ndarray, before_N: np.ndarray) -> Any:
        """Starts to decode bars of a part, without waiting for them."""
        decoder = params[musicvae.decoder_name(parts[p])]
        bars = functools.partial(_bars, decoder, top_p, part=parts[p], kind=kind, dtype=dtype)
        of_song = (keys[song_N], temperature_BP[song_N, p, None])
        return blocks.launch(bars, embedding_BSE[song_N, bar_N], bar_N, before_N, *of_song)

    walks = [_walk(len(z_BZ)) for _ in parts]
    wanted: dict[int, Any] = {p: next(walk) for p, walk in enumerate(walks)}
    found: dict[int, np.ndarray] = {}
    counts: list[list[int]] = [[] for _ in parts]
    while wanted:
        running = {p: launch(p, *bars) for p, bars in wanted.items()}  # parts side by side
        for p, launched in running.items():
            counts[p].append(len(wanted[p][0]))
            try:
                wanted[p] = walks[p].send(_fetch(launched))
            except StopIteration as stop:
                found[p] = stop.value
                del wanted[p]
    return Decoded(np.stack([found[p] for p in range(len(parts))], axis=-1), tuple(map(tuple, counts)))


def _walk(batch: int) -> Generator[tuple[np.ndarray, np.ndarray, np.ndarray], np.ndarray, np.ndarray]:
    """Walks through one part of songs: yields bars as (song, bar, token before), and is sent their tokens [N, T].

    Returns the part's tokens [B, L] at last.
    """
    known: dict[tuple[int, int, int], np.ndarray] = {}
    ends_BS = np.full((batch, BARS), NO_EVENT)  # what bars ended in when last seen
    wanted = {(song, bar, NO_EVENT if bar else musicvae.NO_TOKEN) for song in range(batch) for bar in range(BARS)}
    while wanted:
        bars = np.array(sorted(wanted), np.int32)
        known.update(zip(map(tuple, bars.tolist()), (yield tuple(bars.T)), strict=True))
        wanted, path = set(), []
        for song in range(batch):
            before, is_lost = musicvae.NO_TOKEN, False
            for bar in range(BARS):
                tokens_T = known.get((song, bar, before))
                if tokens_T is not None:
                    path.append(tokens_T)
                    before = ends_BS[song, bar] = int(tokens_T[-1])
                    continue
                last = bar + 1 if is_lost else BARS
                wanted.update((song, later, before) for later in range(bar, last))
                before, is_lost = int(ends_BS[song, bar]), True
        wanted -= known.keys()
    return np.stack(path).reshape(batch, STEPS)


def _fetch(launched: Sequence[tuple[int, Any]]) -> np.ndarray:
    return np.concatenate([np.asarray(block)[:count] for count, block in launched])


@functools.partial(blocks.jit, static_argnames="dtype")
def _conduct(params: Mapping[str, Any], z_BZ: Array, *, dtype: Any) -> Array:
    return musicvae.conduct(params, z_BZ, dtype)


@functools.partial(blocks.jit, static_argnames=("part", "kind", "dtype"))
def _bars(
    decoder: Mapping[str, Any],
    top_p: Any,
    embedding_NE: Array,
    bar_N: Array,
    before_N: Array,
    keys: Array,
    temperature_N1: Array,
    *,
    part: str,
    kind: str,
    dtype: Any,
) -> Array:
    """Tokens [N, T] of bars of one part."""
    carries, start_NG = musicvae.bar_starts(decoder, VOCABULARY[part], embedding_NE, dtype)
    noise_TNV = steps.gumbel_TBV(jax.random.wrap_key_data(keys, impl=kind), bar_N, part)

    def step(state: Any, noise_NV: Array) -> tuple[Any, Array]:
        carries, logits_NV = steps.step_part(decoder, start_NG, *state, dtype)
        token_N = steps.pick(logits_NV, noise_NV, temperature_N1, top_p)
        return (carries, token_N), token_N

    _, tokens_TN = jax.lax.scan(step, (carries, before_N), noise_TNV, length=STEPS_PER_BAR)
    return jnp.transpose(tokens_TN)
