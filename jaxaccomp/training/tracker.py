"""Weights & Biases beside the run's own log, for those who have it."""

import contextlib
import hashlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from jaxaccomp import cluster
from jaxaccomp.errors import TrainingError

Tracker = Callable[[int, Mapping[str, float]], None]
"""Takes a step and its metrics."""


def require(project: str | None) -> None:
    """Refuses to start a run that could not be logged where it was asked to be.

    Raises:
        TrainingError: wandb is not installed.
    """
    if project is not None and importlib.util.find_spec("wandb") is None:
        raise TrainingError("--wandb: wandb is not installed here; pip install wandb, or leave the flag out")


@contextlib.contextmanager
def opened(
    project: str | None, run: str, settings: Mapping[str, Any], silent: bool = False
) -> Iterator[tuple[Tracker, ...]]:
    """The trackers that are asked for; a run that resumes goes on in the same W&B run.

    Args:
        project: of Weights & Biases, or None.
        run: where the run lies; its identity there.
        settings: of the run.
        silent: track nothing.

    Raises:
        TrainingError: Weights & Biases does not start.
    """
    if project is None or silent or cluster.index():
        yield ()
        return
    import wandb

    identity = hashlib.sha256(run.encode()).hexdigest()[:16]
    name = PurePosixPath(run).name
    try:
        session = wandb.init(project=project, id=identity, name=name, config=dict(settings), resume="allow")
    except Exception as error:  # not logged in, no network
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
        raise TrainingError(
            f"--wandb {project}: Weights & Biases cannot start ({reason}); run `wandb login`, or set WANDB_MODE=offline"
        ) from error
    with session:
        yield (lambda step, metrics: session.log(dict(metrics), step=step),)
