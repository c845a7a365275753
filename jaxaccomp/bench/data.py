"""Datasets: how fast they are made, and whether reading them ever keeps the surrogate's training waiting."""

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from jaxaccomp.bench.settings import DataConfig
from jaxaccomp.config import PRESETS

QUICK_SONGS = 6
_BARS = 80
"""Length of the made-up songs: their 65 windows for each of four melodies are a typical file's."""
_MELODIES = 4


def measure(config: DataConfig | None = None) -> dict[str, Any]:
    """Makes songs, windows and latents in a temporary folder, and times each stage and the reader.

    Args:
        config: sizes and numbers; None: the defaults.
    """
    import jax

    from jaxaccomp.bench import machine, timing
    from jaxaccomp.data import latents, windows
    from jaxaccomp.data.staging import WindowsConfig
    from jaxaccomp.models import musicvae
    from jaxaccomp.weights import checkpoint

    config, others = config or DataConfig(), timing.Others()
    songs, sizes = QUICK_SONGS if config.quick else config.songs, PRESETS[config.preset]
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        _make_songs(root / "songs", songs)
        stages = _Stages()
        windows.build(root / "songs", root / "windows", WindowsConfig(), workers=config.workers, progress=stages)
        count = _size(root / "windows")
        checkpoint.save(root / "checkpoint", sizes, musicvae.initialize(sizes, jax.random.key(0)))
        limit = 4 if config.quick else 40
        start_s = time.perf_counter()
        latents.build(
            root / "windows",
            root / "checkpoint",
            root / "latents",
            batch_size=config.batch_size,
            limit=limit,
            progress=stages,
        )
        latents_s = time.perf_counter() - start_s
        return {
            "preset": config.preset,
            "machine": machine.describe(),
            "songs": songs,
            "windows": count,
            "reading": {"songs_per_s": songs / stages.elapsed_s["reading"], "workers": config.workers},
            "writing": {"windows_per_s": count / stages.elapsed_s["writing"], "workers": config.workers},
            "encoding": {"windows_per_s": _size(root / "latents") / latents_s},
            "training": _training(root, sizes, config.batch_size, 5 if config.quick else 30),
            "others": others.share(),
        }


def table(results: dict[str, Any]) -> str:
    """The results as text."""
    about, training = results["machine"], results["training"]
    return "\n".join(
        [
            f"{results['preset']}: {about['processor']} ({about['cores']} cores), {about['device']}; "
            f"{results['songs']} songs, {results['windows']:,} windows; load {about['load_1min']} at the start, "
            f"others took {results['others']:.0%} of the CPUs",
            "",
            "| stage | a second |",
            "|---|---|",
            f"| MIDI files read into windows, {results['reading']['workers']} workers "
            f"| {results['reading']['songs_per_s']:,.1f} songs |",
            f"| windows written | {results['writing']['windows_per_s']:,.0f} windows |",
            f"| windows encoded and written | {results['encoding']['windows_per_s']:,.0f} windows |",
            *(f"| {name} read in batches | {speed:,.0f} windows |" for name, speed in training["reader"].items()),
            f"| surrogate trained, batches of {training['batch']} | {training['examples_per_s']:,.0f} windows |",
            "",
            f"The reader is {training['reader_over_surrogate']:,.0f} times as fast as the surrogate's training, which "
            f"spends {training['waiting_share']:.2%} of its time waiting for data.",
        ]
    )


class _Stages:
    """Times the stages of a build, in the place of a progress bar."""

    def __init__(self) -> None:
        self.elapsed_s: dict[str, float] = {}

    def __call__(self, items: Iterable[Any] = (), *, desc: str, **_: Any) -> Any:
        self._stage = desc
        self.elapsed_s[desc] = 0.0
        return self._timed(items, desc) if items else self

    def _timed(self, items: Iterable[Any], desc: str) -> Iterator[Any]:
        start_s = time.perf_counter()
        yield from items
        self.elapsed_s[desc] = time.perf_counter() - start_s

    def __enter__(self) -> "_Stages":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, count: int) -> None:
        """What a bar would advance by."""


def _make_songs(folder: Path, count: int) -> None:
    import numpy as np

    from jaxaccomp.music import midi

    folder.mkdir()
    instruments = [(channel, 8 * channel, 60) for channel in range(_MELODIES)]
    instruments += [(_MELODIES, 33, 36), (midi.DRUM_CHANNEL, 0, 35)]
    for number in range(count):
        random = np.random.default_rng(number)
        parts = []
        for channel, program, low in instruments:
            starts = np.flatnonzero(random.random(16 * _BARS) < 0.4)
            notes = np.zeros(len(starts), midi.NOTE)
            notes["start"], notes["end"] = starts, starts + 1
            notes["pitch"], notes["velocity"] = low + random.integers(0, 14, len(starts)), 90
            parts.append(midi.Part("", channel, program, notes))
        # The names put all songs into one split, as md5 names of Lakh's do.
        midi.Score.build(4, parts).write(folder / f"{number:032x}.mid")


def _size(out: Path) -> int:
    from jaxaccomp.data import shards

    return len(shards.open_split(out, "train", memory_bytes=0))


def _training(root: Path, config: Any, batch_size: int, steps: int) -> dict[str, Any]:
    """Surrogate training steps on a stream of latents, and the reader by itself."""
    import jax
    import jax.numpy as jnp

    from jaxaccomp.data.batches import Batches, to_devices
    from jaxaccomp.models import surrogate

    guess = surrogate.matching(config)
    params = surrogate.initialize(guess, jax.random.key(0))

    @jax.jit
    def step(params: Any, batch: dict[str, jax.Array]) -> Any:
        def loss(params: Any) -> jax.Array:
            posterior = surrogate.encode(params, batch["melody"][0])
            return jnp.mean((posterior.mean_BZ - batch["mean"][0]) ** 2 + (posterior.scale_BZ - batch["scale"][0]) ** 2)

        return jax.tree.map(lambda value, slope: value - 1e-3 * slope, params, jax.grad(loss)(params))

    batches = Batches(root / "latents", batch_size=batch_size, latent_size=config.latent_size)
    with batches.stream(place=to_devices(jax.local_devices()[:1])) as stream:
        params = jax.block_until_ready(step(params, next(stream)))
        start_s, waited_s = time.perf_counter(), stream.waited_s
        for _ in range(steps):
            params = jax.block_until_ready(step(params, next(stream)))
        elapsed_s, waited_s = time.perf_counter() - start_s, stream.waited_s - waited_s
    consumed = steps * batch_size / elapsed_s
    reader = {
        "latents": _speed(batches.batch, batch_size),
        "windows, transposed": _speed(Batches(root / "windows", batch_size=batch_size).batch, batch_size),
    }
    return {
        "batch": batch_size,
        "examples_per_s": consumed,
        "reader": reader,
        "reader_over_surrogate": reader["latents"] / consumed,
        "waiting_share": waited_s / elapsed_s,
    }


def _speed(batch: Callable[[int], Any], batch_size: int, limit_s: float = 1.0) -> float:
    """Examples a second of a reader in this thread, an epoch's shuffling apart."""
    batch(0)
    start_s, step = time.perf_counter(), 0
    while time.perf_counter() - start_s < limit_s:
        step += 1
        batch(step)
    return step * batch_size / (time.perf_counter() - start_s)
