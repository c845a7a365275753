"""All 16 bars at once: the sequential sampler's tokens for a few rows, in fewer steps.

A bar of one part is a function of one unknown alone, the token before it: the last of the bar before. So all bars are
decoded together after a guessed token, 16 steps of 16 times the rows. Then each song is walked from bar to bar: a bar
that was not decoded after the token that the bar before it ended in is decoded again. Where a bar ended in the very
token it was entered with, the later ones might as well, so all of them are. That goes on until every walk finds its
bars decoded.

What comes out are the sequential sampler's tokens, since noise belongs to (row, bar, step, part) and a row's sums do
not depend on the rows beside it (see `blocks`).
"""

import functools
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from jaxaccomp.arrays import BARS, NO_EVENT, STEPS
from jaxaccomp.generate.decoding import blocks, steps
from jaxaccomp.models import musicvae

ROWS = 16
"""Up to so many songs at a time it is faster than the sequential sampler on a CPU."""


class ConvergedTokens(NamedTuple):
    """Tokens, and what they cost."""

    tokens_BLP: Int[np.ndarray, "B L parts"]
    """What `sampler.sample` gives."""
    bars: tuple[tuple[int, ...], ...]
    """For each part, how many bars each sweep decoded; in the first one all."""


def decode(
    decoders: Sequence[Mapping[str, Any]],
    top_p: Any,
    embedding_BSE: Float[Array | np.ndarray, "B S E"],
    keys_B: Key[Array, "B"],
    temperature_BP: Float[np.ndarray, "B parts"],
    bias: Mapping[str, Float[Array | np.ndarray, "B L _"]] | None = None,
    *,
    parts: Sequence[str],
    dtype: Any = None,
) -> ConvergedTokens:
    """Decodes songs; arguments as of `sampler.decode`, but biases by part."""
    embedding_BSE = np.asarray(embedding_BSE)
    biases = {part: np.asarray(b).reshape(len(b), BARS, -1, b.shape[-1]) for part, b in (bias or {}).items()}
    keys, kind = np.asarray(jax.random.key_data(keys_B)), str(jax.random.key_impl(keys_B))

    def launch(p: int, song_N: np.ndarray, bar_N: np.ndarray, before_N: np.ndarray) -> Callable[[], np.ndarray]:
        bars = functools.partial(_bars, decoders[p], top_p, part=parts[p], kind=kind, dtype=dtype)
        rows = [embedding_BSE[song_N, bar_N], bar_N, before_N, keys[song_N], temperature_BP[song_N, p, None]]
        if parts[p] in biases:
            rows.append(biases[parts[p]][song_N, bar_N])
        launched = blocks.launch(bars, *rows, sizes=blocks.whole())
        return lambda: np.concatenate([np.asarray(block)[:count] for count, block in launched])

    return converge(launch, len(embedding_BSE), len(parts))


def converge(
    launch: Callable[[int, np.ndarray, np.ndarray, np.ndarray], Callable[[], np.ndarray]], batch: int, parts: int
) -> ConvergedTokens:
    """Has bars decoded until every walk finds its own.

    Args:
        launch: starts to decode bars of a part, given its number and for each bar song, number and the token before;
            gives what waits for their tokens [N, T].
        batch: number of songs.
        parts: number of parts.
    """
    walks = [_walk(batch) for _ in range(parts)]
    wanted: dict[int, Any] = {p: next(walk) for p, walk in enumerate(walks)}
    found: dict[int, np.ndarray] = {}
    counts: list[list[int]] = [[] for _ in walks]
    while wanted:
        running = {p: launch(p, *bars) for p, bars in wanted.items()}  # parts side by side
        for p, fetch in running.items():
            counts[p].append(len(wanted[p][0]))
            try:
                wanted[p] = walks[p].send(fetch())
            except StopIteration as stop:
                found[p] = stop.value
                del wanted[p]
    return ConvergedTokens(np.stack([found[p] for p in range(parts)], axis=-1), tuple(map(tuple, counts)))


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
            entered, before, is_lost = None, musicvae.NO_TOKEN, False
            for bar in range(BARS):
                tokens_T = known.get((song, bar, before))
                if tokens_T is not None:
                    path.append(tokens_T)
                    ends_BS[song, bar] = tokens_T[-1]
                else:
                    repeats = entered == before and not is_lost
                    wanted.update((song, later, before) for later in range(bar, BARS if repeats else bar + 1))
                    is_lost = True
                entered, before = before, int(ends_BS[song, bar])
        wanted -= known.keys()
    return np.stack(path).reshape(batch, STEPS)


@functools.partial(blocks.jit_by_dtype, static_argnames=("part", "kind", "dtype"))
def _bars(
    decoder: Mapping[str, Any],
    top_p: Any,
    embedding_NE: Array,
    bar_N: Array,
    before_N: Array,
    keys: Array,
    temperature_N1: Array,
    bias_NTV: Array | None = None,
    *,
    part: str,
    kind: str,
    dtype: Any,
) -> Array:
    """Tokens [N, T] of bars of one part."""
    keys_N = jax.random.wrap_key_data(keys, impl=kind)
    start = steps.start_bar(decoder, part, embedding_NE, keys_N, bar_N, dtype)

    def step(state: Any, of_step: tuple[Array, Array | None]) -> tuple[Any, Array]:
        noise_NV, bias_NV = of_step
        carries, logits_NV = steps.step_part(decoder, start.start_GB, *state, dtype)
        if bias_NV is not None:
            logits_NV = logits_NV + bias_NV
        token_N = steps.pick(logits_NV, noise_NV, temperature_N1, top_p)
        return (carries, token_N), token_N

    bias_TNV = None if bias_NTV is None else jnp.transpose(bias_NTV, (1, 0, 2))
    _, tokens_TN = jax.lax.scan(step, (start.carries, before_N), (start.noise_TBV, bias_TNV))
    return jnp.transpose(tokens_TN)
