"""What each section of the bench measures: configs from which the flags of `bench SECTION` are generated.

They load no JAX, so that `--help` answers at once.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jaxaccomp.config import DTYPES, PRESETS, require, setting

_PRESETS = tuple(PRESETS)
_QUICK = "few repeats: whether it works, and rough figures within a minute"


def _require_positive(config: object, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        numbers = value if isinstance(value, tuple) else (value,)
        flag = "--" + name.replace("_", "-")
        require(len(numbers) > 0 and min(numbers) >= 1, f"{flag} must be at least 1, got {','.join(map(str, numbers))}")


@dataclass(frozen=True, kw_only=True)
class ModelsConfig:
    """Encoder, surrogate and decoder (`bench.models`)."""

    preset: str = setting("trio-small", "sizes", choices=_PRESETS)
    batch_size: tuple[int, ...] = setting((32,), "windows at a time")
    dtype: str = setting("float32", "what the operands of matrix products are rounded to", choices=DTYPES)
    weights: Literal["shipped", "random"] = setting(
        "shipped", "those of the checkpoint named like the preset, where there is one; random ones are the worst case"
    )
    surrogate_sizes: tuple[int, ...] | None = setting(None, "layers of a random surrogate (default: the checkpoint's)")
    repeats: int = setting(7, "timed calls of a row")
    patience: float = setting(0.0, "repeat a row's calls for up to so many seconds until others leave the CPUs alone")
    naive: bool | None = setting(None, "also time the model in Flax's own layers (default: unless --quick)")
    rows: tuple[str, ...] | None = setting(None, "only these, such as encode,decode (default: all)")
    devices: int = setting(1, "devices to spread a batch over")
    quick: bool = setting(False, _QUICK)

    def __post_init__(self) -> None:
        _require_positive(self, "batch_size", "repeats", "devices")
        if self.surrogate_sizes is not None:
            _require_positive(self, "surrogate_sizes")
        uneven = [batch for batch in self.batch_size if batch % self.devices]
        require(not uneven, f"--batch-size {uneven[:1]} cannot be shared evenly by --devices {self.devices}")

    @property
    def with_naive(self) -> bool:
        """Whether the naive program is timed, too."""
        return not self.quick if self.naive is None else self.naive


@dataclass(frozen=True, kw_only=True)
class MusicConfig:
    """Reading, windowing and writing MIDI (`bench.music`)."""

    songs: Path | None = setting(None, "folder of MIDI files (default: the demo tunes)")
    count: int = setting(300, "songs to time")
    repeats: int = setting(3, "passes; the best counts")
    quick: bool = setting(False, _QUICK)

    def __post_init__(self) -> None:
        _require_positive(self, "count", "repeats")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Building and reading datasets (`bench.data`)."""

    preset: str = setting("trio-small", "sizes", choices=_PRESETS)
    batch_size: int = setting(64, "examples of a batch")
    songs: int = setting(60, "made-up songs to read")
    workers: int = setting(os.cpu_count() or 1, "processes")
    quick: bool = setting(False, _QUICK)

    def __post_init__(self) -> None:
        _require_positive(self, "batch_size", "songs", "workers")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Training steps (`bench.train`)."""

    preset: str = setting("trio-small", "sizes", choices=_PRESETS)
    encoder_sizes: tuple[int, ...] | None = setting(None, "over the preset's")
    decoder_sizes: tuple[int, ...] | None = setting(None, "over the preset's; the conductor's, too")
    batch_size: int = setting(16, "windows in a step")
    devices: tuple[int, ...] | None = setting(None, "numbers of devices (default: 1,8 virtual ones; else 1 and all)")
    dtype: str = setting("float32", "of matrix products' inputs", choices=DTYPES)
    steps: int = setting(10, "timed steps of a row")
    data: Path | None = setting(None, "dataset of windows to read (default: random windows)")
    naive: bool | None = setting(
        None, "also time the step in Flax's own layers, on one device (default: unless --quick)"
    )
    quick: bool = setting(False, _QUICK)

    def __post_init__(self) -> None:
        _require_positive(self, "batch_size", "steps")
        for count in self.devices or ():
            require(count >= 1, f"--devices must be at least 1, got {count}")
            require(
                self.batch_size % count == 0, f"--batch-size {self.batch_size} does not divide into {count} devices"
            )

    @property
    def with_naive(self) -> bool:
        """Whether the naive step is timed, too."""
        return not self.quick if self.naive is None else self.naive


@dataclass(frozen=True, kw_only=True)
class CollectionBenchConfig:
    """A whole collection against a plain loop (`bench.collection`)."""

    folder: Path | None = setting(None, "songs to accompany (default: the demo tunes)")
    songs: int | None = setting(None, "how many; more than there are: copies (default: 500; --quick: 40)")
    loop_songs: int | None = setting(None, "songs of the plain loop (default: 60; --quick: 10)")
    checkpoint: str = setting("trio-small", "name or folder")
    batch_size: int = setting(0, "windows decoded at a time; 0 lets the backend choose")
    workers: int = setting(0, "processes that read and write songs; 0 takes one for each core")
    quick: bool = setting(False, _QUICK)

    def __post_init__(self) -> None:
        for name in ("songs", "loop_songs"):
            if getattr(self, name) is not None:
                _require_positive(self, name)


@dataclass(frozen=True, kw_only=True)
class StartupConfig:
    """From the command line to the file it writes (`bench.startup`)."""

    checkpoint: str = setting("trio-small", "name or folder")
    repeats: int = setting(5, "warm starts, of which the median counts")
    quick: bool = setting(False, _QUICK)

    def __post_init__(self) -> None:
        _require_positive(self, "repeats")


@dataclass(frozen=True, kw_only=True)
class EverythingConfig:
    """All of it, within a limit of time (`bench.everything`)."""

    out: Path = setting(Path("bench-results"), "folder for results.json and tables.md")
    minutes: float = setting(
        25.0, "steps that do not end within so many minutes are left out; the same command again makes up for them"
    )
    steps: Literal["auto", "cpu", "accelerator"] = setting(
        "auto", "those of which kind of machine; --steps accelerator --quick tries an accelerator's on a CPU"
    )
    quick: bool = setting(False, "the same steps on tiny models: whether they work")

    def __post_init__(self) -> None:
        require(self.minutes > 0, f"--minutes must be more than 0, got {self.minutes}")
