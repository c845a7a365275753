"""Directions of attributes: fitted by ridge regression on a dataset of latents, and what moving along them does."""

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxaccomp.config import require
from jaxaccomp.errors import DatasetError
from jaxaccomp.evaluation import heldout
from jaxaccomp.evaluation.heldout import Heldout
from jaxaccomp.generate.directions import Direction, Directions
from jaxaccomp.generate.options import resolve_temperature
from jaxaccomp.latent.space import LatentSpace
from jaxaccomp.music import attributes

STEPS_ASKED = (-2, -1, 0, 1, 2)
"""Standard deviations asked for when responses are measured."""
_PENALTIES = (1.0, 10.0, 100.0, 1000.0)
_STEP_PENALTY = 10.0
_FEWEST = 100
"""Windows below which a regression says nothing."""


def fit(source: str | PathLike, fingerprint: str, limit: int = 20_000, seed: int = 0) -> Directions:
    """Fits a direction for each attribute to encoder means of songs.

    Two ridge regressions. From z to each attribute: how much of it z tells, R², on songs that neither it nor its
    penalty was fitted to. From all attributes to z: how z differs between songs that differ in one attribute and agree
    in the others. The latter is the direction: along the former's weights, the shortest way to another prediction, z
    leaves the region of real songs before the decoder plays anything else.

    Args:
        source: dataset of latents, as `latents` wrote it.
        fingerprint: of the checkpoint that made them.
        limit: at most so many windows of each split.
        seed: decides which.

    Raises:
        DatasetError: a split has too few windows.
    """
    from sklearn.linear_model import Ridge

    splits = {split: heldout.read(source, (split,), limit, seed) for split in ("train", "validation", "test")}
    for split, data in splits.items():
        if len(data) < _FEWEST:
            raise DatasetError(f"{source}: {len(data)} windows in {split!r}, too few to fit on; expected {_FEWEST}")
    values = {split: attributes.measure(data.tokens_NLP) for split, data in splits.items()}
    table_NA = np.stack(list(values["train"].values()), axis=1)
    mean_A, deviation_A = np.nanmean(table_NA, axis=0), np.nanstd(table_NA, axis=0)
    standard_NA = np.nan_to_num((table_NA - mean_A) / np.maximum(deviation_A, 1e-9))  # unknown: as it mostly is
    step_ZA = Ridge(_STEP_PENALTY).fit(standard_NA, splits["train"].mean_NZ).coef_
    found = {}
    for a, name in enumerate(attributes.NAMES):
        found[name] = Direction(
            title=attributes.TITLES[name],
            step=tuple(map(float, step_ZA[:, a])),
            mean=float(mean_A[a]),
            deviation=float(deviation_A[a]),
            r2=_r2(name, splits, {split: table[name] for split, table in values.items()}),
        )
    counts: dict[str, str | int] = {f"{split}_windows": len(data) for split, data in splits.items()}
    counts |= {f"{split}_songs": len(np.unique(data.song_N)) for split, data in splits.items()}
    return Directions(fingerprint, found, counts)


def _r2(name: str, splits: dict[str, Heldout], values: dict[str, np.ndarray]) -> float:
    """Share of an attribute's variance that z tells of test songs."""
    from sklearn.linear_model import Ridge

    z, y = {}, {}
    for split, data in splits.items():
        known_N = ~np.isnan(values[split])
        z[split], y[split] = data.mean_NZ[known_N], values[split][known_N]
        if len(y[split]) < _FEWEST:
            raise DatasetError(f"{name} has a meaning in {len(y[split])} windows of {split!r} only, expected {_FEWEST}")
    models = [Ridge(penalty).fit(z["train"], y["train"]) for penalty in _PENALTIES]
    best = max(models, key=lambda model: model.score(z["validation"], y["validation"]))
    return float(best.score(z["test"], y["test"]))


def respond(
    space: LatentSpace,
    directions: Directions,
    source: str | PathLike,
    count: int = 100,
    *,
    asked: Sequence[int] = STEPS_ASKED,
    names: Sequence[str] = attributes.NAMES,
    seed: int = 0,
    progress: Callable[[Sequence[Any]], Any] = list,
) -> dict[str, dict[str, Float[np.ndarray, " asked"]]]:
    """Plays to held-out melodies with z moved along each direction, and measures all attributes of what is played.

    Each window is of another song. Its z is drawn from the surrogate's posterior as `infer --fast` does; the same draw
    and the same noise serve all amounts.

    Args:
        space: of the checkpoint the directions belong to.
        directions: to move along.
        source: dataset of latents, whose test melodies are played to.
        count: at most so many windows.
        asked: steps to move.
        names: of the directions to try.
        seed: of draws.
        progress: wraps the list of what is to be decoded, as `tqdm` does.

    Returns:
        For each direction, each attribute's mean at each amount.
    """
    require(count >= 1, f"count must be at least 1 window, got {count}")
    data = heldout.read(source, ("test",), None, seed)
    _, first_N = np.unique(data.song_N, return_index=True)
    data = data.take(np.sort(np.random.default_rng(seed).permutation(first_N)[:count]))
    melody_NL = data.tokens_NLP[:, :, 0]
    posterior = space.guess(melody_NL)
    z_NZ = posterior.mean_BZ + posterior.scale_BZ * space.prior(len(data), seed)
    temperature = resolve_temperature(None, ("bass", "drums"))

    def play(shift_Z: np.ndarray) -> dict[str, float]:
        tokens_NLP = space.decode(z_NZ + shift_Z, seed=seed, temperature=temperature, parts=("bass", "drums"))
        found = attributes.measure(np.concatenate([melody_NL[:, :, None], tokens_NLP], axis=-1))
        return {name: float(np.nanmean(values)) for name, values in found.items()}

    plain = play(np.zeros(z_NZ.shape[1], np.float32))
    decoded = {
        (name, amount): play(directions.shift({name: amount}))
        for name, amount in progress([(name, amount) for name in names for amount in asked if amount])
    }
    return {
        name: {
            other: np.array([(decoded[name, amount] if amount else plain)[other] for amount in asked])
            for other in attributes.NAMES
        }
        for name in names
    }
