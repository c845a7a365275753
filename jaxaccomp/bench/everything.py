"""All sections that tell how fast this machine is, one after the other, within a limit of time: `bench all --out DIR`.

Each step is a process of its own, so that none is timed in the memory of another. Results are written after each, so
that a machine that is taken away leaves what was measured. On an accelerator the batches are large, and products are
also timed in TF32 and bfloat16; on a CPU the batches of one tune come first.
"""

import json
import os
import subprocess
import sys
import time
from importlib import import_module
from typing import Any, NamedTuple

from jaxaccomp.bench.settings import EverythingConfig
from jaxaccomp.errors import UsageError
from jaxaccomp.files import replacing

RESULTS, TABLES = "results.json", "tables.md"
"""Names of what is written."""
_FULL = "hierdec-trio_16bar"
_EXACT = {"JAX_DEFAULT_MATMUL_PRECISION": "highest"}
"""Products in float32 where an accelerator would round their operands to TF32."""


class Step(NamedTuple):
    """One run of a section.

    Attributes:
        name: its key in the results.
        arguments: of `bench`.
        environment: variables that are set for it.
    """

    name: str
    arguments: str
    environment: dict[str, str] = {}  # noqa: RUF012 (a tuple's default, never written to)


_ON_CPU = (
    Step("default", "--batch-size 1,2,4,8,32,64 --naive --rows {rows},end_to_end,naive_end_to_end"),
    Step("start-up", "startup --repeats 3"),
    Step("full size", f"--preset {_FULL} --batch-size 1,32 --naive --quick --rows {{rows}}"),
    Step("collection", "collection --songs 100 --loop-songs 20"),
    Step("full size, bfloat16", f"--preset {_FULL} --batch-size 32 --quick --dtype bfloat16 --rows encode,decode"),
    Step("training", "train --steps 5 --naive"),
    Step("full size, few windows", f"--preset {_FULL} --batch-size 2,4,8 --naive --quick --rows {{rows}}"),
    Step("bfloat16", "--batch-size 1,32 --dtype bfloat16"),
)
_ON_ACCELERATOR = (
    Step("default, float32", "--batch-size 64,512,4096 --naive", _EXACT),
    Step("full size, float32", f"--preset {_FULL} --batch-size 64,512,2048 --rows {{rows}}", _EXACT),
    Step("default, TF32", "--batch-size 64,512,4096"),
    Step("full size, TF32", f"--preset {_FULL} --batch-size 64,512,2048 --rows encode,surrogate,decode,end_to_end"),
    Step("default, bfloat16", "--batch-size 64,512,4096 --dtype bfloat16"),
    Step("full size, bfloat16", f"--preset {_FULL} --batch-size 64,512,2048 --dtype bfloat16 --rows encode,decode"),
    Step("training", "train --batch-size 64 --naive"),
    Step("training, large batch", "train --batch-size 512 --dtype bfloat16"),
    Step("full size training", f"train --preset {_FULL} --batch-size 64 --dtype bfloat16 --steps 5"),
    Step("collection", "collection --songs 2000 --loop-songs 60"),
    Step("start-up", "startup --repeats 3"),
)
_ROWS = "encode,decode,naive_encode,naive_decode"


def measure(config: EverythingConfig | None = None) -> dict[str, Any]:
    """Runs the steps that suit this machine, as far as the time goes.

    Args:
        config: where results are written, and how long it may take; None: the defaults.

    Returns:
        `steps`: by name, each section's results, or `{"failed": a sentence}`; `left_out`: names of steps for which no
        time was left.

    Raises:
        UsageError: the folder cannot be made.
    """
    config = config or EverythingConfig()
    try:
        config.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {config.out}: this folder cannot be made ({error.strerror or error})") from error
    backend, deadline = _backend(), time.monotonic() + 60 * config.minutes
    results: dict[str, Any] = {"backend": backend, "steps": {}, "left_out": []}
    is_cpu = config.steps == "cpu" or (config.steps == "auto" and backend == "cpu")
    for step in _ON_CPU if is_cpu else _ON_ACCELERATOR:
        left_s = deadline - time.monotonic()
        if left_s < 5:
            results["left_out"].append(step.name)
            continue
        print(f"{step.name}: bench {_arguments(step, config)}", file=sys.stderr, flush=True)
        results["steps"][step.name] = _run(step, config, left_s)
        for name, text in ((RESULTS, json.dumps(results, indent=1)), (TABLES, table(results))):
            with replacing(config.out / name) as temporary:
                temporary.write_text(text + "\n", encoding="utf-8")
    return results


def table(results: dict[str, Any]) -> str:
    """The sections' own tables, each under its step's name."""
    lines = []
    for name, found in results["steps"].items():
        lines.append(f"## {name[0].upper()}{name[1:]}\n")
        if "failed" in found:
            lines.append(f"Failed: {found['failed']}\n")
            continue
        text = import_module(found["section"]).table(found["results"])
        lines.append(text if "|---" in text else f"```text\n{text}\n```")
        lines.append("")
    if results["left_out"]:
        lines.append(f"No time was left for: {', '.join(results['left_out'])}.")
    return "\n".join(lines)


def _arguments(step: Step, config: EverythingConfig) -> str:
    arguments = step.arguments.format(rows=_ROWS)
    if not config.quick:
        return arguments
    words = arguments.split()
    for flag in ("--batch-size", "--songs", "--loop-songs"):
        if flag in words:
            at = words.index(flag) + 1
            words[at] = min(words[at].split(","), key=int) if flag == "--batch-size" else "8"
    words = [word for word in words if word not in ("--naive", "--quick")]
    words = [word.replace(_FULL, "tiny").replace(_ROWS, "encode,decode") for word in words]
    return " ".join(word.replace(",naive_end_to_end", "") for word in words) + " --quick"


def _run(step: Step, config: EverythingConfig, left_s: float) -> dict[str, Any]:
    """A step in a process of its own: which module's it is and its results, or why there are none."""
    words = _arguments(step, config).split()
    section = words[0] if not words[0].startswith("-") else "models"
    command = [sys.executable, "-m", "jaxaccomp", "bench", *words, "--json"]
    started = time.monotonic()
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=left_s, env={**os.environ, **step.environment}
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"was ended after {left_s:.0f} s, when the time was over"}
    if done.returncode != 0:
        return {"failed": (done.stderr.strip().splitlines() or ["without a word"])[-1]}
    taken_s = round(time.monotonic() - started, 1)
    results = json.loads(done.stdout[done.stdout.index("{\n") :])  # behind whatever a section says meanwhile
    return {"section": f"jaxaccomp.bench.{section}", "took_s": taken_s, "bench": " ".join(words), "results": results}


def _backend() -> str:
    """What JAX runs on, asked of another process: this one must not hold an accelerator's memory."""
    command = [sys.executable, "-c", "import jax; print(jax.default_backend())"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise UsageError(f"JAX does not start: {(done.stderr.strip().splitlines() or ['without a word'])[-1]}")
    return done.stdout.split()[-1]
