"""What a given part is worth to the other one: its surprise at latents that know the part, and at others."""

from os import PathLike

import jax
import numpy as np

from jaxaccomp.arrays import BAND, PARTS
from jaxaccomp.evaluation import heldout
from jaxaccomp.generate import given
from jaxaccomp.latent.space import LatentSpace
from jaxaccomp.models import correlation


def measure(space: LatentSpace, source: str | PathLike, count: int = 100, seed: int = 0) -> dict[str, dict[str, float]]:
    """The part to be played, in nats a window, at latents of several kinds, on windows of as many test songs.

    Args:
        space: decodes.
        source: dataset of latents, whose test songs are measured.
        count: at most so many windows.
        seed: of the choice and the draws.

    Returns:
        For each part that is to be played, its surprise at a draw of `encoder` (all parts known), of `melody` (the
        surrogate's) and of `given` (melody and the other part), all at spread 1.
    """
    data = heldout.read(source, ("test",), None, seed)
    _, first_N = np.unique(data.song_N, return_index=True)
    data = data.take(np.sort(np.random.default_rng(seed).permutation(first_N)[:count]))
    posterior = space.guess(data.tokens_NLP[:, :, 0])
    key = jax.random.key(seed)
    noise_NZ = np.random.default_rng(seed).standard_normal(data.mean_NZ.shape).astype(np.float32)
    correlated = space.params.get("correlation")
    plain_NZ = posterior.mean_BZ + posterior.scale_BZ * correlation.correlate(correlated, noise_NZ)
    found = {}
    for part in BAND:
        missing = next(other for other in BAND if other != part)
        known_NL = data.tokens_NLP[:, :, PARTS.index(part)]
        chosen_NZ = given.choose(space.params["musicvae"], posterior, known_NL, part, key, 1, correlation=correlated)[0]
        kinds = {"encoder": data.mean_NZ + data.scale_NZ * noise_NZ, "melody": plain_NZ, "given": chosen_NZ}
        asked_NL = data.tokens_NLP[:, :, PARTS.index(missing)]
        found[missing] = {
            name: float(given.nll(space.params["musicvae"], z_NZ, asked_NL, missing).mean())
            for name, z_NZ in kinds.items()
        }
    return found
