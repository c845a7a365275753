"""Where the seconds go between `python infer.py song.mid` and the file it writes: the first time, and from then on.

Each figure is taken in a process of its own, as a user's would be; "the first time" compiles every program, later ones
find them in the compilation cache.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from jaxaccomp.bench.settings import StartupConfig
from jaxaccomp.errors import CheckpointError
from jaxaccomp.music import midi

MINUTES = 3.0
"""Length of the song, at 120 quarter notes a minute."""

_STEPS = {
    "interpreter": "",
    "read the song, find the tune": (
        "from jaxaccomp.music import midi; from jaxaccomp.generate import song as songs; "
        "song = songs.prepare(midi.read(sys.argv[1]))"
    ),
    "import jax and the models": "from jaxaccomp.generate import accompanist",
    "load the checkpoint": "band = accompanist.load(sys.argv[2])",
    "compile (or fetch) and play": "take = band.play_song(song)[0]",
    "play again, compiled": (
        "from jaxaccomp.generate.options import PlayOptions; band.play_song(song, PlayOptions(seed=1))"
    ),
    "write": "take.score.write(sys.argv[3])",
}
_NOT_PART_OF_IT = "play again, compiled"


def measure(config: StartupConfig | None = None) -> dict[str, Any]:
    """Plays a three-minute melody in fresh processes: once with an empty cache, then with a filled one.

    Args:
        config: checkpoint and repeats; None: the defaults.
    """
    from jaxaccomp.bench import machine, timing

    config, others = config or StartupConfig(), timing.Others()
    repeats = 1 if config.quick else config.repeats
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        random_melody(MINUTES).write(place / "song.mid")
        first = _steps(place, config.checkpoint)
        warm = [_steps(place, config.checkpoint) for _ in range(repeats)]
        command_s = [_command(place, config.checkpoint) for _ in range(repeats)]
        first_command_s = _command(place, config.checkpoint, cache=place / "another-cache")
    return {
        "song_minutes": MINUTES,
        "first_s": first,
        "warm_s": {step: statistics.median(steps[step] for steps in warm) for step in _STEPS},
        "infer_first_s": first_command_s,
        "infer_warm_s": statistics.median(command_s),
        "repeats": repeats,
        "machine": machine.describe(),
        "others": others.share(),
    }


def table(results: dict[str, Any]) -> str:
    """Seconds by step, the first time and later."""
    about = results["machine"]
    lines = [f"{about['processor']} ({about['cores']} cores); others took {results['others']:.0%} of the CPUs", ""]
    lines += ["| step | first time | later |", "|---|---|---|"]
    lines += [f"| {step} | {results['first_s'][step]:.2f} s | {results['warm_s'][step]:.2f} s |" for step in _STEPS]
    lines.append(
        f"| **`infer.py`, a song of {results['song_minutes']:g} minutes** | **{results['infer_first_s']:.1f} s** "
        f"| **{results['infer_warm_s']:.1f} s** |"
    )
    lines.append(f"\n`{_NOT_PART_OF_IT}` is no part of the command: it is what playing takes once all is ready.")
    return "\n".join(lines)


def random_melody(minutes: float) -> midi.Score:
    """A tune of this length without a repeat: a random walk in C major, eighths and quarters, at 120 a minute."""
    generator = np.random.default_rng(0)
    lengths = generator.choice([60, 120, 120, 240], size=int(minutes * 120 * 2))
    starts = np.cumsum(lengths) - lengths
    inside = starts < minutes * 120 * 120
    degrees = np.clip(np.cumsum(generator.integers(-2, 3, len(starts))) % 14, 0, 13)
    notes = np.zeros(int(inside.sum()), midi.NOTE)
    notes["start"], notes["end"] = starts[inside], (starts + lengths)[inside]
    notes["pitch"] = np.array([60, 62, 64, 65, 67, 69, 71])[degrees[inside] % 7] + 12 * (degrees[inside] // 7)
    notes["velocity"] = 90
    return midi.Score.build(120, [midi.Part("Melody", 0, 0, notes)])


def _program() -> str:
    lines = ["import json, sys, time", "took, last = {}, float(sys.argv[4])"]
    for step, code in _STEPS.items():
        lines += [code or "pass", f"now = time.time(); took[{step!r}] = now - last; last = now"]
    return "\n".join([*lines, "print(json.dumps(took))"])


def _steps(place: Path, checkpoint: str) -> dict[str, float]:
    command = [sys.executable, "-c", _program(), str(place / "song.mid"), str(checkpoint), str(place / "out.mid")]
    return json.loads(_output([*command, repr(time.time())], place / "cache"))


def _command(place: Path, checkpoint: str, cache: Path | None = None) -> float:
    start = time.perf_counter()
    arguments = [str(place / "song.mid"), "--out", str(place / "out"), "--checkpoint", str(checkpoint)]
    _output([sys.executable, "-m", "jaxaccomp", "infer", *arguments], cache or place / "cache")
    return time.perf_counter() - start


def _output(command: list[str], cache: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    environment["JAXACCOMP_CACHE"] = str(cache)
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
        raise CheckpointError(f"the timed process failed: {last}")
    return done.stdout
