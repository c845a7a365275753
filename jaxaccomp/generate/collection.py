"""Whole collections: many songs through one device, unattended; killed at any moment, the same command resumes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxaccomp.config import require, setting


@dataclass(frozen=True, kw_only=True)
class CollectionConfig:
    """How a collection is worked through; nothing here changes a note of the result."""

    batch_size: int = setting(0, "windows decoded at a time on each device; 0 lets the backend choose")
    workers: int = setting(0, "processes that read and write songs; 0 takes one for each core")
    shard: str = setting("0/1", "I/N: take only the I-th of N shares of the collection, for several machines")
    force: bool = setting(False, "do every song again, also those that are done")
    strict: bool = setting(False, "exit with 1 if any file failed")
    time_limit: float = setting(60.0, "seconds a worker may spend on one file")
    memory_limit: int = setting(1024, "MiB a worker may take for one file")
    beam_runner: str | None = setting(None, "run as an Apache Beam pipeline on this runner, e.g. DirectRunner")

    def __post_init__(self) -> None:
        require(self.batch_size >= 0, f"--batch-size must be 0 or more windows, got {self.batch_size}")
        require(self.workers >= 0, f"--workers must be 0 or more processes, got {self.workers}")
        require(self.time_limit > 0, f"--time-limit must be more than 0 seconds, got {self.time_limit}")
        require(self.memory_limit > 0, f"--memory-limit must be more than 0 MiB, got {self.memory_limit}")
        self.share  # noqa: B018 — refuses a shard that is none

    @property
    def share(self) -> tuple[int, int]:
        """The shard as (index, count)."""
        index, slash, count = self.shard.partition("/")
        require(
            bool(slash) and index.isdecimal() and count.isdecimal() and int(index) < int(count),
            f"--shard must be I/N with 0 <= I < N, e.g. 0/3, got {self.shard!r}",
        )
        return int(index), int(count)


@dataclass(frozen=True)
class Summary:
    """What became of a collection.

    Attributes:
        counts: inputs by status: `done`, `skipped` (nothing in it to accompany), `failed`.
        text: the table to show, several lines.
        exit_code: 0, or 1 under `strict` (or for files named one by one) when something failed.
    """

    counts: dict[str, int]
    text: str
    exit_code: int


def run(
    inputs: Sequence[Path],
    out: Path,
    config: CollectionConfig | None = None,
    *,
    checkpoint: str | Path = "trio-small",
    seed: int = 0,
    temperature: float | Sequence[float] | None = None,
    parts: Sequence[str] = ("bass", "drums"),
    keep: str = "melody",
    melody: str = "default",
) -> Summary:
    """Accompanies every song under `inputs`, into `out`, and writes `out/manifest.jsonl`.

    Args:
        inputs: folders (searched for .mid, .midi and .rmi in any letter case, at any depth) and files. A song's name in
            the manifest, and its place under `out`, is its path relative to the folder, or with several inputs to the
            deepest folder that holds them all.
        out: folder of the results; made if need be, locked while the run lasts.
        config: how to work; see `CollectionConfig`.
        checkpoint: name or path.
        seed: of the random choices; together with a song's content it decides every note.
        temperature: one value, one per part, or None for the checkpoint's own default; 0 is argmax.
        parts: which parts to play, of bass and drums.
        keep: what stays of the original: "melody" or "all"; see `stitch`.
        melody: the rule that finds the tune, or a track's number or name; see `jaxaccomp.music.melody.choose`.

    Raises:
        UsageError: `inputs` and `out` make no sense together.
        CollectionError: another run holds `out`, the disk is full, or there is nothing to do.
    """
    raise NotImplementedError
