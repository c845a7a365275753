"""What a run tells: lines of `metrics.jsonl`, TensorBoard, and one line on the terminal that keeps moving."""

import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tqdm import tqdm


class MetricsLog:
    """Writes the metrics of one run; in processes other than the first it keeps silent.

    Resuming cuts lines of steps that are not part of the resumed state, so that each step is told once.
    """

    def __init__(
        self,
        workdir: Path,
        first_step: int,
        steps: int,
        examples_per_step: int,
        silent: bool = False,
        trackers: Sequence[Callable[[int, Mapping[str, float]], None]] = (),
    ):
        self._silent, self._trackers = silent, trackers
        self._examples = examples_per_step
        self._mark = (first_step, time.perf_counter())
        if silent:
            return
        from tensorboardX import SummaryWriter  # here, so that steps can be timed on a machine that lacks it

        workdir.mkdir(parents=True, exist_ok=True)
        path = workdir / "metrics.jsonl"
        _cut(path, first_step)
        self._file = path.open("a")
        self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=first_step + 1)
        self._bar = tqdm(
            total=steps, initial=first_step, unit="step", dynamic_ncols=True, file=sys.stderr, mininterval=1.0
        )

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._silent:
            return
        self._bar.close()
        self._board.close()
        self._file.close()

    def advance(self, step: int) -> None:
        """Moves the bar."""
        if not self._silent:
            self._bar.update(step - self._bar.n)

    def training(self, step: int, metrics: Mapping[str, float]) -> None:
        """Tells the metrics of a training step, with the examples per second since the last time."""
        before, then = self._mark
        self._mark = (step, time.perf_counter())
        rate = (step - before) * self._examples / max(self._mark[1] - then, 1e-9)
        self._write(step, {**metrics, "examples_per_s": rate}, "train")
        if not self._silent:
            self._bar.set_postfix_str(f"loss {metrics['loss']:.1f}, {rate:.0f} examples/s", refresh=False)

    def validation(self, step: int, summary: Mapping[str, float]) -> None:
        """Tells what was measured on the validation split, also as one line above the bar."""
        named = {name if name == "validation" else f"validation_{name}": value for name, value in summary.items()}
        self._write(step, named, "validation")
        if not self._silent:
            figures = ", ".join(f"{name} {value:.4g}" for name, value in summary.items())
            self._bar.write(f"step {step}: {figures}", file=sys.stderr)

    def _write(self, step: int, metrics: Mapping[str, float], group: str) -> None:
        """Appends one line, at once on disk, and the same to TensorBoard."""
        if self._silent:
            return
        values = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        for name, value in metrics.items():
            self._board.add_scalar(f"{group}/{name}", value, step)
        for track in self._trackers:
            track(step, {f"{group}/{name}": value for name, value in metrics.items()})


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a `metrics.jsonl`; one that a killed run left half written is passed over."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return lines


def _cut(path: Path, last_step: int) -> None:
    kept = [line for line in read(path) if line["step"] <= last_step]
    path.write_text("".join(json.dumps(line) + "\n" for line in kept))
