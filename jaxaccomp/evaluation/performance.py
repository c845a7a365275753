"""What is heard when the decoders play: sampled bass and drums under real melodies, measured beside the real thing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxaccomp.arrays import BAND, PARTS, STEPS
from jaxaccomp.config import MusicVAEConfig
from jaxaccomp.evaluation import musicality
from jaxaccomp.evaluation.heldout import Heldout
from jaxaccomp.generate import sampler
from jaxaccomp.models import hits


@dataclass(frozen=True)
class Band:
    """The decoders, ready to play.

    Attributes:
        config: sizes of the MusicVAE.
        params: its parameters.
        seed: decides every draw.
        batch_size: windows decoded at once.
        progress: told the number of windows, each time some are decoded.
        dtype: what the operands of matrix products are rounded to; None keeps float32.
    """

    config: MusicVAEConfig
    params: Mapping[str, Any]
    seed: int
    batch_size: int
    progress: Callable[[int], Any]
    dtype: Any = None

    def decode(
        self, z_NZ: np.ndarray, temperature: Sequence[float], parts: Sequence[str] = BAND, number: int = 0
    ) -> np.ndarray:
        """Samples windows; each has a key of its own, made of the seed, `number` and its row."""
        base = jax.random.fold_in(jax.random.key(self.seed), number)
        keys_N = jax.vmap(jax.random.fold_in, (None, 0))(base, jnp.arange(len(z_NZ)))
        play, pieces = sampler.Sampler(self.config, self.params, dtype=self.dtype), []
        for first in range(0, len(z_NZ), self.batch_size):
            rows = slice(first, first + self.batch_size)
            z_BZ = jnp.asarray(z_NZ[rows], jnp.float32)
            tokens_BLP = play(z_BZ, keys_N[rows], tuple(temperature), tuple(parts))
            pieces.append(np.asarray(tokens_BLP))
            self.progress(len(pieces[-1]))
        return np.concatenate(pieces)

    def accompany(
        self, melody_NL: np.ndarray, z_NZ: np.ndarray, temperature: Sequence[float], number: int = 0
    ) -> np.ndarray:
        """Trios of given melodies with bass and drums decoded from z."""
        return np.concatenate([melody_NL[:, :, None], self.decode(z_NZ, temperature, number=number)], axis=2)


def compare(
    band: Band, heldout: Heldout, latents: Mapping[str, np.ndarray | None], temperature: Sequence[float]
) -> dict[str, Any]:
    """`statistics` and `overlap` of what each source's z sounds like, with two controls.

    `real` is the songs' own bass and drums; `real_shuffled` those of another song under each melody: good playing to
    the wrong tune. `real_halves`, among the overlaps, compares one half of the real songs with the other: what can be
    hoped for.
    """
    real_NLP = heldout.tokens_NLP
    trios: dict[str, np.ndarray | None] = {"real": real_NLP, "real_shuffled": None}
    strangers_N = heldout.strangers(band.seed)
    if strangers_N is not None:
        trios["real_shuffled"] = np.concatenate([real_NLP[:, :, :1], real_NLP[strangers_N][:, :, 1:]], axis=2)
    for number, (source, z_NZ) in enumerate(latents.items()):
        trios[source] = None if z_NZ is None else band.accompany(real_NLP[:, :, 0], z_NZ, temperature, number)
    overlap = {name: None if trio is None else overlaps(trio, real_NLP) for name, trio in trios.items()}
    return {
        "statistics": {name: None if trio is None else statistics(trio) for name, trio in trios.items()},
        "overlap": overlap | {"real": None, "real_halves": _real_halves(heldout)},
    }


def reconstruction(band: Band, heldout: Heldout) -> dict[str, Any]:
    """What argmax decoding of the encoder's mean gets right: of all tokens, and of those that begin something."""
    found_NLP = band.decode(heldout.mean_NZ, (0.0,) * len(PARTS), PARTS)
    accuracy, onset_accuracy = {}, {}
    for number, part in enumerate(PARTS):
        found = hits.count(part, found_NLP[:, :, number], heldout.tokens_NLP[:, :, number])
        accuracy[part] = float(found.right_N.mean() / STEPS)
        onsets = found.onsets_N.sum()
        onset_accuracy[part] = float(found.onsets_right_N.sum() / onsets) if onsets else None
    return {"accuracy": accuracy, "onset_accuracy": onset_accuracy}


def statistics(trio_NLP: np.ndarray) -> dict[str, float | None]:
    """Mean of each measure over the windows in which it means something."""
    return {
        name: None if np.isnan(value_N).all() else float(np.nanmean(value_N))
        for name, value_N in musicality.measure(trio_NLP).items()
    }


def overlaps(trio_NLP: np.ndarray, real_MLP: np.ndarray) -> dict[str, float | None]:
    """Overlap of each distribution with the real songs', and their mean."""
    found = musicality.overlaps(trio_NLP, real_MLP)
    known = [value for value in found.values() if value is not None]
    return found | {"mean": float(np.mean(known)) if known else None}


def _real_halves(heldout: Heldout) -> dict[str, float | None] | None:
    odd_N = np.unique(heldout.song_N, return_inverse=True)[1] % 2 == 1
    if odd_N.all() or not odd_N.any():
        return None
    return overlaps(heldout.tokens_NLP[odd_N], heldout.tokens_NLP[~odd_N])
