"""Fits how the surrogate's errors go together, in closed form, and adds it to a checkpoint: `train.py correlation`."""

import dataclasses
import json
import os

import jax
import numpy as np

from jaxaccomp import cluster
from jaxaccomp.arrays import WindowTokens
from jaxaccomp.config import CorrelationConfig, ModelConfig, to_json
from jaxaccomp.data import augmentation, windows
from jaxaccomp.data.batches import Batches
from jaxaccomp.errors import CheckpointError
from jaxaccomp.models import correlation, musicvae, surrogate
from jaxaccomp.models.musicvae import Posterior
from jaxaccomp.training.recipe import CorrelationRecipe
from jaxaccomp.training.run_folder import RunFolder
from jaxaccomp.weights import checkpoint


def run(
    checkpoint_name: str,
    data: os.PathLike | str,
    folder: RunFolder,
    recipe: CorrelationRecipe,
    *,
    dry_run: bool = False,
) -> tuple[float, float]:
    """Fits on windows of the training split, and writes the run's checkpoint: the given one, with the correlation.

    Args:
        checkpoint_name: whose surrogate it is.
        data: dataset of windows.
        folder: of the run.
        recipe: how.
        dry_run: opens everything and does nothing.

    Returns:
        KL(encoder ‖ surrogate) of validation windows without the correlation and with it, nats; NaN in a dry run.

    Raises:
        CheckpointError: the checkpoint has no surrogate that predicts a scale.
        DatasetError: there are no windows.
    """
    config, params = checkpoint.load(checkpoint_name)
    if config.surrogate is None or not config.surrogate.predict_scale:
        raise CheckpointError(
            f"{checkpoint_name}: holds no surrogate that predicts a scale, so that nothing is drawn; train one: "
            "python train.py joint or surrogate"
        )
    windows.require_trios(data)
    reading = {"seed": recipe.seed, "augmentation": augmentation.NONE, "in_memory": False}
    train, validation = (
        Batches(data, split, batch_size=count, **reading)
        for split, count in (("train", recipe.windows), ("validation", recipe.validation_windows))
    )
    if dry_run or cluster.index():
        return float("nan"), float("nan")
    kernel = correlation.fit(*_posteriors(params, train.batch(0)["tokens"], recipe.batch_size))
    unseen = _posteriors(params, validation.batch(0)["tokens"], recipe.batch_size)
    plain, joined = (float(np.mean(correlation.divergence_B(one, *unseen))) for one in (None, kernel))
    identity = {"checkpoint": checkpoint.fingerprint(checkpoint_name), "data": train.metadata["identity"]}
    folder.local.mkdir(parents=True, exist_ok=True)
    folder.write_settings({"objective": "correlation", **identity, **to_json(recipe)})
    line = {"step": 1, "validation": joined, "validation_uncorrelated": plain}
    (folder.local / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    record = checkpoint.record(checkpoint.resolve(checkpoint_name))
    checkpoint.save(
        folder.local / "checkpoint",
        _with_correlation(config),
        {**params, "correlation": kernel},
        dtype=record["dtype"],
        provenance={**record["provenance"], "correlation": f"train correlation on {data}"},
    )
    folder.send_checkpoint()
    return plain, joined


def _with_correlation(config: ModelConfig) -> ModelConfig:
    return dataclasses.replace(config, correlation=CorrelationConfig(latent_size=config.musicvae.latent_size))


def _posteriors(params: dict, tokens_NLP: WindowTokens, batch_size: int) -> tuple[Posterior, Posterior]:
    """What encoder and surrogate say of windows."""
    encode, guess = jax.jit(musicvae.encode), jax.jit(surrogate.encode)
    batch_size = min(batch_size, len(tokens_NLP))
    pieces: list[tuple[Posterior, Posterior]] = []
    for first in range(0, len(tokens_NLP), batch_size):
        last = min(first, len(tokens_NLP) - batch_size)  # one shape: the last batch begins earlier
        rows_BLP = tokens_NLP[last : last + batch_size]
        found = encode(params["musicvae"], rows_BLP), guess(params["surrogate"], rows_BLP[..., 0])
        pieces.append(jax.tree.map(lambda array, skip=first - last: np.asarray(array)[skip:], found))
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *pieces)
