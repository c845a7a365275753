"""Songs per second on one core: reading, cutting windows, finding the melody, stitching, writing.

Rates are per second of processor time, so that other work on the machine weighs less; the wall rate stands beside.
Reading is compared with note_seq's reader on the same songs in the same run.
"""

import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISREG
from typing import Any

import numpy as np
from tqdm import tqdm

from jaxaccomp import demos, files
from jaxaccomp.bench import machine, timing
from jaxaccomp.bench.settings import MusicConfig
from jaxaccomp.errors import MidiError, UsageError
from jaxaccomp.evaluation import melody_choice
from jaxaccomp.music import interpreter, melody, midi, stitch, trio

TARGETS = {"read": 1500, "extract": 150, "melody_stitch_write": 400}
"""Songs per second and core that each step is meant to reach."""

_LABELS = {"read": "read", "extract": "extract windows", "melody_stitch_write": "melody + stitch + write"}
_REFERENCE_SONGS = 12


def measure(config: MusicConfig | None = None) -> dict[str, Any]:
    """Times all steps and, for a folder of songs, counts how often each rule finds the melody.

    Args:
        config: which songs, how many and how often; None: the defaults.

    Raises:
        UsageError: the folder has no MIDI files.
    """
    config, others = config or MusicConfig(), timing.Others()
    paths = _songs(config.songs)
    count, repeats = (20, 1) if config.quick else (config.count, config.repeats)
    timed = _spread(paths, count)
    interpreter.use_machine_code()
    _time(timed[:1])  # compiles
    passes = [_time(timed) for _ in range(repeats)]
    steps = {
        step: {
            "songs_per_s": round(max(clock[step].rate for clock in passes), 1),
            "wall_songs_per_s": round(max(clock[step].wall_rate for clock in passes), 1),
            "target": TARGETS[step],
        }
        for step in TARGETS
    }
    results: dict[str, Any] = {
        "songs": len(set(timed)),
        "mean_kb": round(sum(path.stat().st_size for path in timed) / len(timed) / 1000, 1),
        "steps": steps,
        "machine": machine.describe(),
        "note_seq": _against_note_seq(_spread(paths, _REFERENCE_SONGS)),
    }
    if config.songs is not None and not config.quick:
        results["melody"] = melody_choice.hit_rates(paths)
    results["others"] = others.share()
    return results


def table(results: dict[str, Any]) -> str:
    """The results as lines for a terminal."""
    lines = [
        f"{results['songs']} songs of {results['mean_kb']} kB on average, one core of "
        f"{results['machine']['processor']}; others took {results['others']:.0%} of the CPUs",
        "",
    ]
    lines.append(f"{'step':<26}{'songs/s':>10}{'by wall':>10}{'target':>10}")
    for step, rates in results["steps"].items():
        lines.append(
            f"{_LABELS[step]:<26}{rates['songs_per_s']:>10.0f}{rates['wall_songs_per_s']:>10.0f}{rates['target']:>10}"
        )
    reference = results["note_seq"]
    lines += ["", f"note_seq reads {reference['songs_per_s']:.2f} of these songs a second; ours is "
              f"{reference['ratio']:.0f} times as fast"]  # fmt: skip
    if "melody" in results:
        found = results["melody"]
        lines += ["", f"{found['songs']} songs call a track melody, lead or vocal; with the names hidden"]
        lines += [f"  rule {rule:<10} finds it in {found[rule]:.1%}" for rule in ("default", "magenta")]
    return "\n".join(lines)


class _Clock:
    """Adds up processor and wall time of one step over songs."""

    def __init__(self) -> None:
        self.songs, self.cpu_s, self.wall_s = 0, 0.0, 0.0

    @contextmanager
    def running(self):
        cpu, wall = time.process_time(), time.perf_counter()
        yield
        self.cpu_s += time.process_time() - cpu
        self.wall_s += time.perf_counter() - wall

    @property
    def rate(self) -> float:
        return self.songs / max(self.cpu_s, 1e-9)

    @property
    def wall_rate(self) -> float:
        return self.songs / max(self.wall_s, 1e-9)


def _songs(folder: Path | None) -> list[Path]:
    if folder is None:
        return [demos.path(name) for name in demos.names()]
    paths = sorted(Path(path) for path, status in files.find_midi(folder) if status and S_ISREG(status.st_mode))
    if not paths:
        raise UsageError(f"--songs {folder}: no MIDI files there; expected .mid or .midi files at any depth")
    return paths


def _spread(paths: list[Path], count: int) -> list[Path]:
    """`count` of the paths, evenly over all of them, again and again if there are fewer."""
    step = max(len(paths) / count, 1)
    return [paths[int(index * step) % len(paths)] for index in range(count)]


def _time(paths: list[Path]) -> dict[str, _Clock]:
    clocks = {step: _Clock() for step in TARGETS}
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "song.mid"
        for path in tqdm(paths, desc="songs", disable=None, leave=False):
            try:
                with clocks["read"].running():
                    score = midi.read(path)
                clocks["read"].songs += 1
                with clocks["extract"].running():
                    trio.extract(score)
                clocks["extract"].songs += 1
                score = midi.read(path)  # so that no view is shared with what has been timed
                with clocks["melody_stitch_write"].running():
                    found = melody.windows(score, melody.choose(score))
                band = _groove(len(found.tokens_NL))
                with clocks["melody_stitch_write"].running():
                    stitch.stitch(score, found, band).write(target)
                clocks["melody_stitch_write"].songs += 1
            except MidiError:
                continue
    return clocks


def _groove(windows: int) -> np.ndarray:
    """As many notes as a band plays: a bass note a beat, drums on the eighths."""
    tokens = np.zeros((windows, 256, 2), np.int32)
    tokens[:, ::4, 0] = 20
    tokens[:, ::2, 1] = 4
    tokens[:, ::8, 1] = 5
    tokens[:, 4::8, 1] = 6
    return tokens


def _against_note_seq(paths: list[Path]) -> dict[str, Any]:
    import warnings

    import note_seq

    theirs, ours = _Clock(), _Clock()
    for path in tqdm(paths, desc="note_seq", disable=None, leave=False):
        data = path.read_bytes()
        try:
            with warnings.catch_warnings(), theirs.running():
                warnings.simplefilter("ignore")
                note_seq.midi_to_note_sequence(data)
        except note_seq.MIDIConversionError:
            continue
        with ours.running():
            midi.read(data)
        theirs.songs, ours.songs = theirs.songs + 1, ours.songs + 1
    return {"songs": theirs.songs, "songs_per_s": round(theirs.rate, 2), "ratio": round(ours.rate / theirs.rate, 1)}
