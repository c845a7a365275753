"""How near `like` comes to its reference: on pairs of a melody and another song of another style.

What counts was settled beforehand. Nearer in pattern: more of the reference's drum pattern, the share of hits at each
step of the bar and drum that two windows have in common of what either has. Nearer in density: steps with a drum, a
bar. Key agreement: bass notes in the melody's key.
"""

from collections.abc import Sequence
from os import PathLike

import numpy as np
from jaxtyping import Float, Int

from jaxaccomp.arrays import WindowTokens
from jaxaccomp.evaluation import heldout
from jaxaccomp.generate import conditioning
from jaxaccomp.generate.options import TEMPERATURE
from jaxaccomp.latent.space import LatentSpace
from jaxaccomp.models.musicvae import Posterior
from jaxaccomp.music import measures, tokens

_BAND = ("bass", "drums")


def measure(
    space: LatentSpace, source: str | PathLike, pairs: int = 60, amount: float = 1.0, seed: int = 0
) -> dict[str, float]:
    """Plays each melody plainly and in its reference's manner, under the same noise.

    A reference is another song's windows; of the other songs, each melody gets one of those whose drum pattern is
    least like its own song's, a third of them all, at random.

    Args:
        space: plays.
        source: dataset of latents, of whose test songs pairs are made.
        pairs: at most so many.
        amount: see `conditioning.apply_manner`.
        seed: of pairs and draws.
    """
    data = heldout.read(source, ("test",), None, seed)
    songs, first_N = np.unique(data.song_N, return_index=True)
    random = np.random.default_rng(seed)
    chosen = random.permutation(len(songs))[:pairs]
    pattern_NX = patterns(data.tokens_NLP[:, :, 2])
    by_song_KX = np.stack([pattern_NX[data.song_N == song].mean(0) for song in songs])
    rows = []
    for k in chosen:
        unlike = np.argsort(overlap(by_song_KX[k], by_song_KX))[: max(len(songs) // 3, 1)]
        rows.append(np.flatnonzero(data.song_N == songs[random.choice(unlike[unlike != k])]))
    references = [data.tokens_NLP[of_song] for of_song in rows]
    melody_NL = data.tokens_NLP[first_N[chosen], :, 0]
    guessed = space.guess(np.concatenate([melody_NL, *(windows_NLP[:, :, 0] for windows_NLP in references)]))
    noise_NZ, moved_NZ, at = space.prior(len(chosen), seed), [], len(chosen)
    for row, of_song in enumerate(rows):
        told = Posterior(data.mean_NZ[of_song], data.scale_NZ[of_song])
        own = Posterior(*(array[at : at + len(of_song)] for array in guessed))
        one = Posterior(*(array[row : row + 1] for array in guessed))
        moved = conditioning.apply_manner(one, conditioning.manner_of(told, own), amount)
        moved_NZ.append(moved.mean_BZ[0] + moved.scale_BZ[0] * noise_NZ[row])
        at += len(of_song)
    plain_NZ = guessed.mean_BZ[: len(chosen)] + guessed.scale_BZ[: len(chosen)] * noise_NZ
    like_NZ = np.stack(moved_NZ)
    plain_NLP, like_NLP = (_play(space, melody_NL, z_NZ, seed) for z_NZ in (plain_NZ, like_NZ))
    return compare(plain_NLP, like_NLP, references)


def compare(plain_NLP: WindowTokens, like_NLP: WindowTokens, references: Sequence[np.ndarray]) -> dict[str, float]:
    """Shares of pairs in which the result is nearer to its reference than the plain one is, and the keys of both."""
    target_NX = np.stack([patterns(windows_NLP[:, :, 2]).mean(0) for windows_NLP in references])
    target_N = np.array([(windows_NLP[:, :, 2] > 0).mean() for windows_NLP in references])
    overlaps = [overlap(patterns(result_NLP[:, :, 2]), target_NX) for result_NLP in (plain_NLP, like_NLP)]
    apart = [np.abs((result_NLP[:, :, 2] > 0).mean(1) - target_N) for result_NLP in (plain_NLP, like_NLP)]
    keys = [measures.measure(result_NLP)["bass_in_key"].mean() for result_NLP in (plain_NLP, like_NLP)]
    return {
        "pairs": float(len(references)),
        "nearer in drum pattern, share of pairs": float((overlaps[1] > overlaps[0]).mean()),
        "nearer in drum density, share of pairs": float((apart[1] < apart[0]).mean()),
        "pattern overlap with the reference, plain": float(overlaps[0].mean()),
        "pattern overlap with the reference, like": float(overlaps[1].mean()),
        "steps a bar off the reference's density, plain": float(16 * apart[0].mean()),
        "steps a bar off the reference's density, like": float(16 * apart[1].mean()),
        "bass notes in the melody's key, plain": float(keys[0]),
        "bass notes in the melody's key, like": float(keys[1]),
    }


def patterns(drums_NL: Int[np.ndarray, "N L"]) -> Float[np.ndarray, "N X"]:
    """How often each drum is hit at each step of the bar, by window."""
    hit_NSTD = tokens.hits(drums_NL).reshape(len(drums_NL), -1, 16, tokens.DRUMS)
    return hit_NSTD.mean(1).reshape(len(drums_NL), -1)


def overlap(first_X: Float[np.ndarray, "... X"], second_X: Float[np.ndarray, "... X"]) -> np.ndarray:
    """Share of two patterns, or of each of several, that is common to both, 0 to 1."""
    common, either = np.minimum(first_X, second_X).sum(-1), np.maximum(first_X, second_X).sum(-1)
    return common / np.maximum(either, 1e-9)


def _play(space: LatentSpace, melody_NL: np.ndarray, z_NZ: np.ndarray, seed: int) -> WindowTokens:
    temperature = [TEMPERATURE[part] for part in _BAND]
    band_NLP = space.decode(z_NZ, seed=seed, temperature=temperature, parts=_BAND)
    return np.concatenate([melody_NL[:, :, None], band_NLP], axis=-1)
