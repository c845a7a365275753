"""How Gaussian the latents of real songs are: projections on many directions against the standard normal."""

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike

import numpy as np
from jaxtyping import Float

from jaxaccomp.evaluation import heldout

EDGES = np.linspace(-4, 4, 41)
"""Edges of the histograms' bins, in standard deviations."""


@dataclass(frozen=True)
class Projection:
    """Latents of songs on one direction.

    Attributes:
        counts: of windows in each bin of `EDGES`; those outside are left out.
        mean: of the projections.
        deviation: their standard deviation.
        distance: Kolmogorov and Smirnov's statistic against N(0, 1): the largest difference of the two distribution
            functions, 0 to 1.
        p_value: of that statistic, on one window of each song, since windows of a song are no independent draws.
        mean_deviation: standard deviation of the posterior means alone, without the posterior's own width.
    """

    counts: tuple[int, ...]
    mean: float
    deviation: float
    distance: float
    p_value: float
    mean_deviation: float


def project(
    source: str | PathLike,
    directions: Mapping[str, Float[np.ndarray, " Z"]] | None = None,
    *,
    random: int = 4,
    principal: int = 4,
    limit: int = 5000,
    seed: int = 0,
) -> dict[str, Projection]:
    """Projects latents of test songs on directions of length 1.

    A latent is a draw from a song's posterior, as training decodes it: what the prior asks to be N(0, I).

    Args:
        source: dataset of latents, as `latents` wrote it.
        directions: further directions by name, of any length.
        random: how many random directions.
        principal: how many principal directions of the posterior means, those of most variance first.
        limit: at most so many windows.
        seed: of the random directions and draws.

    Returns:
        Projections by name: `random 1`, `principal 1`, and the names given.
    """
    from scipy.stats import kstest

    data = heldout.read(source, ("test",), limit, seed)
    generator = np.random.default_rng(seed)
    z_NZ = data.mean_NZ + data.scale_NZ * generator.standard_normal(data.mean_NZ.shape)
    centered_NZ = data.mean_NZ - data.mean_NZ.mean(0)
    axes = {f"random {n + 1}": generator.standard_normal(z_NZ.shape[1]) for n in range(random)}
    _, _, rows_ZZ = np.linalg.svd(centered_NZ, full_matrices=False)
    axes |= {f"principal {n + 1}": rows_ZZ[n] for n in range(min(principal, len(rows_ZZ)))}
    axes |= dict(directions or {})
    order_N = generator.permutation(len(data))
    one_each = order_N[np.unique(data.song_N[order_N], return_index=True)[1]]
    found = {}
    for name, axis_Z in axes.items():
        unit_Z = np.asarray(axis_Z) / np.linalg.norm(axis_Z)
        projected_N = z_NZ @ unit_Z
        found[name] = Projection(
            tuple(np.histogram(projected_N, EDGES)[0].tolist()),
            float(projected_N.mean()),
            float(projected_N.std()),
            float(kstest(projected_N, "norm").statistic),
            float(kstest(projected_N[one_each], "norm").pvalue),
            float((data.mean_NZ @ unit_Z).std()),
        )
    return found
