"""All sections that tell how fast this machine is, one after the other, within a limit of time: `bench all --out DIR`.

Each step is a process of its own, so that none is timed in the memory of another. Results are written after each, so
that a machine that is taken away leaves what was measured; called again with the same folder, only the steps that are
missing there run. What tells most comes first. On an accelerator the batches are large, and products are also timed in
float32 and bfloat16 (a GPU's own way is TF32); on a CPU the batches of one tune come first.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from jaxaccomp.bench.settings import EverythingConfig
from jaxaccomp.errors import UsageError
from jaxaccomp.files import replacing

RESULTS, TABLES = "results.json", "tables.md"
"""Names of what is written."""
_FULL = "hierdec-trio_16bar"
_EXACT = {"JAX_DEFAULT_MATMUL_PRECISION": "highest"}
"""Products in float32 where an accelerator would round their operands to TF32."""
_ALWAYS = {"JAX_TRACEBACK_FILTERING": "off", "XLA_PYTHON_CLIENT_MEM_FRACTION": ".92"}
"""So that an error's last line is the error; and the memory that JAX takes of a GPU."""
_LIMIT_S = 200
"""A step of an accelerator that takes longer is ended, so that one that hangs does not cost all others."""


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


_END_TO_END = "end_to_end,naive_end_to_end"
_ON_CPU = (
    Step("default", f"--batch-size 1,2,4,8,32,64 --naive --rows {{rows}},{_END_TO_END}"),
    Step("start-up", "startup --repeats 3"),
    Step("collection", "collection --songs 100 --loop-songs 20"),
    Step("full size", f"--preset {_FULL} --batch-size 1,2,4,8,32,64 --naive --quick --rows {{rows}},{_END_TO_END}"),
    Step("full size, bfloat16", f"--preset {_FULL} --batch-size 32 --quick --dtype bfloat16 --rows encode,decode"),
    Step("training", "train --steps 5 --naive"),
    Step("bfloat16", "--batch-size 1,32 --dtype bfloat16"),
)
_WIDE = f"--preset {_FULL} --batch-size"
_ON_ACCELERATOR = (
    Step("full size", f"{_WIDE} 64,1024 --naive --rows {{rows}},cudnn_encode"),
    Step("default", "--batch-size 64,512,4096 --naive --rows {rows},end_to_end,naive_end_to_end"),
    Step("collection", "collection --songs 2000 --loop-songs 30"),
    Step("training", "train --batch-size 64 --naive"),
    Step("full size, bfloat16", f"{_WIDE} 64,1024,4096 --dtype bfloat16 --rows encode,decode"),
    Step("full size training", f"train {_WIDE} 256 --dtype bfloat16 --steps 5"),
    Step("full size, float32", f"{_WIDE} 64,512 --rows encode,decode", _EXACT),
    Step("default, float32", "--batch-size 64,4096 --rows encode,decode,end_to_end", _EXACT),
    Step("default, bfloat16", "--batch-size 64,4096 --dtype bfloat16 --rows encode,decode,end_to_end"),
    Step("training, large batch", "train --batch-size 2048 --dtype bfloat16"),
    Step("start-up", "startup --repeats 2"),
)
_ROWS = "encode,decode,naive_encode,naive_decode"


def measure(config: EverythingConfig | None = None) -> dict[str, Any]:
    """Runs the steps that suit this machine, as far as the time goes.

    Args:
        config: where results are written, and how long it may take; None: the defaults.

    Returns:
        `steps`: by name, each section's results, or `{"failed": a sentence}`; `left_out`: names of steps for which no
        time was left; what the machine is. Steps that the folder holds already are taken from there.

    Raises:
        UsageError: the folder cannot be made, or holds another machine's results.
    """
    config = config or EverythingConfig()
    try:
        config.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {config.out}: this folder cannot be made ({error.strerror or error})") from error
    deadline = time.monotonic() + 60 * config.minutes
    device = _device()
    is_cpu = config.steps == "cpu" or (config.steps == "auto" and device["backend"] == "cpu")
    about = {**device, "steps_of": "cpu" if is_cpu else "accelerator", "quick": config.quick}
    results = _earlier(config.out, about)
    done, left_out = results["steps"], results["left_out"]
    steps = [step for step in (_ON_CPU if is_cpu else _ON_ACCELERATOR) if "results" not in done.get(step.name, {})]
    for step in sorted(steps, key=lambda step: step.name in done):  # what failed before comes last
        left_s = deadline - time.monotonic()
        if left_s < 5:
            left_out.append(step.name)
            continue
        print(f"{step.name}: bench {_arguments(step, config)}", file=sys.stderr, flush=True)
        done[step.name] = _run(step, config, left_s if is_cpu else min(left_s, _LIMIT_S))
        why = done[step.name].get("failed")
        print(f"  {why or 'took {took_s} s'.format(**done[step.name])}", file=sys.stderr, flush=True)
        _write(config.out, results)
    _write(config.out, results)
    return results


def _earlier(out: Path, about: dict[str, Any]) -> dict[str, Any]:
    """Results that stand in the folder already, if they are of this machine; else none.

    Raises:
        UsageError: the folder holds those of another machine, or of another kind of run.
    """
    try:
        found = json.loads((out / RESULTS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {**about, "steps": {}, "left_out": []}
    except ValueError as error:
        raise UsageError(f"--out {out}: {RESULTS} there is no JSON ({error}); take another folder") from error
    differ = [name for name, value in about.items() if found.get(name) != value]
    if differ:
        name = differ[0]
        raise UsageError(
            f"--out {out}: the results there have {name} {found.get(name)}, this run {about[name]}; take another folder"
        )
    return {**found, "left_out": []}


def _write(out: Path, results: dict[str, Any]) -> None:
    for name, text in ((RESULTS, json.dumps(results, indent=1)), (TABLES, table(results))):
        with replacing(out / name) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")


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
    words = arguments.replace(_FULL, "tiny").split()
    for flag, value in {"--batch-size": "8", "--songs": "8", "--loop-songs": "4", "--repeats": "1"}.items():
        if flag in words:
            words[words.index(flag) + 1] = value
    if words[0] not in ("collection", "startup") and "--preset" not in words:
        words += ["--preset", "tiny"]
    return " ".join([*(word for word in words if word != "--quick"), "--quick"])


def _run(step: Step, config: EverythingConfig, limit_s: float) -> dict[str, Any]:
    """A step in a process of its own: which module's it is and its results, or why there are none."""
    words = _arguments(step, config).split()
    section = words[0] if not words[0].startswith("-") else "models"
    command = [sys.executable, "-m", "jaxaccomp", "bench", *words, "--json"]
    started = time.monotonic()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out, tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        # In files, not pipes: a step's own processes may hold a pipe open after its end.
        process = subprocess.Popen(
            command, stdout=out, stderr=said, env={**_ALWAYS, **os.environ, **step.environment}, start_new_session=True
        )
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return {"failed": f"was ended after {limit_s:.0f} s, when its time was over", "said": _last_lines(said)}
        finally:
            _end(process)
        if code != 0:
            lines = _last_lines(said)
            return {"failed": (lines or [f"ended with code {code}, without a word"])[-1], "said": lines}
        out.seek(0)
        text = out.read()
    results = json.loads(text[text.index("{\n") :])  # behind whatever a section says meanwhile
    took_s = round(time.monotonic() - started, 1)
    return {"section": f"jaxaccomp.bench.{section}", "took_s": took_s, "bench": " ".join(words), "results": results}


def _end(process: subprocess.Popen) -> None:
    """Ends a step and the processes that it started, if they still run."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_lines(said: Any) -> list[str]:
    said.seek(0)
    return [line for line in said.read().splitlines() if line.strip()][-20:]


def _device() -> dict[str, str]:
    """What JAX runs on, asked of another process: this one must not hold an accelerator's memory."""
    program = "import jax; print(jax.default_backend()); print(jax.devices()[0].device_kind)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    if done.returncode != 0:
        raise UsageError(f"JAX does not start: {(done.stderr.strip().splitlines() or ['without a word'])[-1]}")
    backend, device = done.stdout.splitlines()[-2:]
    return {"backend": backend, "device": device}
