"""Datasets that are written to a bucket: built in a folder of this machine, and sent shard by shard.

The metadata goes last, so that an address with metadata is a finished dataset. Before that a marker says what is being
built there, so that shards which another machine has sent are not made again.
"""

import os
from pathlib import Path

from jaxaccomp import remote
from jaxaccomp.data import shards

_MARKER = "building.json"
_FINISHED = "dataset_info.json"


class Publication:
    """Where a dataset is written: a folder of this machine, or one that stands for an address.

    Attributes:
        out: the folder of this machine, in place of the one asked for.
        address: where the dataset will be.
    """

    def __init__(self, out: str | os.PathLike, name: str):
        self.is_remote = remote.is_remote(out)
        self.out = remote.stand_in(out, "written") if self.is_remote else Path(out)
        self.folder = shards.folder_of(self.out, name)
        self.address = f"{os.fspath(out).rstrip('/')}/{name}/{shards.VERSION}" if self.is_remote else str(self.folder)

    def take_up(self, building: Path | None, identity: str, first: bool = True) -> None:
        """Brings here what the bucket has of this dataset: its metadata if it is finished, else its shards.

        Args:
            building: folder of this machine in which the dataset is built; None: do not bring single shards.
            identity: of the dataset that is to be built.
            first: whether this process decides for all; it removes the rest of another dataset that was not finished.
        """
        if not self.is_remote:
            return
        held = remote.listing(self.address)
        if _FINISHED in held:
            for name, stored in held.items():
                if shards.SHARD_WORD not in name and name != _MARKER:
                    remote.fetch(f"{self.address}/{name}", self.folder / name, stored)
            return
        if self.folder.exists():  # finished here, and what is sent was cut off
            return
        if remote.read_text(f"{self.address}/{_MARKER}") == identity:
            for name, stored in held.items():
                if name != _MARKER and building is not None:
                    remote.fetch(f"{self.address}/{name}", building / name, stored)
        elif first:
            remote.remove(self.address, held)
            remote.write_text(f"{self.address}/{_MARKER}", identity)

    def send_shard(self, file: Path) -> None:
        """Sends a shard that is whole."""
        if self.is_remote:
            remote.send(file, f"{self.address}/{file.name}")

    def finish(self) -> None:
        """Sends what is not there yet, the metadata last."""
        if self.is_remote:
            remote.send(self.folder, self.address, last=[_FINISHED])
            remote.remove(self.address, [_MARKER])
