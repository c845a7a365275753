"""The states a run can go on from, on disk.

A state is saved as the host's copy of one replica, without a device axis, so that any number of devices can take it up.
"""

from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

from jaxaccomp.errors import TrainingError


class Snapshots:
    """The folder `snapshots` of a run: its last state and the one that measured best, written in the background."""

    def __init__(self, folder: Path):
        self._folder = folder
        policy = ocp.checkpoint_managers
        self._manager = ocp.CheckpointManager(
            folder.absolute(),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policy.AnyPreservationPolicy(
                    [
                        policy.LatestN(1),
                        policy.BestN(
                            get_metric_fn=lambda metrics: metrics["validation"],
                            reverse=True,
                            n=1,
                            keep_checkpoints_without_metrics=False,
                        ),
                    ]
                ),
                enable_async_checkpointing=True,
            ),
        )

    @property
    def last_step(self) -> int | None:
        """Step of the newest complete state, or None in a new run."""
        return self._manager.latest_step()

    def save(self, step: int, state: Any, progress: dict[str, Any], validation: float | None = None) -> None:
        """Starts to write a state; returns once it is copied.

        Args:
            step: steps done.
            state: tree of host arrays.
            progress: JSON values that belong to the state.
            validation: what this very state measured on the validation split, if it was measured; less is better.
        """
        if step == self._manager.latest_step():
            return
        self._manager.save(
            step,
            args=ocp.args.Composite(state=ocp.args.StandardSave(state), progress=ocp.args.JsonSave(progress)),
            metrics=None if validation is None else {"validation": validation},
            force=True,
        )

    def restore(self, like: Any) -> tuple[Any, dict[str, Any]]:
        """The newest state and its progress.

        Args:
            like: a tree with the shapes and types expected.

        Raises:
            TrainingError: the state on disk is of another shape or unreadable.
        """
        step = self._manager.latest_step()
        try:
            stored = self._manager.restore(
                step,
                args=ocp.args.Composite(state=ocp.args.StandardRestore(like), progress=ocp.args.JsonRestore()),
            )
        except (ValueError, KeyError, OSError) as error:
            raise TrainingError(
                f"{self._folder}/{step}: the saved state does not fit this run's settings or cannot be read "
                f"({error}); give the settings it was started with, or another --workdir"
            ) from error
        return stored["state"], stored["progress"]

    def __enter__(self) -> "Snapshots":
        return self

    def __exit__(self, *_: object) -> None:
        """Waits until everything is on disk."""
        self._manager.wait_until_finished()
        self._manager.close()
