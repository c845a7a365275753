"""The table that a run starts with: what trains on what, where, and from which step."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from jaxaccomp.data.batches import Batches
from jaxaccomp.training.recipe import Recipe


def table(
    *,
    run: str,
    devices: Sequence[jax.Device],
    parameters: int,
    splits: Mapping[str, Batches],
    recipe: Recipe,
    memory: Any,
    step: int,
    best: tuple[float, int],
) -> str:
    """The lines of the table.

    Args:
        run: where the run lies.
        devices: of all processes together.
        parameters: numbers that are trained.
        splits: the data, by split.
        recipe: settings of the run.
        memory: XLA's estimate for the compiled step, or None where a backend gives none.
        step: steps done.
        best: best validation figure so far, and its step.
    """
    kinds = Counter(device.device_kind for device in devices)
    processes = len({device.process_index for device in devices})
    share = recipe.batch_size // len(devices)
    rows = {
        "run": run,
        "devices": f"{', '.join(f'{count} × {kind}' for kind, count in kinds.items())}; processes: {processes}",
        "batch": f"{recipe.batch_size:,} windows: {share} a device"
        + (f", in {recipe.accumulation} parts" if recipe.accumulation > 1 else ""),
        "parameters": f"{parameters:,}, {recipe.precision}",
        **{split: f"{data.size:,} windows of {data.songs:,} songs" for split, data in splits.items()},
        "steps": f"{recipe.steps:,}; an epoch has {splits['train'].steps_per_epoch:,}",
        "memory": _memory(memory),
        "start": f"resuming from step {step:,}" if step else "new run, from step 0",
    }
    if step and math.isfinite(best[0]):
        rows["start"] += f"; best validation so far {best[0]:.2f} at step {best[1]:,}"
    width = max(map(len, rows))
    return "\n".join(f"  {name:<{width}}  {text}" for name, text in rows.items())


def _memory(estimate: Any) -> str:
    if estimate is None:
        return "not estimated: this backend tells nothing of it"
    bytes_ = estimate.argument_size_in_bytes + estimate.output_size_in_bytes + estimate.temp_size_in_bytes
    return f"{(bytes_ - estimate.alias_size_in_bytes) / 2**20:,.1f} MiB a device and step (XLA's estimate)"
