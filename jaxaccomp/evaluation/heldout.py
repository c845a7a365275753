"""Windows to evaluate on: latents of songs that training did not see, and which of them are songs' own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike

import numpy as np
from jaxtyping import Float, Int

from jaxaccomp.arrays import PARTS
from jaxaccomp.data import shards, windows
from jaxaccomp.data.batches import SONG_CAP
from jaxaccomp.errors import DatasetError


@dataclass(frozen=True)
class Heldout:
    """Windows and what the encoder makes of them.

    Attributes:
        tokens_NLP: melody, bass and drums.
        mean_NZ: means of the encoder's posteriors.
        scale_NZ: their standard deviations.
        song_N: number of the song each window is from.
        available: windows there are in the splits.
    """

    tokens_NLP: Int[np.ndarray, "N L P"]
    mean_NZ: Float[np.ndarray, "N Z"]
    scale_NZ: Float[np.ndarray, "N Z"]
    song_N: Int[np.ndarray, " N"]
    available: int

    def __len__(self) -> int:
        return len(self.song_N)

    def spread(self, count: int) -> Int[np.ndarray, " n"]:
        """Rows of at most `count` windows, evenly spread over all."""
        count = min(count, len(self))
        return np.arange(count) * len(self) // max(count, 1)

    def take(self, rows: Int[np.ndarray, " n"]) -> "Heldout":
        """These windows alone."""
        arrays = (self.tokens_NLP, self.mean_NZ, self.scale_NZ, self.song_N)
        return Heldout(*(array[rows] for array in arrays), self.available)

    def strangers(self, seed: int) -> Int[np.ndarray, " N"] | None:
        """For each window, a window of another song, at random; None if there is one song only."""
        order_N = np.argsort(self.song_N, kind="stable")
        sorted_N = self.song_N[order_N]
        first_N, last_N = (np.searchsorted(sorted_N, self.song_N, side=side) for side in ("left", "right"))
        others_N = len(self) - (last_N - first_N)
        if not (others_N > 0).all():
            return None
        draw_N = np.random.default_rng([seed, 0]).integers(0, others_N)
        return order_N[np.where(draw_N < first_N, draw_N, draw_N + last_N - first_N)]


Encode = Callable[[Int[np.ndarray, "N L P"]], tuple[Float[np.ndarray, "N Z"], Float[np.ndarray, "N Z"]]]
"""Means and standard deviations of the posteriors of windows."""


def read(
    source: str | PathLike,
    splits: Sequence[str] = ("test",),
    limit: int | None = None,
    seed: int = 0,
    encode: Encode | None = None,
) -> Heldout:
    """Reads splits of a dataset of latents, or of windows, which are then encoded.

    Args:
        source: its folder.
        splits: which splits.
        limit: at most so many windows: a random choice in which a song counts as in training, by its number of
            windows up to a cap. None: all there are.
        seed: decides that choice.
        encode: the encoder, for a dataset of windows.

    Raises:
        DatasetError: there is no such dataset or split, it is empty, or it holds no latents and there is no encoder.
    """
    of_windows = encode is not None and shards.read_metadata(source)["name"] == windows.NAME
    arrays: dict[str, list[np.ndarray]] = {
        name: [] for name in (("tokens",) if of_windows else (*PARTS, "mean", "scale"))
    }
    song_X: list[np.ndarray] = []
    songs = 0
    opened = [shards.open_split(source, split) for split in splits]
    for data in opened:
        lacking = [name for name in arrays if name not in data.take(np.arange(1))] if len(data) else []
        if lacking:
            raise DatasetError(
                f"{source}: holds no {', '.join(lacking)}; expected what `python -m jaxaccomp latents` writes"
            )
        song_X.append(songs + np.repeat(np.arange(len(data.windows_by_song)), data.windows_by_song))
        songs += len(data.windows_by_song)
    song_N = np.concatenate(song_X)
    if not len(song_N):
        raise DatasetError(f"{source}: no windows in {', '.join(splits)}; evaluate on another split, or on more songs")
    chosen_N = _choose(song_N, limit, seed)
    start = 0
    for data in opened:
        rows = chosen_N[(chosen_N >= start) & (chosen_N < start + len(data))] - start
        start += len(data)
        if len(rows):
            for name, array in data.take(rows).items():
                if name in arrays:
                    arrays[name].append(array)
    joined = {name: np.concatenate(pieces) for name, pieces in arrays.items()}
    if of_windows:
        tokens_NLP = joined["tokens"].astype(np.int32)
        return Heldout(tokens_NLP, *encode(tokens_NLP), song_N[chosen_N], len(song_N))
    tokens_NLP = np.stack([joined[part].astype(np.int32) for part in PARTS], axis=-1)
    mean_NZ, scale_NZ = joined["mean"].astype(np.float32), joined["scale"].astype(np.float32)
    return Heldout(tokens_NLP, mean_NZ, scale_NZ, song_N[chosen_N], len(song_N))


def _choose(song_N: np.ndarray, limit: int | None, seed: int) -> np.ndarray:
    """Rows in ascending order."""
    if limit is None or limit >= len(song_N):
        return np.arange(len(song_N))
    random = np.random.default_rng([seed, 1])
    by_song = np.lexsort((random.random(len(song_N)), song_N))
    first_N = np.searchsorted(song_N, song_N)
    capped = by_song[np.arange(len(song_N)) - first_N < SONG_CAP]
    return np.sort(random.permutation(capped)[:limit])
