"""The states a run can go on from, in its folder `snapshots`.

A state is saved as the host's copy of one replica, without a device axis, so that any number of devices can take it up.
The first process writes it alone; every process reads for itself. On `gs://` orbax writes to the bucket directly; on
`s3://`, whose address tensorstore takes from no setting, a state is written here and sent when it is whole.
"""

import contextlib
import shutil
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxaccomp import cluster, remote
from jaxaccomp.errors import TrainingError
from jaxaccomp.training.run_folder import STATES, RunFolder

_WHOLE = ".whole"
"""On `s3://`, the file of a state that is sent last."""
_FORMER_NAMES = {"opt_state": "moments", "ema_params": "average"}
"""What fields were called in states of version 0.1.0."""


class State(NamedTuple):
    """All that a run carries from step to step."""

    step: Any
    params: Any
    opt_state: Any
    ema_params: Any


class RunStates:
    """The saved states of a run: the last two, and the one that measured best."""

    def __init__(self, run: RunFolder):
        self._run = run
        self._sent = run.is_remote and remote.scheme(run.address) == "s3"
        self._folder = run / STATES if run.is_remote and not self._sent else str((run.local / STATES).absolute())
        self._manager: ocp.CheckpointManager | None = None
        if self._sent:
            self._receive()

    def steps(self) -> list[int]:
        """Steps of the complete states, the newest first."""
        return sorted(self._open().all_steps(), reverse=True) if self._exists() else []

    def newest(self, like: State) -> tuple[State, dict[str, Any]] | None:
        """The newest state that can be read, and its progress; None in a new run.

        One that is damaged is passed over, told of, and removed.

        Args:
            like: a tree with the shapes and types expected.

        Raises:
            TrainingError: there are states, but none can be read.
            ClusterError: the processes do not see the same.
        """
        found, damaged = None, {}

        def look() -> dict[str, Any]:
            nonlocal found
            for step in self.steps():
                try:
                    found = self.restore(step, like)
                    break
                except Exception as error:  # a damaged folder makes orbax and tensorstore raise nearly anything
                    damaged[step] = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            if found is None and damaged:
                step, reason = next(iter(damaged.items()))
                raise TrainingError(
                    f"{self._folder}/{step}: the saved state does not fit this run's settings or cannot be read "
                    f"({reason}); give the settings it was started with, or another --workdir"
                )
            return {"the last saved step": int(found[0].step) if found else None}

        cluster.agree(look, "look for saved states")
        for step, reason in damaged.items():
            if cluster.index() == 0:
                print(
                    f"{self._folder}/{step}: this saved state is damaged ({reason}); going on from the one before",
                    file=sys.stderr,
                )
                self._open().delete(step)
        return found

    def restore(self, step: int, like: State) -> tuple[State, dict[str, Any]]:
        """One state and its progress."""
        former = {_FORMER_NAMES.get(name, name): tree for name, tree in like._asdict().items()}
        try:
            stored = self._read(step, like)
            return State(*stored["state"]), stored["progress"]
        except Exception as error:
            with contextlib.suppress(Exception):
                stored = self._read(step, former)
                state = [stored["state"][_FORMER_NAMES.get(name, name)] for name in State._fields]
                return State(*state), stored["progress"]
            raise error

    def save(self, state: State, progress: dict[str, Any], validation: float | None = None) -> None:
        """Starts to write a state, after what was measured of it; returns once it is copied.

        Args:
            state: tree of host arrays.
            progress: JSON values that belong to the state.
            validation: what this very state measured on the validation split, if it was measured; less is better.

        Raises:
            TrainingError: it cannot be written, or the one before could not.
        """
        step = int(state.step)
        if cluster.index() or step in self._open().all_steps():
            return
        with self._writing(step):
            self._open().save(
                step,
                args=ocp.args.Composite(state=ocp.args.StandardSave(state), progress=ocp.args.JsonSave(progress)),
                metrics=None if validation is None else {"validation": validation},
                force=True,
            )
            if self._sent:
                self._send(step)

    def __enter__(self) -> "RunStates":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Waits until everything is written."""
        if self._manager is not None:
            manager, self._manager = self._manager, None
            with self._writing(None) if kind is None else contextlib.suppress(Exception):
                try:
                    manager.wait_until_finished()
                finally:
                    with contextlib.suppress(Exception):  # the failure is told once
                        manager.close()

    def _exists(self) -> bool:
        if self._run.is_remote and not self._sent:
            return bool(remote.listing(self._folder))
        return (self._run.local / STATES).is_dir()

    def _open(self) -> ocp.CheckpointManager:
        if self._manager is None:
            writes = cluster.index() == 0
            if writes and not (self._run.is_remote and not self._sent):
                (self._run.local / STATES).mkdir(parents=True, exist_ok=True)
            policy = ocp.checkpoint_managers
            best = policy.BestN(
                get_metric_fn=lambda metrics: metrics["validation"],
                reverse=True,
                n=1,
                keep_checkpoints_without_metrics=False,
            )
            with self._writing(None):
                self._manager = ocp.CheckpointManager(
                    self._folder,
                    options=ocp.CheckpointManagerOptions(
                        create=False,
                        read_only=not writes,
                        preservation_policy=policy.AnyPreservationPolicy([policy.LatestN(2), best]),
                        enable_async_checkpointing=writes,
                        multiprocessing_options=ocp.options.MultiprocessingOptions(
                            primary_host=jax.process_index(),
                            active_processes={jax.process_index()},
                            barrier_sync_key_prefix=f"run_states_{jax.process_index()}",
                        ),
                    ),
                )
        return self._manager

    def _read(self, step: int, like: Any) -> Any:
        target = jax.tree.map(lambda leaf: np.zeros(np.shape(leaf), np.asarray(leaf).dtype), like)
        args = ocp.args.Composite(state=ocp.args.StandardRestore(target), progress=ocp.args.JsonRestore())
        return self._open().restore(step, args=args)

    @contextlib.contextmanager
    def _writing(self, step: int | None) -> Iterator[None]:
        where = self._folder if step is None else f"{self._folder}/{step}"
        try:
            yield
        except Exception as error:  # orbax and tensorstore raise nearly anything where a disk is full
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
            raise TrainingError(
                f"{where}: the run's state cannot be written ({reason}); free some space, or see that the place can be "
                "written, and start the same command again"
            ) from error

    def _send(self, step: int) -> None:
        """Sends a state, and removes from the bucket what is no longer kept."""
        self._open().wait_until_finished()
        (self._run.local / STATES / str(step) / _WHOLE).touch()
        remote.send(self._run.local / STATES / str(step), f"{self._run / STATES}/{step}", last=[_WHOLE])
        kept = {str(step) for step in self._open().all_steps()}
        remote.remove(
            self._run / STATES,
            [name for name in remote.listing(self._run / STATES) if name.split("/", 1)[0] not in kept],
        )

    def _receive(self) -> None:
        """Fetches the whole states; the bucket's word goes before this machine's."""
        folder = self._run.local / STATES
        held = remote.listing(self._run / STATES)
        whole = {name.split("/", 1)[0] for name in held if name.endswith(f"/{_WHOLE}")}
        if cluster.index() == 0:
            for state in folder.glob("*") if folder.is_dir() else ():
                if state.name not in whole:
                    shutil.rmtree(state)
        for name, stored in held.items():
            if name.split("/", 1)[0] in whole:
                remote.fetch(f"{self._run / STATES}/{name}", folder / name, stored)
