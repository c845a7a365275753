"""Where a run lies: in a folder of this machine, or on a bucket, with a copy here of what is appended to."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from jaxaccomp import cluster, files, remote
from jaxaccomp.errors import TrainingError, UsageError

CONFIG, METRICS, BOARD, STATES, CHECKPOINT = "config.json", "metrics.jsonl", "tensorboard", "snapshots", "checkpoint"


class RunFolder:
    """The folder of a run: settings, metrics, states to resume from, and the checkpoint of what measured best.

    Attributes:
        address: as it was given.
        local: the folder of this machine that is written to; the same unless the address is on a bucket.
        is_remote: whether it is on a bucket.
    """

    def __init__(self, address: str | os.PathLike):
        self.address = str(address)
        self.is_remote = remote.is_remote(self.address)
        self.local = remote.stand_in(self.address, "runs") if self.is_remote else Path(address)

    def __truediv__(self, name: str) -> str:
        return f"{self.address.rstrip('/')}/{name}"

    def receive(self) -> None:
        """Fetches what the first process goes on writing to; the bucket's word goes before this machine's."""
        if not self.is_remote or cluster.index():
            return
        held = remote.listing(self.address)
        for name in (CONFIG, METRICS):
            (self.local / name).unlink(missing_ok=True)
        for name, stored in held.items():
            if name in (CONFIG, METRICS) or name.startswith(f"{BOARD}/"):
                remote.fetch(self / name, self.local / name, stored)

    def send(self) -> None:
        """Copies metrics to the bucket, if that is where the run lies."""
        if not self.is_remote or cluster.index():
            return
        for name in (METRICS, BOARD):
            if (self.local / name).exists():
                remote.send(self.local / name, self / name)

    def send_checkpoint(self) -> None:
        """Copies the checkpoint to the bucket, if that is where the run lies."""
        if self.is_remote and not cluster.index():
            remote.replace_folder(self.local / CHECKPOINT, self / CHECKPOINT, "config.json")

    def has_checkpoint(self) -> bool:
        """Whether the checkpoint is there, whole."""
        if self.is_remote:
            return remote.read_text(self / f"{CHECKPOINT}/config.json") is not None
        return (self.local / CHECKPOINT / "config.json").is_file()

    def settings(self) -> dict[str, Any] | None:
        """The settings the run was started with; None for a new one.

        Raises:
            UsageError: the record is damaged.
        """
        text = None
        if self.is_remote:
            text = remote.read_text(self / CONFIG)
        else:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                text = (self.local / CONFIG).read_text(encoding="utf-8")
        if text is None:
            return None
        try:
            stored = json.loads(text)
        except ValueError as error:
            raise UsageError(f"{self / CONFIG}: settings are not readable as JSON ({error})") from error
        if not isinstance(stored, dict):
            raise UsageError(f"{self / CONFIG}: expected a JSON object of settings, got {type(stored).__name__}")
        return stored

    def write_settings(self, settings: dict[str, Any]) -> None:
        """Records the settings; the first process alone does."""
        if cluster.index():
            return
        text = json.dumps(settings, indent=2) + "\n"
        if self.is_remote:
            remote.write_text(self / CONFIG, text)
        path = self.local / CONFIG
        try:
            self.local.mkdir(parents=True, exist_ok=True)
            with files.replacing(path) as unfinished:
                unfinished.write_text(text)
        except OSError as error:
            raise TrainingError(f"{path}: cannot be written ({error.strerror}); choose another --workdir") from error
