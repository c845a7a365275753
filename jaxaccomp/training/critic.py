"""Fits the critic: boosted trees that tell real windows from the band's own draws to real melodies.

First real windows stand against all draws. Then, as often as asked, against those draws alone that the critic so far
would have chosen: what it still finds odd about them goes into more trees. So it learns what matters among good
attempts, not what is wrong with any draw.
"""

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from tqdm import tqdm

from jaxaccomp import cluster, files
from jaxaccomp.arrays import Params
from jaxaccomp.config import CriticConfig, to_json
from jaxaccomp.data import augmentation, windows
from jaxaccomp.data.batches import Batches
from jaxaccomp.generate.accompanist import Accompanist
from jaxaccomp.generate.options import PlayOptions
from jaxaccomp.models import critic
from jaxaccomp.music import measures, patterns
from jaxaccomp.training.recipe import CriticRecipe
from jaxaccomp.training.run_folder import RunFolder
from jaxaccomp.weights import checkpoint

PATTERNS = ("bass_pitch", "bass_pitch_spread", "drum_tokens_once", "kicks_per_bar", "snares_per_bar")
"""What the measures do not tell, and a listener notices: a bass up among the melody, a hit where no drummer puts it, a
lone snare. (Twenty more, of what recurs where, made choices worse by the measures and hardly better by the rest.)"""
FEATURES = (*measures.NAMES, *PATTERNS)
"""What the critic asks about."""
DRUM_FEATURES = (*measures.OF_DRUMS, "drum_tokens_once", "kicks_per_bar", "snares_per_bar")
"""What it asks about drums, before there is a bass."""
_LEAST_LEAF = 15
_SHARE = 0.5
"""Of windows each tree learns from, and of features each question may be about: trees that differ overfit less."""


class Examples(NamedTuple):
    """Features to learn from."""

    real_RF: Float[np.ndarray, "R F"]
    """Of real windows."""
    drawn_NKF: Float[np.ndarray, "N K F"]
    """Of draws, K for each melody."""


def draw(
    band: Accompanist,
    melody_NL: Int[np.ndarray, "N L"],
    recipe: CriticRecipe,
    progress: Callable[[int], Any] = lambda windows: None,
) -> Int[np.ndarray, "N K L P"]:
    """Accompanies melodies as the program does, every candidate kept.

    Args:
        band: MusicVAE, surrogate and, if there is one, guide.
        melody_NL: melodies of windows.
        recipe: how many candidates.
        progress: told the windows decoded, each time some are.
    """
    options = PlayOptions(seed=recipe.seed, candidates=recipe.candidates)
    count = len(melody_NL)
    names_N2 = np.stack([np.full(count, recipe.seed), np.arange(count)], axis=1).astype(np.uint32)
    found = np.empty((count, recipe.candidates, *melody_NL.shape[1:], 3), np.int16)
    for first in range(0, count, recipe.batch_size):
        rows = slice(first, first + recipe.batch_size)
        melody_BL, posterior = melody_NL[rows], None
        for candidate in range(recipe.candidates):
            numbers_B = np.zeros(len(melody_BL), np.int32)
            decoded = band.play(
                melody_BL, names_N2[rows], numbers_B, numbers_B, numbers_B + candidate, posterior, options=options
            ).fetched()
            posterior = (decoded.mean_BZ, decoded.scale_BZ)
            found[rows, candidate] = np.concatenate([melody_BL[:, :, None], decoded.tokens_BLP], axis=2)
            progress(len(melody_BL))
    return found


def fit(
    examples: Examples,
    recipe: CriticRecipe,
    features: Sequence[str] = FEATURES,
    log: Callable[[dict], Any] = lambda _: None,
) -> tuple[CriticConfig, Params]:
    """The critic of these examples.

    Args:
        examples: what to learn from.
        recipe: how.
        features: names of the examples' columns; trees about drums alone take those of `DRUM_FEATURES` among them.
        log: told `step` and `loss`, mean nats a window, of every tree, and `drum_loss` of those about drums.

    Returns:
        Its configuration, and its parameters as `models.critic` reads them.
    """
    told = tuple(name for name in DRUM_FEATURES if name in features)
    config = CriticConfig(
        trees=recipe.steps,
        depth=recipe.depth,
        features=tuple(features),
        drum_trees=recipe.drum_steps if told else 0,
        drum_features=told if recipe.drum_steps else (),
    )
    params = _forest(examples, recipe, recipe.steps, lambda tree, loss: log({"step": tree, "loss": loss}))
    if config.drum_trees:
        columns = [features.index(name) for name in told]
        of_drums = Examples(examples.real_RF[:, columns], examples.drawn_NKF[:, :, columns])
        params["drums"] = _forest(
            of_drums,
            recipe,
            recipe.drum_steps,
            lambda tree, loss: log({"step": recipe.steps + tree, "drum_loss": loss}),
        )
    return config, params


def _forest(examples: Examples, recipe: CriticRecipe, trees: int, log: Callable[[int, float], Any]) -> Params:
    """Trees against all draws, then against those that the trees so far would choose."""
    count, candidates, width = examples.drawn_NKF.shape
    every_XF = examples.drawn_NKF.reshape(-1, width)
    params: Params = {}
    rounds = _shares(trees, recipe.refits)
    for number, more_trees in enumerate(rounds):
        against_XF = every_XF
        if number:
            score_NK = critic.score_features(params, every_XF).reshape(count, candidates)
            against_XF = examples.drawn_NKF[np.arange(count), score_NK.argmax(1)]
        done = sum(rounds[:number])
        more = _boost(
            examples.real_RF,
            against_XF,
            more_trees,
            recipe,
            recipe.seed + number,
            lambda tree, loss, done=done: log(done + tree, loss),
        )
        joined = {name: np.concatenate([params[name], more[name]]) for name in params if name != "bias"}
        params = more if not params else {**joined, "bias": params["bias"] + more["bias"]}
    return {name: array.astype(np.float32) for name, array in params.items()}


def _shares(steps: int, refits: int) -> list[int]:
    """Trees of the first fit and of each refit: half for the first, at least one for each."""
    if not refits:
        return [steps]
    later = [max(steps // (2 * refits), 1)] * refits
    first = steps - sum(later)
    return [first, *later] if first > 0 else [steps]


def _boost(
    real_RF: np.ndarray,
    ours_XF: np.ndarray,
    trees: int,
    recipe: CriticRecipe,
    seed: int,
    log: Callable[[int, float], Any],
) -> Params:
    from sklearn.ensemble import GradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    machine = GradientBoostingClassifier(
        n_estimators=trees,
        learning_rate=recipe.learning_rate,
        max_depth=recipe.depth,
        subsample=_SHARE,
        max_features=_SHARE,
        min_samples_leaf=_LEAST_LEAF,
        random_state=seed,
    )
    # Rounded first as the critic's own numbers are going to be, so that no window falls on another side.
    x_XF = np.concatenate([real_RF, ours_XF]).astype(np.float32)
    is_real_X = np.r_[np.ones(len(real_RF)), np.zeros(len(ours_XF))]
    with threadpool_limits(1):  # sums keep their order
        machine.fit(x_XF, is_real_X, monitor=lambda tree, model, _: log(tree + 1, float(model.train_score_[tree])))
    found = [_complete(one.tree_, recipe.depth, recipe.learning_rate) for one in machine.estimators_[:, 0]]
    prior = float(np.log(len(real_RF) / len(ours_XF)))
    feature, threshold, value = (np.stack(column) for column in zip(*found, strict=True))
    return {"feature": feature, "threshold": threshold, "value": value, "bias": np.array([prior])}


def _complete(tree: Any, depth: int, rate: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A tree of scikit-learn's as a complete one: a branch that ends early repeats its leaf."""
    nodes = 2**depth - 1
    feature, threshold, value = np.zeros(nodes), np.zeros(nodes), np.zeros(nodes + 1)

    def place(node: int, at: int) -> None:
        if at >= nodes:
            value[at - nodes] = rate * tree.value[node, 0, 0]
            return
        is_leaf = tree.children_left[node] < 0
        if not is_leaf:
            feature[at], threshold[at] = tree.feature[node], tree.threshold[node]
        for side, children in enumerate((tree.children_left, tree.children_right)):
            place(node if is_leaf else int(children[node]), 2 * at + 1 + side)

    place(0, 0)
    return feature, threshold, value


def run(
    checkpoint_name: str, data: os.PathLike | str, folder: RunFolder, recipe: CriticRecipe, *, dry_run: bool = False
) -> None:
    """Draws, fits, and writes the run's checkpoint: the given one, with this critic.

    The draws, by far the longest part, are kept in the run's folder: the same command goes on from them.

    Args:
        checkpoint_name: whose takes are to be chosen among.
        data: dataset of windows.
        folder: of the run.
        recipe: how.
        dry_run: opens everything and does nothing.

    Raises:
        CheckpointError: the checkpoint has no surrogate.
        DatasetError: there are no windows.
    """
    config, params = checkpoint.load(checkpoint_name)
    band = Accompanist(config, params)
    windows.require_trios(data)
    count = max(recipe.windows, recipe.real_windows)
    reading = {"seed": recipe.seed, "augmentation": augmentation.NONE, "in_memory": False}
    batches = Batches(data, "train", batch_size=count, **reading)
    if dry_run or cluster.index():
        return
    real_NLP = batches.batch(0)["tokens"]
    identity = {"checkpoint": checkpoint.fingerprint(checkpoint_name), "data": batches.metadata["identity"]}
    settings = {"objective": "critic", **identity, **to_json(recipe)}
    folder.local.mkdir(parents=True, exist_ok=True)
    drawn_NKLP = _kept_draws(folder.local / "draws.npz", band, real_NLP[: recipe.windows, :, 0], recipe, settings)
    folder.write_settings(settings)
    table = patterns.columns(np.concatenate([real_NLP, drawn_NKLP.reshape(-1, *real_NLP.shape[1:])]), FEATURES)
    examples = Examples(table[: len(real_NLP)], table[len(real_NLP) :].reshape(*drawn_NKLP.shape[:2], len(FEATURES)))
    with (folder.local / "metrics.jsonl").open("w") as lines:

        def log(line: dict) -> None:
            if line["step"] % recipe.log_every == 0 or line["step"] in (recipe.steps, recipe.steps + recipe.drum_steps):
                lines.write(json.dumps(line) + "\n")
                lines.flush()

        critic_config, critic_params = fit(examples, recipe, log=log)
    record = checkpoint.record(checkpoint.resolve(checkpoint_name))
    checkpoint.save(
        folder.local / "checkpoint",
        dataclasses.replace(config, critic=critic_config),
        {**params, "critic": critic_params},
        dtype=record["dtype"],
        provenance={**record["provenance"], "critic": f"train critic on {data}"},
    )
    folder.send_checkpoint()


def _kept_draws(
    path: Path, band: Accompanist, melody_NL: np.ndarray, recipe: CriticRecipe, settings: dict[str, Any]
) -> np.ndarray:
    """The draws of an earlier start of this run, or new ones."""
    wanted = json.dumps({name: settings[name] for name in ("checkpoint", "data", "windows", "candidates", "seed")})
    if path.exists():
        with np.load(path) as stored:
            if str(stored["settings"]) == wanted:
                return stored["drawn"]
    with tqdm(total=len(melody_NL) * recipe.candidates, unit="window", file=sys.stderr, mininterval=1.0) as bar:
        drawn_NKLP = draw(band, melody_NL, recipe, bar.update)
    with files.replacing(path) as unfinished, unfinished.open("wb") as file:
        np.savez_compressed(file, drawn=drawn_NKLP, settings=wanted)
    return drawn_NKLP
